import { describe, expect, it } from "vitest";
import { CommandError } from "../../../src/host/index.js";
import type { CommandOptions, CommandResult, CommandRunner } from "../../../src/host/index.js";
import { LvmDiskBackend, RbdDiskBackend } from "../../../src/storage/index.js";
import { LvmPool } from "../../../src/storage/disks/pool/lvm-pool.js";
import { RbdPool } from "../../../src/storage/disks/pool/rbd-pool.js";

const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const MIB = 1024 * 1024;

/** Writes down what is run, and answers by the first words that fit. */
class Script implements CommandRunner {
  readonly calls: string[] = [];
  readonly #answers: Readonly<Record<string, unknown>>;

  /** @param answers By the beginning of the command: text or JSON to print, or an exit status to fail with. */
  constructor(answers: Readonly<Record<string, unknown>> = {}) {
    this.#answers = answers;
  }

  run(argv: readonly string[], _options?: CommandOptions): Promise<CommandResult> {
    const line = argv.join(" ");
    this.calls.push(line);
    const [, answer] = Object.entries(this.#answers).find(([start]) => line.startsWith(start)) ?? [];
    if (typeof answer === "number") return Promise.reject(new CommandError({ argv, exitCode: answer, stderr: "no" }));
    const stdout = typeof answer === "string" ? answer : JSON.stringify(answer ?? {});
    return Promise.resolve({ stdout, stderr: "", exitCode: 0 });
  }
}

function volumes(...rows: readonly Record<string, string>[]): unknown {
  const usual = { lv_device_open: "", data_percent: "", pool_lv: "" };
  return { report: [{ lv: rows.map((row) => ({ ...usual, ...row })) }], log: [] };
}

const GROUP = {
  report: [{ vg: [{ vg_size: "1000", vg_free: "100", vg_extent_size: "64", vg_tags: "hypervise+token+t,of.others" }] }],
};

describe("a volume group", () => {
  const lvm = (script: Script, more: object = {}): LvmPool => new LvmPool({ volumeGroup: "vg0", ...more }, script);

  it("is read from LVM's reports", async () => {
    const script = new Script({
      "lvm lvs": volumes({ lv_name: "a", lv_size: "8388608" }, { lv_name: "b", lv_size: "4", lv_device_open: "open" }),
      "lvm vgs": GROUP,
    });
    const pool = lvm(script);
    expect(await pool.read()).toEqual({
      volumes: [
        { name: "a", sizeBytes: 8_388_608 },
        { name: "b", sizeBytes: 4 },
      ],
      marks: ["token+t"],
    });
    expect([await pool.isInUse("a"), await pool.isInUse("b")]).toEqual([false, true]);
    expect(await pool.space()).toEqual({ totalBytes: 1000, freeBytes: 100 });
    expect([await pool.roundUp(64), await pool.roundUp(65)]).toEqual([64, 128]);
    expect(script.calls.slice(0, 2)).toEqual([
      "lvm lvs --reportformat json --units b --nosuffix --options lv_name,lv_size,lv_device_open,data_percent,pool_lv vg0",
      "lvm vgs --reportformat json --units b --nosuffix --options vg_size,vg_free,vg_extent_size,vg_tags vg0",
    ]);
    expect(pool.sourceOf("a")).toEqual({ type: "block", path: "/dev/vg0/a", format: "raw" });
  });

  it("gives out zeroed space, and takes each change in one command", async () => {
    const script = new Script();
    const pool = lvm(script, { config: "devices { use_devicesfile = 0 }" });
    await pool.create("a", 8 * MIB, {});
    await pool.grow({ name: "a", sizeBytes: 8 * MIB }, 16 * MIB, {});
    await pool.rename("a", "b");
    await pool.remove("b");
    await pool.remark("x", "y");
    await pool.remark(undefined, "z");
    await pool.remark(undefined, undefined);
    const config = "--config devices { use_devicesfile = 0 }";
    expect(script.calls).toEqual([
      `lvm lvcreate ${config} --yes --wipesignatures n --name a --size 8388608b vg0`,
      "blkdiscard --zeroout --offset 0 /dev/vg0/a",
      `lvm lvextend ${config} --size 16777216b vg0/a`,
      "blkdiscard --zeroout --offset 8388608 /dev/vg0/a",
      `lvm lvrename ${config} vg0 a b`,
      `lvm lvremove ${config} --yes vg0/b`,
      `lvm vgchange ${config} --deltag hypervise+x --addtag hypervise+y vg0`,
      `lvm vgchange ${config} --addtag hypervise+z vg0`,
    ]);
  });

  it("may be thin", async () => {
    const script = new Script({
      "lvm lvs": volumes(
        { lv_name: "thin", lv_size: "1000", data_percent: "25.00" },
        { lv_name: "a", lv_size: "400", data_percent: "10.00", pool_lv: "thin" },
      ),
    });
    const pool = lvm(script, { thinPool: "thin" });
    await pool.create("a", 400, {});
    expect(script.calls).toEqual([
      "lvm lvcreate --yes --wipesignatures n --name a --type thin --thinpool thin --virtualsize 400b vg0",
    ]);
    expect(await pool.space()).toEqual({ totalBytes: 1000, freeBytes: 750 });
    expect(await pool.allocatedBytes([{ name: "a", sizeBytes: 400 }])).toEqual(new Map([["a", 40]]));
  });

  it("tells a full group from another failure, and a volume that is gone from one that stays", async () => {
    const full = lvm(new Script({ "lvm lvcreate": 5, "lvm vgs": GROUP }));
    await expect(full.create("a", 200, {})).rejects.toMatchObject({ code: "DISK_FULL", retryable: true });
    await expect(full.create("a", 50, {})).rejects.toMatchObject({ code: "COMMAND_FAILED" });
    const stays = lvm(new Script({ "lvm lvremove": 5, "lvm lvs": volumes({ lv_name: "a", lv_size: "1" }) }));
    await expect(stays.remove("a")).rejects.toMatchObject({ code: "COMMAND_FAILED" });
    await stays.remove("b");
  });

  it.each([
    { report: [{ vg: [] }] },
    { report: [{ vg: [{ vg_size: "1 GiB", vg_free: "", vg_extent_size: "4", vg_tags: "" }] }] },
    "no JSON",
    [],
  ])("is not read from %j", async (answer) => {
    const pool = lvm(new Script({ "lvm lvs": volumes(), "lvm vgs": answer }));
    await expect(pool.read()).rejects.toMatchObject({
      code: expect.stringMatching(/^(STATE_CORRUPT|INVALID_ARGUMENT)$/) as string,
    });
  });

  it("refuses names that LVM keeps for itself or the kernel can't bear, before anything is done", async () => {
    const script = new Script();
    const disks = new LvmDiskBackend({ volumeGroup: "v".repeat(60), directory: "/tmp/none", commands: script });
    for (const name of ["cdata", "tmeta", "a".repeat(30)]) {
      const request = { instanceUuid: UUID, name, sizeBytes: MIB };
      await expect(disks.create(request)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "name" });
    }
    for (const volumeGroup of ["", "-x", "a/b", "a b"])
      expect(() => lvm(script, { volumeGroup })).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error,
      );
    expect(script.calls).toEqual([]);
  });
});

describe("a Ceph pool", () => {
  const options = { pool: "vms", namespace: "prod", user: "nova", configPath: "/etc/ceph/ceph.conf" };
  const access = "--conf /etc/ceph/ceph.conf --id nova";
  const rbd = (script: Script): RbdPool => new RbdPool(options, script);

  it("is read from the reports of its commands", async () => {
    const script = new Script({
      [`rbd ${access} ls`]: [
        { image: "a", size: 8 * MIB, format: 2 },
        { image: "a", snapshot: "s", size: 8 * MIB, format: 2 },
        { image: "hypervise+token+t", size: 0, format: 2 },
      ],
      [`rbd ${access} status`]: { watchers: [{ address: "10.0.0.1:0/1", client: 1, cookie: 1 }] },
      [`rbd ${access} du`]: {
        images: [{ name: "a", provisioned_size: 8 * MIB, used_size: MIB }],
        total_used_size: MIB,
      },
      [`ceph ${access} df`]: { pools: [{ name: "vms", stats: { stored: 10, max_avail: 90 } }] },
    });
    const pool = rbd(script);
    expect(await pool.read()).toEqual({ volumes: [{ name: "a", sizeBytes: 8 * MIB }], marks: ["token+t"] });
    expect(await pool.isInUse("a")).toBe(true);
    expect(await pool.allocatedBytes([{ name: "a", sizeBytes: 8 * MIB }])).toEqual(new Map([["a", MIB]]));
    expect(await pool.space()).toEqual({ totalBytes: 100, freeBytes: 90 });
    expect(script.calls).toEqual([
      `rbd ${access} ls --long --format json vms/prod`,
      `rbd ${access} status --format json vms/prod/a`,
      `rbd ${access} du --format json vms/prod/a`,
      `ceph ${access} df --format json`,
    ]);
  });

  it("takes each change in one command", async () => {
    const script = new Script();
    const pool = rbd(script);
    await pool.create("a", 8 * MIB, {});
    await pool.grow({ name: "a", sizeBytes: 8 * MIB }, 16 * MIB, {});
    await pool.rename("a", "b");
    await pool.remove("b");
    await pool.remark(undefined, "x");
    await pool.remark("x", "y");
    await pool.remark("y", undefined);
    expect(script.calls).toEqual([
      `rbd ${access} create --size 8388608B vms/prod/a`,
      `rbd ${access} resize --no-progress --size 16777216B vms/prod/a`,
      `rbd ${access} rename vms/prod/a vms/prod/b`,
      `rbd ${access} rm --no-progress vms/prod/b`,
      `rbd ${access} create --size 0B vms/prod/hypervise+x`,
      `rbd ${access} rename vms/prod/hypervise+x vms/prod/hypervise+y`,
      `rbd ${access} rm --no-progress vms/prod/hypervise+y`,
    ]);
  });

  it("says what is full by the exit status, and finds nothing wrong in what is gone", async () => {
    for (const status of [28, 122]) {
      const full = rbd(new Script({ [`rbd ${access} create`]: status }));
      await expect(full.create("a", 1, {})).rejects.toMatchObject({ code: "DISK_FULL" });
    }
    const gone = rbd(new Script({ [`rbd ${access} rm`]: 2 }));
    await gone.remove("a");
    await gone.remark("a", undefined);
    const refused = rbd(new Script({ [`rbd ${access} rm`]: 13 }));
    await expect(refused.remove("a")).rejects.toMatchObject({ code: "COMMAND_FAILED" });
  });

  it("is written by QEMU's own driver, from an image that is named with its format", async () => {
    const script = new Script({ "rbd ls": [], "ceph df": { pools: [] } });
    const disks = new RbdDiskBackend({ pool: "vms", directory: "/tmp/none", commands: script });
    const image = { id: "i", path: "/dev/zero", format: "raw", virtualSizeBytes: MIB } as const;
    // Nothing is there to be read: what matters is what is run.
    const creating = disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 2 * MIB, image });
    await expect(creating).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
    expect(script.calls).toEqual([
      "rbd ls --long --format json vms",
      `rbd create --size 2097152B vms/${UUID}_root+new`,
      `rbd rm --no-progress vms/${UUID}_root+new`,
    ]);
    expect(new RbdPool(options, script).imageOf("a")).toEqual({
      options: {
        driver: "raw",
        "file.driver": "rbd",
        "file.pool": "vms",
        "file.namespace": "prod",
        "file.image": "a",
        "file.user": "nova",
        "file.conf": "/etc/ceph/ceph.conf",
      },
    });
    expect(new RbdPool(options, script).sourceOf("a")).toEqual({
      type: "rbd",
      ...options,
      image: "a",
      format: "raw",
    });
  });
});
