import { spawn } from "node:child_process";
import { once } from "node:events";
import { symlink, truncate } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { MemoryStateStore } from "../../../src/core/index.js";
import { LocalVolumeConnector, NbdVolumeConnector } from "../../../src/storage/index.js";
import type { VolumeConnection } from "../../../src/storage/index.js";
import { requirePackages, run, waitForFile, withTemporaryDirectory } from "../../lab/index.js";
import { makeImage, MIB } from "./support.js";

const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";

beforeAll(() => requirePackages("qemu-img"));

describe("a volume that a qemu-nbd exports", () => {
  const server = async (root: string, name: string): Promise<{ socket: string; stop(): Promise<void> }> => {
    const socket = join(root, "a,b=c.sock");
    const pidFile = join(root, "nbd.pid");
    const args = ["-t", "-f", "raw", "-x", name, "-k", socket, "--pid-file", pidFile, join(root, "volume")];
    const process = spawn("qemu-nbd", args, { stdio: "ignore" });
    const ended = once(process, "exit");
    await waitForFile(pidFile);
    return {
      socket,
      stop: async () => {
        process.kill("SIGTERM");
        await ended;
      },
    };
  };

  it("is connected when the export is there, and tells its size", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      await makeImage(join(root, "volume"), "raw", 7);
      const connector = new NbdVolumeConnector({ state: new MemoryStateStore() });
      const volume = (path: string, exportName: string): VolumeConnection => ({
        volumeId: "vol-1",
        type: "nbd",
        data: { server: { type: "unix", path }, exportName },
      });
      const { socket, stop } = await server(root, "my, volume");
      try {
        const right = volume(socket, "my, volume");
        expect(await connector.connect(right, UUID)).toEqual({
          type: "nbd",
          server: { type: "unix", path: socket },
          exportName: "my, volume",
          format: "raw",
        });
        expect(await connector.extend(right, UUID, 1)).toBe(4 * MIB);
        const wrong = { ...volume(socket, "another"), volumeId: "vol-2" };
        await expect(connector.connect(wrong, UUID)).rejects.toMatchObject({
          code: "VOLUME_CONNECT_FAILED",
          device: "vol-2",
        });
        await connector.disconnect(right, UUID);
      } finally {
        await stop();
      }
      await expect(connector.connect(volume(socket, "my, volume"), UUID)).rejects.toMatchObject({
        code: "VOLUME_CONNECT_FAILED",
      });
    }));
});

describe.runIf(process.getuid?.() === 0)("a volume that is a block device", () => {
  it("is connected by a link that lies where it may, and tells its size when it has grown", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      await makeImage(join(root, "volume"), "raw", 7);
      const device = (await run(["losetup", "--find", "--show", join(root, "volume")])).trim();
      try {
        await symlink(device, join(root, "lv0"));
        const connector = new LocalVolumeConnector({ roots: [root], state: new MemoryStateStore() });
        const volume: VolumeConnection = {
          volumeId: "vol-1",
          type: "local",
          data: { path: join(root, "lv0"), format: "raw", kind: "block" },
        };
        expect(await connector.connect(volume, UUID)).toEqual({
          type: "block",
          path: join(root, "lv0"),
          format: "raw",
        });
        expect(await connector.extend(volume, UUID, 1)).toBe(4 * MIB);
        await truncate(join(root, "volume"), 6 * MIB);
        await run(["losetup", "--set-capacity", device]);
        expect(await connector.extend(volume, UUID, 1)).toBe(6 * MIB);
        const file: VolumeConnection = { ...volume, data: { path: join(root, "lv0"), format: "raw" } };
        await expect(connector.connect(file, UUID)).rejects.toMatchObject({ code: "VOLUME_CONNECT_FAILED" });
      } finally {
        await run(["losetup", "--detach", device]);
      }
    }));
});
