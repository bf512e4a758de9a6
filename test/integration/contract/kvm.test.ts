import { mkdir, mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { MemorySecurityGroupSource, NftablesFirewallDriver } from "../../../src/firewall/index.js";
import { FileStateStore } from "../../../src/host/index.js";
import { KvmDriver } from "../../../src/kvm/index.js";
import { DirectoryImageStore } from "../../../src/storage/index.js";
import { defineContractSuite } from "../../../src/testing/contract/index.js";
import type { ContractSubject } from "../../../src/testing/contract/index.js";
import { collectResidue, createBridge, temporaryDirectory, testGuest, waitFor } from "../../lab/index.js";
import { bridgedGuests } from "./bridged-guests.js";
import { isAlive, qemuProcess } from "./qemu-process.js";
import { waitUntilReady } from "./wait-until-ready.js";

const FACETS = [
  "pause",
  "volumes",
  "volumeExtend",
  "volumeSwap",
  "volumeSnapshots",
  "removableMedia",
  "diskLimits",
  "backups",
  "memoryDump",
  "vcpuHotplug",
  "memoryHotplug",
  "balloon",
  "devices",
  "vncConsole",
  "spiceConsole",
  "consolePasswords",
  "interfaces",
  "snapshots",
  "quiesce",
  "rescue",
  "resize",
  "rebuild",
  "consoleOutput",
  "consoleStream",
  "serialConsole",
  "screenshots",
  "guestAgent",
  "statistics",
  "crashDump",
  "firewall",
  "imageCache",
  "hostCpuStatistics",
  "templates",
  "suspend",
  "liveMigration",
] as const;

const SUBNET = "10.77.0.0/24";

/** Real QEMU, real disks, TAPs on a real bridge with a DHCP server, filtered by nftables; guests of the distribution's kernel. */
async function openKvm(): Promise<ContractSubject> {
  const directory = await temporaryDirectory();
  const stateDirectory = join(directory.path, "state");
  const volumeDirectory = join(directory.path, "volumes");
  const bridge = await createBridge();
  const guest = await testGuest();
  const images = new DirectoryImageStore({ directory: join(directory.path, "images") });
  for (const id of ["guest", "other"]) await images.import({ id, format: "qcow2", path: guest.disk });
  await mkdir(volumeDirectory);

  const destinationDirectory = join(directory.path, "destination");
  const groups = new MemorySecurityGroupSource();
  groups.setGroup({ id: "default", rules: [{ direction: "ingress", ipVersion: 4, remote: { groupId: "default" } }] });
  // The second host has the same kernel as the first, and so needs tables of its own.
  const openFirewall = (at: string): NftablesFirewallDriver =>
    new NftablesFirewallDriver({
      groups,
      table: at === stateDirectory ? "hypervise" : "destination",
      state: new FileStateStore({ dir: join(at, "firewall") }),
    });
  const open = (at = stateDirectory): KvmDriver =>
    new KvmDriver({
      stateDirectory: at,
      migration: { transport: "unix" },
      accelerator: "auto",
      volumeDirectories: [volumeDirectory],
      collaborators: { images, firewall: openFirewall(at) },
      // Tests that do not wait for the guest's operating system need not wait for it to shut down either.
      timeouts: { shutdownGraceMs: 2_000 },
    });
  // What stands as long as the host is used, so that it is no residue: tables without a port.
  for (const at of [stateDirectory, destinationDirectory]) await openFirewall(at).reconcile();
  let driver = open();
  return {
    driver,
    ...bridgedGuests({ bridge, subnet: SUBNET, macPrefix: "52:54:00:c0", guest, volumeDirectory }),
    exportDirectory: () => mkdtemp(join(directory.path, "exports-")),
    destination: async () => {
      const other = open(destinationDirectory);
      return { driver: other, dispose: () => other.close() };
    },
    restart: async () => {
      await driver.close();
      driver = open();
      return driver;
    },
    crashGuest: async ({ uuid }) => {
      const pid = await qemuProcess(uuid);
      process.kill(pid, "SIGKILL");
      await waitFor(async () => !(await isAlive(pid)), { timeoutMs: 10_000, what: "the end of QEMU" });
    },
    waitUntilBooted: (current, instance) => waitUntilReady(current, instance),
    residue: async () => {
      const lines = await collectResidue({
        directories: [stateDirectory, destinationDirectory].flatMap((state) =>
          ["guests", "disks", "records"].map((name) => join(state, name)),
        ),
      });
      // Directories that the stores keep, empty, are no residue, nor is the mark that each firewall process leaves in its tables.
      const kept = /^directory .*\/(records\/[a-z-]+|disks\/\.[a-z-]+)$|^netfilter .*"name":"mark_/;
      return [...lines].filter((line) => !kept.test(line)).sort();
    },
    dispose: async () => {
      await driver.close();
      for (const at of [stateDirectory, destinationDirectory]) await openFirewall(at).remove();
      await bridge.remove();
      await directory.remove();
    },
  };
}

defineContractSuite(
  { name: "kvm", facets: FACETS, testTimeoutMs: 240_000, open: openKvm },
  { describe, it, beforeAll, afterAll },
);
