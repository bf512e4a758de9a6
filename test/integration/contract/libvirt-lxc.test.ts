import { randomUUID } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { withAllFacets } from "../../../src/driver/index.js";
import { LibvirtClient } from "../../../src/libvirt/index.js";
import { LibvirtDriver } from "../../../src/libvirt/driver/index.js";
import { DirectoryImageStore, LocalDiskBackend } from "../../../src/storage/index.js";
import { defineContractSuite } from "../../../src/testing/contract/index.js";
import type { ContractSubject } from "../../../src/testing/contract/index.js";
import { collectResidue, createBridge, run, temporaryDirectory, waitFor } from "../../lab/index.js";
import { makeContainerRoot } from "../../lab/container-root.js";
import { startLibvirtd } from "../../lab/libvirtd.js";
import { untilNoticed } from "./until-noticed.js";

const FACETS = [
  "pause",
  "volumes",
  "interfaces",
  "snapshots",
  "rescue",
  "resize",
  "rebuild",
  "consoleOutput",
  "consoleStream",
  "statistics",
  "firewall",
  "imageCache",
  "hostCpuStatistics",
] as const;

const LOOPS = 2;

/** Ends when it is asked to, as an operating system does. */
const INIT = `#!/bin/sh
trap 'exit 0' TERM INT
echo CT-READY
while :; do sleep 1 & wait $!; done
`;

/** A real libvirtd with real containers, each on a file system of its own. */
async function openContainers(): Promise<ContractSubject> {
  const directory = await temporaryDirectory("lxc-");
  const daemon = await startLibvirtd({ containers: true, port: 16_879 });
  const bridge = await createBridge();
  const stateDirectory = join(directory.path, "state");
  const images = new DirectoryImageStore({ directory: join(directory.path, "images") });
  const image = await makeContainerRoot(directory.path, { init: INIT, programs: ["sleep"] });
  for (const id of ["container", "other"]) await images.import({ id, format: "raw", path: image });
  const open = (): LibvirtDriver =>
    new LibvirtDriver({
      stateDirectory,
      virtType: "lxc",
      uri: daemon.uri("lxc"),
      collaborators: {
        images,
        disks: new LocalDiskBackend({ directory: join(stateDirectory, "disks"), defaultFormat: "raw" }),
      },
      volumeDirectories: ["/dev"],
      timeouts: { shutdownGraceMs: 2_000 },
    });
  const loops: string[] = [];
  let volumes = 0;
  const client = await LibvirtClient.open(daemon.uri("lxc"));
  let driver = open();
  let count = 0;
  return {
    driver,
    otherImageId: "other",
    vif: () => {
      const digits = (++count).toString(16).padStart(4, "0");
      return {
        type: "bridge",
        id: randomUUID(),
        macAddress: `52:54:00:c2:${digits.slice(0, 2)}:${digits.slice(2)}`,
        bridge: bridge.name,
        network: { id: "lab", subnets: [] },
        fixedIps: [],
      } as const;
    },
    spec: (overrides = {}) => {
      const uuid = randomUUID();
      const flavor = { vcpus: 1, memoryMiB: 64, rootGiB: 1 };
      return {
        uuid,
        name: `container-${uuid.slice(0, 8)}`,
        flavor,
        imageId: "container",
        guestAgent: false,
        ...overrides,
      };
    },
    // A container that runs is given block devices only. Two at a time are in use at most.
    volume: async () => {
      if (loops.length < LOOPS) {
        const file = directory.file(`volume-${loops.length}`);
        await run(["truncate", "-s", "8M", file]);
        loops.push((await run(["losetup", "--find", "--show", file])).trim());
      }
      const path = loops[volumes++ % LOOPS] ?? "";
      return { volumeId: `volume-${randomUUID()}`, type: "local", data: { path, format: "raw", kind: "block" } };
    },
    restart: async () => {
      await driver.close();
      driver = open();
      return driver;
    },
    crashGuest: async ({ uuid, name }) => {
      const pid = await controllerOf(name);
      process.kill(pid, "SIGKILL");
      await waitFor(async () => !(await isAlive(pid)), { timeoutMs: 10_000, what: `the end of container ${uuid}` });
      await untilNoticed(client, uuid);
    },
    waitUntilBooted: async (driver, instance) => {
      const said = async (): Promise<string> =>
        Buffer.from((await withAllFacets(driver).getConsoleOutput(instance)).bytes).toString();
      await waitFor(async () => (await said()).includes("CT-READY"), {
        timeoutMs: 60_000,
        what: "a container's start",
      });
    },
    residue: async () => {
      const lines = await collectResidue({
        directories: ["guests", "disks", "records"].map((name) => join(stateDirectory, name)),
      });
      const kept = /^directory .*\/(records\/[a-z-]+|disks\/\.[a-z-]+)$/;
      const domains = (await client.listAllDomains()).map(({ name }) => `domain ${name}`);
      return [...[...lines].filter((line) => !kept.test(line)), ...domains].sort();
    },
    dispose: async () => {
      await driver.close();
      await client.close();
      for (const loop of loops) await run(["losetup", "--detach", loop]);
      await bridge.remove();
      await daemon.remove();
      await directory.remove();
    },
  };
}

/** The process of libvirt's that keeps a container. */
async function controllerOf(name: string): Promise<number> {
  for (const pid of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry))) {
    const words = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
    if (words[0]?.endsWith("libvirt_lxc") === true && words.includes(name) && (await isAlive(Number(pid))))
      return Number(pid);
  }
  throw new Error(`no process keeps container ${name}`);
}

async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return stat !== "" && !/\) [ZX] /.test(stat);
}

defineContractSuite(
  { name: "libvirt (lxc)", facets: FACETS, testTimeoutMs: 120_000, wholeGuestDiskCounters: true, open: openContainers },
  { describe, it, beforeAll, afterAll },
);
