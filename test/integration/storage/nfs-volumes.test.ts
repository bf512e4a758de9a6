import { mkdir, readFile, readdir, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { MemoryStateStore } from "../../../src/core/index.js";
import { CommandError, systemCommandRunner } from "../../../src/host/index.js";
import type { CommandOptions, CommandResult, CommandRunner } from "../../../src/host/index.js";
import { NfsVolumeConnector } from "../../../src/storage/index.js";
import type { VolumeConnection } from "../../../src/storage/index.js";
import { withTemporaryDirectory } from "../../lab/index.js";

const A = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const B = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b002";

/** Mounts directories of this host in place of exports of a server, and everything else as it is asked. */
class LocalExports implements CommandRunner {
  readonly argv: string[] = [];
  readonly root: string;
  /** The server does not know its exports any more. */
  stale = false;
  /** The process that mounts is gone at once afterwards. */
  dying = false;

  constructor(root: string) {
    this.root = root;
  }

  async run(argv: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    this.argv.push(argv.join(" "));
    if (argv[0] === "stat" && this.stale) throw new CommandError({ argv: [...argv], exitCode: 1, stderr: "stale" });
    if (argv[0] !== "mount") return systemCommandRunner.run(argv, options);
    const [exported = "", point = ""] = argv.slice(-2);
    const directory = join(this.root, exported.slice(exported.indexOf(":") + 1));
    const done = await systemCommandRunner.run(["mount", "--bind", "--", directory, point], options);
    this.stale = false;
    if (this.dying) throw new Error("the process is gone");
    return done;
  }

  count(command: string): number {
    return this.argv.filter((line) => line.startsWith(`${command} `)).length;
  }
}

interface Lab {
  readonly root: string;
  readonly exports: LocalExports;
  readonly state: MemoryStateStore;
  readonly connector: NfsVolumeConnector;
  readonly mounted: () => Promise<number>;
  readonly volume: (name: string, more?: Partial<VolumeConnection>, data?: object) => VolumeConnection;
}

function inLab(work: (lab: Lab) => Promise<void>): Promise<void> {
  return withTemporaryDirectory(async ({ path: root }) => {
    for (const name of ["one", "two"]) {
      await mkdir(join(root, "server", name), { recursive: true });
      for (const file of ["a", "b"]) {
        await writeFile(join(root, "server", name, file), "");
        await truncate(join(root, "server", name, file), 4096);
      }
    }
    const exports = new LocalExports(join(root, "server"));
    const state = new MemoryStateStore();
    const mountRoot = join(root, "mounts");
    const connector = new NfsVolumeConnector({ mountRoot, state, commands: exports });
    const mounted = async (): Promise<number> =>
      (await readFile("/proc/self/mountinfo", "utf8")).split("\n").filter((line) => line.includes(mountRoot)).length;
    const volume: Lab["volume"] = (name, more = {}, data = {}) => ({
      volumeId: `vol-${name.replace("/", "-")}`,
      type: "nfs",
      data: { export: `server:/${name.split("/")[0] ?? ""}`, name: name.split("/")[1] ?? "", format: "raw", ...data },
      ...more,
    });
    try {
      await work({ root, exports, state, connector, mounted, volume });
    } finally {
      for (const name of (await readdir(mountRoot).catch(() => [])) ?? [])
        await systemCommandRunner.run(["umount", "-l", join(mountRoot, name)]).catch(() => undefined);
    }
  });
}

describe.runIf(process.getuid?.() === 0)("a volume that is a file of an NFS export", () => {
  it("shares its mount with others of the export, which goes with the last of them", () =>
    inLab(async ({ exports, state, connector, mounted, volume }) => {
      const [a, b, two] = [volume("one/a"), volume("one/b", { multiattach: true }), volume("two/a")];
      const [source] = await Promise.all([connector.connect(a, A), connector.connect(b, A), connector.connect(two, A)]);
      expect(source).toEqual({ type: "file", path: join(connector.mountPointOf("server:/one"), "a"), format: "raw" });
      expect(await connector.connect(a, A)).toEqual(source);
      await connector.connect(b, B);
      expect(await mounted()).toBe(2);
      expect(exports.count("mount")).toBe(2);
      expect(exports.argv[0]).toMatch(/^mount -t nfs -o nosuid,nodev,noexec -- server:\/(one|two) /);
      await expect(connector.connect(a, B)).rejects.toMatchObject({ code: "CONFLICT" });
      expect(await connector.extend(a, A, 8192)).toBe(4096);
      await connector.disconnect(a, A);
      await connector.disconnect(b, A);
      await connector.disconnect(two, A);
      expect(await mounted()).toBe(1);
      expect(await connector.instancesOf("vol-one-b")).toEqual([B]);
      await connector.disconnect(b, B);
      await connector.disconnect(b, B);
      expect(await mounted()).toBe(0);
      expect(state.size).toBe(0);
      await expect(stat(connector.mountPointOf("server:/one"))).rejects.toMatchObject({ code: "ENOENT" });
    }));

  it("is found again by a process that comes after the death of the one that mounted", () =>
    inLab(async ({ root, exports, state, connector, mounted, volume }) => {
      await connector.connect(volume("one/a"), A);
      const later = new NfsVolumeConnector({ mountRoot: join(root, "mounts"), state, commands: exports });
      await later.connect(volume("one/a"), A);
      expect(exports.count("mount")).toBe(1);
      await later.disconnect(volume("one/a"), A);
      expect(await mounted()).toBe(0);
      // Killed when the mount stood and nobody knew.
      exports.dying = true;
      const frozen = new Map<string, unknown>();
      const failing = new NfsVolumeConnector({
        mountRoot: join(root, "mounts"),
        commands: exports,
        state: {
          get: (key) => Promise.resolve((frozen.get(key) as never) ?? undefined),
          put: (key, value) => Promise.resolve(void frozen.set(key, structuredClone(value))),
          // What a killed process does not come to do.
          delete: () => Promise.reject(new Error("the process is gone")),
          list: () => Promise.resolve([...frozen.keys()]),
        },
      });
      exports.argv.length = 0;
      await failing.connect(volume("two/b"), B).catch(() => undefined);
      exports.dying = false;
      for (const [key, value] of frozen) await state.put(key, value as never);
      await later.disconnect(volume("two/b"), B);
      expect(await mounted()).toBe(0);
      expect(state.size).toBe(0);
    }));

  it("is mounted anew when its server does not know it any more, unless others use it", () =>
    inLab(async ({ exports, connector, mounted, volume }) => {
      await connector.connect(volume("one/a"), A);
      exports.stale = true;
      await connector.connect(volume("one/a"), A);
      expect(exports.count("mount")).toBe(2);
      expect(exports.argv.some((line) => line.startsWith("umount -l "))).toBe(true);
      expect(await mounted()).toBe(1);
      await connector.connect(volume("one/b"), A);
      exports.stale = true;
      await expect(connector.connect(volume("one/a"), A)).rejects.toMatchObject({
        code: "VOLUME_CONNECT_FAILED",
        device: "vol-one-a",
      });
      await expect(connector.extend(volume("one/b"), A, 1)).rejects.toMatchObject({ code: "VOLUME_CONNECT_FAILED" });
      expect(await connector.instancesOf("vol-one-a")).toEqual([A]);
      await connector.disconnect(volume("one/a"), A);
      await connector.disconnect(volume("one/b"), A);
      expect(await mounted()).toBe(0);
    }));

  it("leaves nothing when it can't be had", () =>
    inLab(async ({ root, state, connector, mounted, volume }) => {
      await symlink("/etc/hostname", join(root, "server/one/link"));
      await expect(connector.connect(volume("none/a"), A)).rejects.toMatchObject({ code: "VOLUME_CONNECT_FAILED" });
      await expect(connector.connect(volume("one/none"), A)).rejects.toMatchObject({ code: "VOLUME_CONNECT_FAILED" });
      await expect(connector.connect(volume("one/link"), A)).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
      expect(await mounted()).toBe(0);
      expect(state.size).toBe(0);
    }));

  it.each([
    ["export", { export: "server" }],
    ["export", { export: "-o:/x" }],
    ["export", { export: "server:/a b" }],
    ["name", { name: "../a" }],
    ["name", { name: ".hidden" }],
    ["name", { name: "/etc/passwd" }],
    ["options", { options: "vers=4 -o suid" }],
    ["options", { options: "vers=4,suid" }],
    ["format", { format: "vmdk" }],
  ])("names the bad field %s of %j", (field, data) =>
    inLab(async ({ connector, volume }) => {
      await expect(connector.connect(volume("one/a", {}, data), A)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        field: `connection.data.${field}`,
      });
    }),
  );
});
