import { mkdir, mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { MemorySecurityGroupSource, NftablesFirewallDriver } from "../../../src/firewall/index.js";
import { FileStateStore } from "../../../src/host/index.js";
import type { LibvirtDriver } from "../../../src/libvirt/driver/index.js";
import { LibvirtClient } from "../../../src/libvirt/index.js";
import { defineContractSuite } from "../../../src/testing/contract/index.js";
import type { ContractSubject } from "../../../src/testing/contract/index.js";
import { collectResidue, createBridge, testGuest, waitFor } from "../../lab/index.js";
import { startLibvirtHost } from "../../lab/libvirt-host.js";
import type { LabLibvirtHost } from "../../lab/libvirt-host.js";
import { untilNoticed } from "./until-noticed.js";
import { bridgedGuests } from "./bridged-guests.js";
import { isAlive, qemuProcess } from "./qemu-process.js";
import { waitUntilReady } from "./wait-until-ready.js";

const FACETS = [
  "pause",
  "volumes",
  "volumeExtend",
  "volumeSwap",
  "volumeSnapshots",
  "backups",
  "memoryDump",
  "interfaces",
  "diskLimits",
  "removableMedia",
  "devices",
  "balloon",
  "memoryHotplug",
  "vcpuHotplug",
  "snapshots",
  "rescue",
  "resize",
  "rebuild",
  "firewall",
  "imageCache",
  "consoleOutput",
  "consoleStream",
  "serialConsole",
  "vncConsole",
  "spiceConsole",
  "consolePasswords",
  "screenshots",
  "guestAgent",
  "quiesce",
  "statistics",
  "crashDump",
  "suspend",
  "hostCpuStatistics",
  "compareCpu",
  "liveMigration",
] as const;

const SUBNET = "10.78.0.0/24";

/** A real libvirtd with real QEMU guests, TAPs on a real bridge with a DHCP server, filtered by nftables. */
async function openLibvirt(): Promise<ContractSubject> {
  const host = await startLibvirtHost();
  const bridge = await createBridge();
  const guest = await testGuest();
  await host.images.import({ id: "other", format: "qcow2", path: guest.disk });
  await mkdir(host.volumeDirectory);
  const stateDirectory = join(host.directory, "state");
  const groups = new MemorySecurityGroupSource();
  groups.setGroup({ id: "default", rules: [{ direction: "ingress", ipVersion: 4, remote: { groupId: "default" } }] });
  const openFirewall = (): NftablesFirewallDriver =>
    new NftablesFirewallDriver({
      groups,
      table: "hypervise",
      state: new FileStateStore({ dir: join(stateDirectory, "firewall") }),
    });
  const open = (): LibvirtDriver =>
    host.open({
      collaborators: { firewall: openFirewall() },
      // Tests that do not wait for the guest's operating system need not wait for it to shut down either.
      timeouts: { shutdownGraceMs: 2_000 },
    });
  // What stands as long as the host is used, so that it is no residue: tables without a port.
  await openFirewall().reconcile();
  const client = await LibvirtClient.open(host.daemon.uri("qemu"));
  let other: LabLibvirtHost | undefined;
  const openDestination = async (): Promise<LibvirtDriver> => {
    other ??= await startLibvirtHost({
      // Of one machine, but not one host.
      config: ['host_uuid = "7f1d9a52-1111-4c7a-8a6e-00000000000c"'],
      qemuConfig: ["migration_port_min = 49640", "migration_port_max = 49649"],
      cacheDirectory: host.daemon.file("cache"),
      port: 16_661,
    });
    const migration = { connectionUri: other.daemon.uri("qemu"), address: "127.0.0.1", listenAddress: "127.0.0.1" };
    return other.open({ migration, timeouts: { shutdownGraceMs: 2_000 } });
  };
  let driver = open();
  return {
    driver,
    ...bridgedGuests({
      bridge,
      subnet: SUBNET,
      macPrefix: "52:54:00:c1",
      guest,
      volumeDirectory: host.volumeDirectory,
    }),
    destination: async () => {
      const there = await openDestination();
      return { driver: there, dispose: () => there.close() };
    },
    exportDirectory: () => mkdtemp(join(host.directory, "exports-")),
    restart: async () => {
      await driver.close();
      driver = open();
      return driver;
    },
    crashGuest: async ({ uuid }) => {
      const pid = await qemuProcess(uuid);
      process.kill(pid, "SIGKILL");
      await waitFor(async () => !(await isAlive(pid)), { timeoutMs: 10_000, what: "the end of QEMU" });
      await untilNoticed(client, uuid);
    },
    waitUntilBooted: (current, instance) => waitUntilReady(current, instance),
    residue: async () => {
      const lines = await collectResidue({
        directories: [host, ...(other === undefined ? [] : [other])].flatMap(({ directory }) =>
          ["guests", "disks", "records", "secrets"].map((name) => join(directory, "state", name)),
        ),
      });
      // Directories that the stores keep, empty, are no residue, nor is the mark that each firewall process leaves in its tables.
      const kept = /^directory .*\/(records\/[a-z-]+|disks\/\.[a-z-]+)$|^netfilter .*"name":"mark_/;
      const domains = (await client.listAllDomains()).map(({ name }) => `domain ${name}`);
      const secrets = (await client.listAllSecrets()).map(({ uuid }) => `secret ${uuid}`);
      return [...[...lines].filter((line) => !kept.test(line)), ...domains, ...secrets].sort();
    },
    dispose: async () => {
      await driver.close();
      await client.close();
      await openFirewall().remove();
      await bridge.remove();
      await other?.remove();
      await host.remove();
    },
  };
}

defineContractSuite(
  { name: "libvirt (qemu)", facets: FACETS, testTimeoutMs: 240_000, open: openLibvirt },
  { describe, it, beforeAll, afterAll },
);
