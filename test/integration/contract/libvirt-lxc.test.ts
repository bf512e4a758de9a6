import { randomUUID } from "node:crypto";
import { chmod, copyFile, mkdir, readFile, readdir, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { systemCommandRunner } from "../../../src/host/index.js";
import { LibvirtClient } from "../../../src/libvirt/index.js";
import { LibvirtDriver } from "../../../src/libvirt/driver/index.js";
import { DirectoryImageStore, LocalDiskBackend } from "../../../src/storage/index.js";
import { defineContractSuite } from "../../../src/testing/contract/index.js";
import type { ContractSubject } from "../../../src/testing/contract/index.js";
import { collectResidue, createBridge, temporaryDirectory, testGuest, waitFor } from "../../lab/index.js";
import { startLibvirtd } from "../../lab/libvirtd.js";
import { untilNoticed } from "./until-noticed.js";

const FACETS = ["pause", "snapshots", "rescue", "resize", "rebuild", "firewall", "imageCache"] as const;

/** Ends when it is asked to, as an operating system does. */
const INIT = `#!/bin/sh
trap 'exit 0' TERM INT
echo CT-READY
while :; do sleep 1 & wait $!; done
`;

/** The root of a container that has a shell, as an image. */
async function makeRootImage(directory: string): Promise<string> {
  const root = join(directory, "root");
  for (const folder of ["bin", "sbin", "proc", "sys", "dev", "tmp", "etc"])
    await mkdir(join(root, folder), { recursive: true });
  await copyFile((await testGuest()).busybox, join(root, "bin/busybox"));
  await chmod(join(root, "bin/busybox"), 0o755);
  for (const name of ["sh", "sleep"]) await symlink("busybox", join(root, "bin", name));
  await writeFile(join(root, "sbin/init"), INIT, { mode: 0o755 });
  const image = join(directory, "root.img");
  await writeFile(image, "");
  await truncate(image, 32 * 1_048_576);
  await systemCommandRunner.run(["mke2fs", "-q", "-t", "ext4", "-d", root, image]);
  return image;
}

/** A real libvirtd with real containers, each on a file system of its own. */
async function openContainers(): Promise<ContractSubject> {
  const directory = await temporaryDirectory("lxc-");
  const daemon = await startLibvirtd({ containers: true, port: 16_879 });
  const bridge = await createBridge();
  const stateDirectory = join(directory.path, "state");
  const images = new DirectoryImageStore({ directory: join(directory.path, "images") });
  const image = await makeRootImage(directory.path);
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
      timeouts: { shutdownGraceMs: 2_000 },
    });
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
    volume: () =>
      Promise.resolve({
        volumeId: `volume-${randomUUID()}`,
        type: "local",
        data: { path: "/dev/null", format: "raw" },
      }),
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
    waitUntilBooted: async () => undefined,
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
  { name: "libvirt (lxc)", facets: FACETS, testTimeoutMs: 120_000, open: openContainers },
  { describe, it, beforeAll, afterAll },
);
