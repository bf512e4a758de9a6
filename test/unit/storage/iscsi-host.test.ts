import { mkdir, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { MemoryStateStore, Secret } from "../../../src/core/index.js";
import { CommandError } from "../../../src/host/index.js";
import type { CommandResult, CommandRunner } from "../../../src/host/index.js";
import { IscsiHostVolumeConnector, MemorySecretStore } from "../../../src/storage/index.js";
import type { VolumeConnection } from "../../../src/storage/index.js";
import { withTemporaryDirectory } from "../../lab/index.js";

const A = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const B = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b002";
const TARGET = "iqn.2026-01.org.example:vol";
const PASSWORD = "chap-secret-of-16";
const portals = [
  { host: "10.0.0.1", port: 3260 },
  { host: "10.0.0.2", port: 3260 },
];

/** A kernel with an initiator, as files and commands show it. Its target has the units that `units` lists. */
class SimulatedHost implements CommandRunner {
  readonly argv: string[] = [];
  readonly root: string;
  units: readonly number[] = [1, 2];
  multipath = false;
  /** Commands that fail, by how they begin. */
  failing: string[] = [];
  readonly #sessions = new Map<string, number>();

  constructor(root: string) {
    this.root = root;
  }

  async run(argv: readonly string[]): Promise<CommandResult> {
    const line = argv.join(" ");
    this.argv.push(line);
    if (this.failing.some((start) => line.startsWith(start)))
      throw new CommandError({ argv: [...argv], exitCode: 8, stderr: "no" });
    const portal = /-p (\S+)/.exec(line)?.[1] ?? "";
    if (line.endsWith("-o new"))
      await this.#write(`nodes/${TARGET}/${portal.replace(":", ",")}`, "# BEGIN RECORD\nnode.x = 1\n# END RECORD\n");
    if (line.endsWith("--login")) await this.#login(portal, argv);
    if (line.endsWith("--logout")) await this.#logout(argv);
    if (line.endsWith("-o delete")) await rm(join(this.root, "nodes", TARGET), { recursive: true, force: true });
    if (line.startsWith("udevadm settle")) await this.#show();
    if (line.startsWith("multipath -f")) await this.#unmap();
    return { stdout: "", stderr: "", exitCode: 0 };
  }

  path(name: string): string {
    return join(this.root, "sys", name);
  }

  async #login(portal: string, argv: readonly string[]): Promise<void> {
    if (this.#sessions.has(portal)) throw new CommandError({ argv: [...argv], exitCode: 15, stderr: "session exists" });
    const n = this.#sessions.size + 1;
    this.#sessions.set(portal, n);
    const session = `devices/host${n}/session${n}/iscsi_session/session${n}`;
    await this.#write(`sys/${session}/targetname`, `${TARGET}\n`);
    await mkdir(this.path(`devices/host${n}/session${n}/target${n}:0:0`), { recursive: true });
    await mkdir(this.path("class/iscsi_session"), { recursive: true });
    await symlink(`../../${session}`, this.path(`class/iscsi_session/session${n}`));
    await symlink("../..", this.path(`${session}/device`));
    const [host = "", port = ""] = portal.split(":");
    await this.#write(`sys/class/iscsi_connection/connection${n}:0/persistent_address`, `${host}\n`);
    await this.#write(`sys/class/iscsi_connection/connection${n}:0/persistent_port`, `${port}\n`);
    await this.#write(`sys/class/scsi_host/host${n}/scan`, "");
  }

  async #logout(argv: readonly string[]): Promise<void> {
    if (this.#sessions.size === 0) throw new CommandError({ argv: [...argv], exitCode: 21, stderr: "no session" });
    this.#sessions.clear();
    await rm(this.path("class/iscsi_session"), { recursive: true, force: true });
    await rm(this.path("devices"), { recursive: true, force: true });
  }

  /** Shows the units that were scanned for, and forgets those that were deleted. */
  async #show(): Promise<void> {
    for (const n of this.#sessions.values()) {
      const [, , unit] = (await readFile(this.path(`class/scsi_host/host${n}/scan`), "utf8")).split(" ");
      const lun = Number(unit);
      if (!this.units.includes(lun)) continue;
      const disk = `sd${"abcdef"[n]}${lun}`;
      const device = `devices/host${n}/session${n}/target${n}:0:0/${n}:0:0:${lun}`;
      await mkdir(this.path(`${device}/block/${disk}`), { recursive: true });
      await mkdir(this.path("class/block"), { recursive: true });
      await symlink(`../../${device}/block/${disk}`, this.path(`class/block/${disk}`)).catch(() => undefined);
      await symlink(`../..`, this.path(`${device}/block/${disk}/device`)).catch(() => undefined);
      await this.#write(`sys/${device}/wwid`, `naa.600140500000000${lun}\n`);
      await this.#write(`sys/${device}/block/${disk}/size`, "16384\n");
      for (const name of ["rescan", "delete"]) await this.#write(`sys/${device}/${name}`, "");
      if (!this.multipath) continue;
      await this.#write(`sys/class/block/dm-${lun}/dm/uuid`, `mpath-3600140500000000${lun}\n`);
      await this.#write(`sys/class/block/dm-${lun}/dm/name`, `mpath${lun}\n`);
      await this.#write(`sys/class/block/dm-${lun}/size`, "32768\n");
      await mkdir(this.path(`${device}/block/${disk}/holders/dm-${lun}`), { recursive: true });
    }
  }

  async #unmap(): Promise<void> {
    const maps = (await readdir(this.path("class/block"))).filter((name) => name.startsWith("dm-"));
    for (const name of maps) await rm(this.path(`class/block/${name}`), { recursive: true, force: true });
  }

  async #write(name: string, text: string): Promise<void> {
    await mkdir(dirname(join(this.root, name)), { recursive: true });
    await writeFile(join(this.root, name), text);
  }
}

interface Lab {
  readonly host: SimulatedHost;
  readonly state: MemoryStateStore;
  readonly connector: IscsiHostVolumeConnector;
  readonly volume: (lun: number, more?: Partial<VolumeConnection>) => VolumeConnection;
}

function inLab(work: (lab: Lab) => Promise<void>, multipath = false): Promise<void> {
  return withTemporaryDirectory(async ({ path: root }) => {
    const host = new SimulatedHost(root);
    host.multipath = multipath;
    const state = new MemoryStateStore();
    const secrets = new MemorySecretStore();
    await secrets.put("chap", Secret.of(PASSWORD));
    const connector = new IscsiHostVolumeConnector({
      state,
      secrets,
      multipath,
      commands: host,
      sysfs: join(root, "sys"),
      nodeDatabases: [join(root, "elsewhere"), join(root, "nodes")],
    });
    const data = { portals, target: TARGET, auth: { username: "demo", secretId: "chap" } };
    const volume: Lab["volume"] = (lun, more = {}) => ({
      volumeId: `vol-${lun}`,
      type: "iscsi",
      data: { ...data, lun },
      ...more,
    });
    await work({ host, state, connector, volume });
  });
}

describe("a volume that the host's initiator attaches", () => {
  it("is a disk of a session that its target's other units share, and that ends with the last", () =>
    inLab(async ({ host, state, connector, volume }) => {
      const source = { type: "block", path: "/dev/sdb1", format: "raw" };
      expect(await connector.connect(volume(1), A)).toEqual(source);
      expect(await connector.connect(volume(1), A)).toEqual(source);
      expect(await connector.connect(volume(2), B)).toEqual({ ...source, path: "/dev/sdb2" });
      expect(host.argv.filter((line) => line.endsWith("--login"))).toHaveLength(1);
      const record = await readFile(join(host.root, "nodes", TARGET, "10.0.0.1,3260"), "utf8");
      expect(record).toContain(`node.session.auth.password = ${PASSWORD}\n# END RECORD`);
      expect(host.argv.join("\n")).not.toContain(PASSWORD);
      expect(host.argv).toContain(
        `iscsiadm -m node -T ${TARGET} -p 10.0.0.1:3260 -o update -n node.session.scan -v manual`,
      );
      expect(await readFile(host.path("class/scsi_host/host1/scan"), "utf8")).toBe("0 0 2");

      await connector.disconnect(volume(1), A);
      expect(await readFile(host.path("class/block/sdb1/device/delete"), "utf8")).toBe("1");
      expect(host.argv).toContain("blockdev --flushbufs /dev/sdb1");
      expect(host.argv.some((line) => line.endsWith("--logout"))).toBe(false);
      await rm(host.path("devices/host1/session1/target1:0:0"), { recursive: true });
      await connector.disconnect(volume(2), B);
      await connector.disconnect(volume(2), B);
      expect(host.argv.filter((line) => line.endsWith("--logout"))).toHaveLength(1);
      expect(state.size).toBe(0);
    }));

  it("stays for the instances that share it", () =>
    inLab(async ({ host, connector, volume }) => {
      const shared = volume(1, { multiattach: true });
      await connector.connect(shared, A);
      await connector.connect(shared, B);
      await connector.disconnect(shared, A);
      expect(await readFile(host.path("class/block/sdb1/device/delete"), "utf8")).toBe("");
      expect(await connector.instancesOf("vol-1")).toEqual([B]);
      await expect(connector.connect(volume(1), A)).rejects.toMatchObject({ code: "CONFLICT" });
    }));

  it("keeps a session that shows the host disks which are not of its volumes", () =>
    inLab(async ({ host, state, connector, volume }) => {
      await connector.connect(volume(1), A);
      await mkdir(host.path("devices/host1/session1/target1:0:0/1:0:0:9/block/sdz"), { recursive: true });
      await connector.disconnect(volume(1), A);
      expect(host.argv.some((line) => line.endsWith("--logout"))).toBe(false);
      expect(state.size).toBe(0);
    }));

  it("is one map of all its paths, which grows and goes with them", () =>
    inLab(async ({ host, connector, volume }) => {
      expect(await connector.connect(volume(1), A)).toEqual({
        type: "block",
        path: "/dev/mapper/mpath1",
        format: "raw",
      });
      expect(host.argv.filter((line) => line.endsWith("--login"))).toHaveLength(2);
      expect(host.argv).toContain("multipathd add path sdc1");
      expect(await connector.extend(volume(1), A, 1)).toBe(32_768 * 512);
      for (const disk of ["sdb1", "sdc1"])
        expect(await readFile(host.path(`class/block/${disk}/device/rescan`), "utf8")).toBe("1");
      expect(host.argv).toContain("multipathd resize map mpath1");
      await connector.disconnect(volume(1), A);
      const flush = host.argv.indexOf("multipath -f mpath1");
      expect(host.argv[flush - 1]).toBe("blockdev --flushbufs /dev/mapper/mpath1");
      for (const disk of ["sdb1", "sdc1"])
        expect(await readFile(host.path(`class/block/${disk}/device/delete`), "utf8")).toBe("1");
    }, true));

  it("is reached by the portal that answers, and by all of those that do", () =>
    inLab(async ({ host, connector, volume }) => {
      host.failing = [`iscsiadm -m node -T ${TARGET} -p 10.0.0.1:3260 --login`];
      expect(await connector.connect(volume(1), A)).toMatchObject({ path: "/dev/mapper/mpath1" });
      await connector.disconnect(volume(1), A);
    }, true));

  it("leaves nothing when it can't be had", () =>
    inLab(async ({ host, state, connector, volume }) => {
      host.failing = [
        `iscsiadm -m node -T ${TARGET} -p 10.0.0.1:3260 --login`,
        `iscsiadm -m node -T ${TARGET} -p 10.0.0.2:3260 --login`,
      ];
      const error: unknown = await connector.connect(volume(1), A).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: "VOLUME_CONNECT_FAILED", device: "vol-1" });
      expect(inspect(error, { depth: 9 })).not.toContain(PASSWORD);
      expect(await readdir(join(host.root, "nodes"))).toEqual([]);
      host.failing = [];
      await expect(connector.connect(volume(7), A)).rejects.toMatchObject({
        code: "VOLUME_CONNECT_FAILED",
        device: "vol-7",
      });
      const other = volume(1);
      const unknown = { ...other, data: { ...other.data, auth: { username: "demo", secretId: "none" } } };
      await expect(connector.connect(unknown, A)).rejects.toMatchObject({ code: "SECRET_NOT_FOUND" });
      expect(state.size).toBe(0);
      expect(host.argv.filter((line) => line.endsWith("--logout"))).toHaveLength(3);
    }));

  it("counts as connected until the host has let go of it, whoever comes to do that", () =>
    inLab(async ({ host, state, connector, volume }) => {
      await connector.connect(volume(1), A);
      host.failing = ["blockdev"];
      await expect(connector.disconnect(volume(1), A)).rejects.toMatchObject({
        code: "STORAGE_FAILED",
        retryable: true,
      });
      expect(await connector.instancesOf("vol-1")).toEqual([A]);
      host.failing = [];
      const options = { state, commands: host, sysfs: join(host.root, "sys") };
      await new IscsiHostVolumeConnector(options).disconnect(volume(1), A);
      expect(await readFile(host.path("class/block/sdb1/device/delete"), "utf8").catch(() => "1")).toBe("1");
      expect(state.size).toBe(0);
    }));
});
