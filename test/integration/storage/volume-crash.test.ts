import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { copyFile, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { VolumeConnection } from "../../../src/storage/index.js";
import { bootSector, requirePackages, run, waitForFile, withTemporaryDirectory } from "../../lab/index.js";
import { bundleScript } from "../../lab/bundle-script.js";
import type { BundledScript } from "../../lab/bundle-script.js";
import { connectorFor, driverWith, records } from "./connecting-child.js";
import type { ConnectRequest } from "./connecting-child.js";
import { during } from "./iscsi-target.js";

const OTHER = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b002";

let child: BundledScript;
beforeAll(async () => {
  requirePackages("qemu-system-x86_64", "qemu-nbd");
  child = await bundleScript(fileURLToPath(new URL("connecting-child.ts", import.meta.url)));
});
afterAll(() => child[Symbol.asyncDispose]());

/** What the process was at when it was killed; undefined when it came to its end before. */
async function crash(request: ConnectRequest): Promise<string | undefined> {
  const killed = spawn(process.execPath, [child.path, JSON.stringify(request)], { stdio: ["ignore", "pipe", "pipe"] });
  let [said, errors] = ["", ""];
  killed.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
  killed.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const [code, signal] = (await once(killed, "close")) as [number | null, string | null];
  if (code === 0) return undefined;
  expect(signal, errors).toBe("SIGKILL");
  return said.trim();
}

async function mounts(root: string): Promise<number> {
  const table = await readFile("/proc/self/mountinfo", "utf8");
  return table.split("\n").filter((line) => line.includes(join(root, "mounts"))).length;
}

async function inRoot(work: (root: string) => Promise<void>): Promise<void> {
  await withTemporaryDirectory(async ({ path: root }) => {
    await mkdir(join(root, "server", "one"), { recursive: true });
    for (const name of ["a", "b"]) await writeFile(join(root, "server", "one", name), Buffer.alloc(65_536, name));
    try {
      await work(root);
    } finally {
      for (const name of await readdir(join(root, "mounts")).catch(() => []))
        await run(["umount", "-l", join(root, "mounts", name)]).catch(() => undefined);
    }
  });
}

function volumeOf(type: string, root: string, name = "a"): VolumeConnection {
  const data: Readonly<Record<string, VolumeConnection["data"]>> = {
    nfs: { export: "server:/one", name, format: "raw" },
    nbd: { server: { type: "unix", path: join(root, "nbd.sock") } },
    local: { path: join(root, "server", "one", name), format: "raw" },
  };
  return { volumeId: `vol-${name}`, type, data: data[type] ?? {} };
}

/** Has `qemu-nbd` export the first file. */
async function exporting(root: string, work: () => Promise<void>): Promise<void> {
  const words = ["-t", "-f", "raw", "-k", join(root, "nbd.sock"), "--pid-file", join(root, "nbd.pid")];
  const server = spawn("qemu-nbd", [...words, join(root, "server", "one", "a")], { stdio: "ignore" });
  await during(server, async () => {
    await waitForFile(join(root, "nbd.pid"));
    await work();
  });
}

/** Where each of the processes died that were killed one step later than the one before. */
async function eachStep(work: (dieAt: number) => Promise<string | undefined>): Promise<readonly string[]> {
  const places: string[] = [];
  for (;;) {
    const place = await work(places.length + 1);
    if (place === undefined) return places;
    places.push(place);
  }
}

describe.runIf(process.getuid?.() === 0)("a volume whose connecting process was killed", { timeout: 600_000 }, () => {
  describe.each(["nfs", "nbd", "local"])("of type %s", (type) => {
    const withServer = (root: string, work: () => Promise<void>): Promise<void> =>
      type === "nbd" ? exporting(root, work) : work();

    it.each(["connect", "disconnect"] as const)("in the middle of a %s is let go of, or had, by the next", (action) =>
      inRoot((root) =>
        withServer(root, async () => {
          const state = records(root);
          const later = connectorFor(type, root, state);
          const connection = volumeOf(type, root);
          // Another volume of the export stays what it is.
          const beside = type === "nfs" ? volumeOf(type, root, "b") : undefined;
          if (beside !== undefined) await later.connect(beside, OTHER);
          const before = await state.list("");
          const instance = { uuid: randomUUID(), name: "one" };
          const expectLetGo = async (): Promise<void> => {
            await later.disconnect(connection, instance.uuid);
            expect(await state.list("")).toEqual(before);
            expect(await mounts(root)).toBe(beside === undefined ? 0 : 1);
          };
          const places = await eachStep(async (dieAt) => {
            const request = { root, connection, instance, by: "connector", action, dieAt } as const;
            if (action === "disconnect") await later.connect(connection, instance.uuid);
            const place = await crash(request);
            await expectLetGo();
            if (place === undefined) return undefined;
            // The same again, with another way on.
            if (action === "disconnect") await later.connect(connection, instance.uuid);
            expect(await crash(request)).toBe(place);
            const source = await later.connect(connection, instance.uuid);
            expect(await later.connect(connection, instance.uuid)).toEqual(source);
            await expectLetGo();
            return place;
          });
          expect(places.some((place) => /^after (?:writing|deleting) volumes/.test(place))).toBe(true);
          expect(places.length).toBeGreaterThanOrEqual(type === "local" || action === "disconnect" ? 2 : 4);
        }),
      ),
    );

    if (type !== "nfs") return;
    it.each(["connect", "disconnect"] as const)("in the middle of a %s that no other shares its mount with", (action) =>
      inRoot(async (root) => {
        const state = records(root);
        const later = connectorFor(type, root, state);
        const connection = volumeOf(type, root);
        const instance = { uuid: randomUUID(), name: "one" };
        const places = await eachStep(async (dieAt) => {
          if (action === "disconnect") await later.connect(connection, instance.uuid);
          const place = await crash({ root, connection, instance, by: "connector", action, dieAt });
          await later.disconnect(connection, instance.uuid);
          expect(await state.list("")).toEqual([]);
          expect(await mounts(root)).toBe(0);
          expect(await readdir(join(root, "mounts")).catch(() => [])).toEqual([]);
          return place;
        });
        expect(places).toContain(action === "connect" ? "after mount" : "after umount");
      }),
    );
  });

  it.each(["connect", "disconnect"] as const)("by a driver is what it was before or after the %s", (action) =>
    inRoot(async (root) => {
      const [state, connection] = [records(root), volumeOf("nfs", root)];
      await copyFile(bootSector(), join(root, "boot"));
      const boot: VolumeConnection = {
        volumeId: "boot",
        type: "local",
        data: { path: join(root, "boot"), format: "raw" },
      };
      const instance = { uuid: randomUUID(), name: "one" };
      const flavor = { vcpus: 1, memoryMiB: 32, rootGiB: 0 };
      const withDriver = async <T>(work: (driver: ReturnType<typeof driverWith>) => Promise<T>): Promise<T> => {
        const driver = driverWith(root, state, connectorFor("nfs", root, state));
        await driver.initHost();
        try {
          return await work(driver);
        } finally {
          await driver.close();
        }
      };
      await withDriver(async (driver) => {
        await driver.spawn({ ...instance, flavor, blockDevices: [{ connection: boot, bootIndex: 0 }] });
        await driver.powerOff(instance, { graceMs: 0 });
        if (action === "disconnect") await driver.attachVolume(instance, connection);
      });
      const holds = async (): Promise<boolean> => {
        const keys = await state.list("holds/");
        expect(keys).toHaveLength(await mounts(root));
        return keys.length === 1;
      };
      const places = await eachStep(async (dieAt) => {
        const place = await crash({ root, connection, instance, by: "driver", action, dieAt });
        await withDriver(async (driver) => {
          const attached = (await driver.listDisks(instance)).some(({ volumeId }) => volumeId === connection.volumeId);
          expect(attached, place).toBe(await holds());
          // Once more, whatever has become of it.
          if (action === "connect") await driver.attachVolume(instance, connection);
          else await driver.detachVolume(instance, connection);
          expect(await holds()).toBe(action === "connect");
          // As it was, for the next.
          if (action === "connect") await driver.detachVolume(instance, connection);
          else await driver.attachVolume(instance, connection);
          expect(await holds()).toBe(action === "disconnect");
        });
        return place;
      });
      expect(places).toContain(action === "connect" ? "after mount" : "after umount");
      expect(places.length).toBeGreaterThan(10);
      await withDriver((driver) => driver.destroy(instance));
      expect(await mounts(root)).toBe(0);
      expect((await state.list("")).filter((key) => !key.startsWith("hosts/"))).toEqual([]);
    }),
  );
});
