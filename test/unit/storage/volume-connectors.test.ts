import { mkdir, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { MemoryStateStore } from "../../../src/core/index.js";
import type { JsonObject } from "../../../src/core/index.js";
import { CommandError } from "../../../src/host/index.js";
import type { CommandRunner } from "../../../src/host/index.js";
import { LocalVolumeConnector, NbdVolumeConnector } from "../../../src/storage/index.js";
import type { VolumeConnection } from "../../../src/storage/index.js";
import { qcow2Header } from "./support/qcow2-bytes.js";
import { inDirectory } from "./support/tree.js";

const A = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const B = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b002";

interface World {
  readonly root: string;
  readonly state: MemoryStateStore;
  readonly connector: LocalVolumeConnector;
  volume(data: JsonObject, more?: Partial<VolumeConnection>): VolumeConnection;
  file(name: string, bytes?: Buffer): Promise<string>;
}

function inRoot(test: (world: World) => Promise<void>): Promise<void> {
  return inDirectory(async (directory) => {
    const root = join(directory, "volumes");
    await mkdir(root);
    await writeFile(join(directory, "outside"), Buffer.alloc(512));
    const state = new MemoryStateStore();
    await test({
      root,
      state,
      connector: new LocalVolumeConnector({ roots: [root], state, maxChainDepth: 4 }),
      volume: (data, more = {}) => ({ volumeId: "vol-1", type: "local", data, ...more }),
      file: async (name, bytes = Buffer.alloc(1024)) => {
        await writeFile(join(root, name), bytes);
        return join(root, name);
      },
    });
  });
}

describe("a local volume", () => {
  it("is connected with the same source each time, and disconnected once", () =>
    inRoot(async ({ connector, volume, file, state }) => {
      const path = await file("a.raw");
      const connection = volume({ path, format: "raw" });
      const source = { type: "file", path, format: "raw" };
      expect(await connector.connect(connection, A)).toEqual(source);
      expect(await connector.connect(connection, A)).toEqual(source);
      expect(await connector.instancesOf("vol-1")).toEqual([A]);
      await connector.disconnect(connection, A);
      await connector.disconnect(connection, A);
      expect(await connector.instancesOf("vol-1")).toEqual([]);
      expect(state.size).toBe(0);
    }));

  it("is counted for each instance when it is shared, also across restarts", () =>
    inRoot(async ({ connector, volume, file, state, root }) => {
      const connection = volume({ path: await file("a.raw"), format: "raw" }, { multiattach: true });
      await connector.connect(connection, A);
      const later = new LocalVolumeConnector({ roots: [root], state });
      await later.connect(connection, B);
      await later.disconnect(connection, A);
      expect(await later.instancesOf("vol-1")).toEqual([B]);
      await expect(later.connect({ ...connection, multiattach: false }, A)).rejects.toMatchObject({ code: "CONFLICT" });
    }));

  it("is refused to a second instance when it is not shared", () =>
    inRoot(async ({ connector, volume, file }) => {
      const connection = volume({ path: await file("a.raw"), format: "raw" });
      await connector.connect(connection, A);
      await expect(connector.connect(connection, B)).rejects.toMatchObject({ code: "CONFLICT", device: "vol-1" });
      await expect(connector.connect({ ...connection, multiattach: true }, B)).rejects.toMatchObject({
        code: "CONFLICT",
      });
      expect(await connector.instancesOf("vol-1")).toEqual([A]);
    }));

  it("can have any id that a volume may have", () =>
    inRoot(async ({ connector, volume, file }) => {
      const path = await file("a.raw");
      for (const volumeId of [".", "..", "a.json", "x".repeat(128)]) {
        await connector.connect(volume({ path, format: "raw" }, { volumeId }), A);
        expect(await connector.instancesOf(volumeId)).toEqual([A]);
      }
    }));

  it("shows its size as it is", () =>
    inRoot(async ({ connector, volume, file }) => {
      const raw = volume({ path: await file("a.raw"), format: "raw" });
      await truncate(raw.data.path as string, 4096);
      expect(await connector.extend(raw, A, 4096)).toBe(4096);
      const qcow2 = volume({
        path: await file("a.qcow2", qcow2Header({ virtualSizeBytes: 12345 * 512 })),
        format: "qcow2",
      });
      expect(await connector.extend(qcow2, A, 1)).toBe(12345 * 512);
    }));

  it.each([
    ["connection.volumeId", { volumeId: "../x" }],
    ["connection.volumeId", { volumeId: "" }],
    ["connection.type", { type: "iscsi" }],
    ["connection.data.path", { data: { format: "raw" } }],
    ["connection.data.path", { data: { path: "a", format: "raw" } }],
    ["connection.data.path", { data: { path: "/etc/passwd", format: "raw" } }],
    ["connection.data.path", { data: { path: "ROOT/../outside", format: "raw" } }],
    ["connection.data.path", { data: { path: "ROOT-too/x", format: "raw" } }],
    ["connection.data.format", { data: { path: "ROOT/x", format: "vmdk" } }],
    ["connection.data.kind", { data: { path: "ROOT/x", format: "raw", kind: "tape" } }],
    ["connection.data.colour", { data: { path: "ROOT/x", format: "raw", colour: "red" } }],
  ])("names the bad field %s of %o", (field, change) =>
    inRoot(async ({ connector, volume, root }) => {
      const text = JSON.stringify(volume({ path: "ROOT/x", format: "raw" }, change));
      const connection = JSON.parse(text.replaceAll("ROOT", root)) as VolumeConnection;
      await expect(connector.connect(connection, A)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field });
    }),
  );

  it("is not there, or not what was said", () =>
    inRoot(async ({ connector, volume, file, root, state }) => {
      const error = { code: "VOLUME_CONNECT_FAILED", device: "vol-1" };
      await expect(connector.connect(volume({ path: join(root, "none"), format: "raw" }), A)).rejects.toMatchObject(
        error,
      );
      await mkdir(join(root, "folder"));
      await expect(connector.connect(volume({ path: join(root, "folder"), format: "raw" }), A)).rejects.toMatchObject(
        error,
      );
      const path = await file("a.raw");
      await expect(connector.connect(volume({ path, format: "raw", kind: "block" }), A)).rejects.toMatchObject(error);
      expect(state.size).toBe(0);
    }));

  it("is not reached through a link out of its directories", () =>
    inRoot(async ({ connector, volume, root }) => {
      await symlink("../outside", join(root, "link"));
      await symlink("..", join(root, "up"));
      for (const name of ["link", "up/outside"]) {
        const connecting = connector.connect(volume({ path: join(root, name), format: "raw" }), A);
        await expect(connecting).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
      }
    }));

  it("is given by its real path when a link inside leads to it", () =>
    inRoot(async ({ connector, volume, root, file }) => {
      const path = await file("a.raw");
      await symlink("a.raw", join(root, "link"));
      expect(await connector.connect(volume({ path: join(root, "link"), format: "raw" }), A)).toMatchObject({ path });
    }));
});

describe("a local volume with a chain of backing files", () => {
  it("is connected when all of them are where they may be", () =>
    inRoot(async ({ connector, volume, file, root }) => {
      await file("base.raw");
      await file("middle.qcow2", qcow2Header({ backingFile: join(root, "base.raw"), backingFormat: "raw" }));
      const path = await file("top.qcow2", qcow2Header({ backingFile: "middle.qcow2", backingFormat: "qcow2" }));
      expect(await connector.connect(volume({ path, format: "qcow2" }), A)).toEqual({
        type: "file",
        path,
        format: "qcow2",
      });
    }));

  it.each([
    ["leads out of the directories", { backingFile: "../outside", backingFormat: "raw" }],
    ["names a file of the host", { backingFile: "/etc/passwd", backingFormat: "raw" }],
    ["does not say the format", { backingFile: "base.raw" }],
    ["is of another format", { backingFile: "base.raw", backingFormat: "vmdk" }],
    ["is a protocol", { backingFile: "nbd://evil/x", backingFormat: "raw" }],
    ["is a description in JSON", { backingFile: 'json:{"file.filename":"/etc/passwd"}', backingFormat: "raw" }],
    ["has its data elsewhere", { dataFile: "/etc/passwd", incompatible: 4n }],
    ["is itself", { backingFile: "top.qcow2", backingFormat: "qcow2" }],
    ["has no name", { backingFile: "", backingFormat: "raw" }],
  ])("is refused when it %s", (_what, parts) =>
    inRoot(async ({ connector, volume, file, state }) => {
      await file("base.raw");
      const path = await file("top.qcow2", qcow2Header(parts));
      await expect(connector.connect(volume({ path, format: "qcow2" }), A)).rejects.toMatchObject({
        code: "IMAGE_UNACCEPTABLE",
      });
      expect(state.size).toBe(0);
    }),
  );

  it("is refused when the chain is too long", () =>
    inRoot(async ({ connector, volume, file }) => {
      let path = await file("0", qcow2Header());
      for (let i = 1; i < 4; i++)
        path = await file(String(i), qcow2Header({ backingFile: String(i - 1), backingFormat: "qcow2" }));
      await connector.connect(volume({ path, format: "qcow2" }), A);
      path = await file("4", qcow2Header({ backingFile: "3", backingFormat: "qcow2" }));
      await expect(connector.connect(volume({ path, format: "qcow2" }), A)).rejects.toMatchObject({
        code: "IMAGE_UNACCEPTABLE",
      });
    }));
});

describe("an NBD volume", () => {
  const answers = (run: CommandRunner["run"]): { connector: NbdVolumeConnector; state: MemoryStateStore } => {
    const state = new MemoryStateStore();
    return { state, connector: new NbdVolumeConnector({ state, commands: { run } }) };
  };
  const volume = (data: JsonObject): VolumeConnection => ({ volumeId: "vol-1", type: "nbd", data });
  const unix = { type: "unix", path: "/run/a,b.sock" };

  it("is asked for before it is given to a guest", async () => {
    const argvs: (readonly string[])[] = [];
    const { connector } = answers((argv) => {
      argvs.push(argv);
      return Promise.resolve({ stdout: '{"virtual-size": 1048576}', stderr: "", exitCode: 0 });
    });
    const connection = volume({ server: unix, exportName: "disk,1" });
    expect(await connector.connect(connection, A)).toEqual({
      type: "nbd",
      server: unix,
      exportName: "disk,1",
      format: "raw",
    });
    expect(argvs[0]?.at(-1)).toBe(
      "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path=/run/a,,b.sock,file.export=disk,,1",
    );
    expect(await connector.extend(connection, A, 1)).toBe(1_048_576);
    await connector.disconnect(connection, A);
  });

  it("fails when its server does not answer, and nothing is noted", async () => {
    const { connector, state } = answers((argv) => Promise.reject(new CommandError({ argv, exitCode: 1, stderr: "" })));
    const connecting = connector.connect(volume({ server: { type: "inet", host: "::1", port: 10809 } }), A);
    await expect(connecting).rejects.toMatchObject({ code: "VOLUME_CONNECT_FAILED", device: "vol-1", retryable: true });
    expect(state.size).toBe(0);
  });

  it.each([
    ["c.data.server", {}],
    ["c.data.server.type", { server: { type: "tcp" } }],
    ["c.data.server.path", { server: { type: "unix", path: "sock" } }],
    ["c.data.server.path", { server: { type: "unix", path: `/${"x".repeat(107)}` } }],
    ["c.data.server.host", { server: { type: "inet", host: "a,b=c", port: 1 } }],
    ["c.data.server.port", { server: { type: "inet", host: "nbd.example.org", port: 0 } }],
    ["c.data.exportName", { server: unix, exportName: "a\nb" }],
  ])("names the bad field %s of %o", (field, data) => {
    const { connector } = answers(() => Promise.reject(new Error("not reached")));
    expect(() => connector.validate(volume(data as JsonObject), "c")).toThrow(
      expect.objectContaining({ field }) as Error,
    );
  });
});
