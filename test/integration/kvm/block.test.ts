import { access, readdir, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { KvmHypervisor } from "../../../src/kvm/index.js";
import { requirePackages, run, waitFor } from "../../lab/index.js";
import { MIB, Tools, hasPattern, qcow2, qcow2Disk, same, smallDirectory } from "./block-lab.js";
import { KvmLab, disk, inGuest, waitReady } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

let lab: KvmLab;
beforeAll(async () => {
  requirePackages("qemu-system-x86_64", "qemu-img");
  lab = await KvmLab.open();
});
afterAll(() => lab?.[Symbol.asyncDispose]());

let count = 0;
const fresh = (what: string): string => `${what}-${++count}`;
const file = (path: string, format: "raw" | "qcow2" = "qcow2") => ({ type: "file", path, format }) as const;
const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** A guest that does nothing, with a qcow2 disk `data` beside its own. */
let guest: Guest;
let tools: Tools;
let data: string;
beforeEach(async () => {
  data = await qcow2(lab, fresh("data"));
  const base = await lab.definition();
  guest = await lab.define({ disks: [...base.disks, qcow2Disk("data", "vdb", data)] });
  await guest.start();
  tools = await Tools.open(lab, guest.uuid);
});
afterEach(async () => {
  await tools[Symbol.asyncDispose]();
  await guest.kill();
});

/** The file that an overlay is on. */
async function baseOf(path: string): Promise<string> {
  const info = JSON.parse(await run(["qemu-img", "info", "-U", "--output=json", path])) as Record<string, string>;
  return info["full-backing-filename"] ?? "";
}

const sourceOf = async (id = "data") => (await guest.definition()).disks.find((one) => one.id === id)?.source;
/** Its guest answers no request to let go, but a reset does. */
async function detach(): Promise<void> {
  let outcome: string | undefined;
  const going = guest.detachDisk("data", { timeoutMs: 30_000 }).then((how) => (outcome = how));
  // A reset that came before the request is no answer to it.
  await waitFor(async () => {
    if (outcome === undefined) await guest.reset();
    return outcome !== undefined;
  });
  expect(await going).toBe("detached");
}
async function restart(): Promise<void> {
  await tools[Symbol.asyncDispose]();
  await guest.kill();
  await guest.start();
  tools = await Tools.open(lab, guest.uuid);
}

/** Nothing of a job is left in QEMU, and the disk stands where it stood. */
async function expectUntouched(source = file(data)): Promise<void> {
  const { jobs, nodes, bitmaps } = await tools.inventory();
  expect(jobs).toEqual([]);
  expect(nodes.filter((name) => !/^disk\d-(format|storage)$/.test(name))).toEqual([]);
  expect(bitmaps).toEqual([]);
  expect(await sourceOf()).toEqual(source);
}

describe("a mirrored disk", () => {
  it("is moved again and again, stays moved over a restart, and can be resized and detached", async () => {
    await tools.write(1, 1, "0", "4M");
    const second = await qcow2(lab, fresh("second"));
    await guest.mirrorDisk("data", file(second));
    expect(await sourceOf()).toEqual(file(second));
    await expect(guest.mirrorDisk("data", file(second))).rejects.toMatchObject({ code: "CONFLICT", device: "data" });
    await tools.write(1, 2, "1M", "64k");
    const third = lab.directory.file(fresh("third"));
    await run(["truncate", "-s", "512M", third]);
    await guest.mirrorDisk("data", file(third, "raw"));
    await tools.write(1, 3, "2M", "64k");
    const { jobs, nodes } = await tools.inventory();
    expect(jobs).toEqual([]);
    expect(nodes.filter((name) => name.startsWith("disk1"))).toHaveLength(2);
    await guest.resizeDisk("data", 520 * MIB);
    await restart();
    for (const [pattern, offset] of [
      [1, "0"],
      [2, "1M"],
      [3, "2M"],
    ] as const)
      expect(await tools.has(1, pattern, offset, "64k")).toBe(true);
    expect(await sourceOf()).toEqual(file(third, "raw"));
    await guest.mirrorDisk("data", file(await qcow2(lab, fresh("fourth"), 520)));
    await detach();
    expect((await tools.inventory()).nodes.filter((name) => name.startsWith("disk1"))).toEqual([]);
  });

  it("takes what is written meanwhile along", async () => {
    const target = await qcow2(lab, fresh("target"));
    await tools.write(1, 1, "0", "128M");
    const slowed = tools.slow("mirror-disk1");
    const moving = guest.mirrorDisk("data", file(target));
    await slowed;
    await tools.write(1, 2, "7M", "1M");
    await tools.write(1, 3, "20M", "1M");
    await tools.speed("mirror-disk1", 0);
    await moving;
    expect(await tools.has(1, 1, "0", "7M")).toBe(true);
    expect(await tools.has(1, 2, "7M", "1M")).toBe(true);
    expect(await tools.has(1, 3, "20M", "1M")).toBe(true);
  });

  it.each(["raw", "qcow2"] as const)("grows to a larger %s target", async (format) => {
    await tools.write(1, 1, "511M", "1M");
    const target = lab.directory.file(fresh("large"));
    await run(["qemu-img", "create", "-q", "-f", format, target, "600M"]);
    await guest.mirrorDisk("data", file(target, format));
    await tools.write(1, 2, "599M", "1M");
    expect(await tools.has(1, 1, "511M", "1M")).toBe(true);
    expect(await tools.has(1, 2, "599M", "1M")).toBe(true);
  });

  it("stays where it is when the target is missing, too small, full, or the caller gives up", async () => {
    await tools.write(1, 1, "0", "128M");
    const missing = file(lab.directory.file("missing"));
    await expect(guest.mirrorDisk("data", missing)).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED" });
    const small = file(await qcow2(lab, fresh("small"), 32));
    await expect(guest.mirrorDisk("data", small)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "target" });
    await expect(guest.mirrorDisk("root", small)).rejects.toMatchObject({ code: "NOT_SUPPORTED", device: "root" });
    await expect(guest.mirrorDisk("absent", small)).rejects.toMatchObject({ code: "DISK_NOT_FOUND" });
    {
      await using full = await smallDirectory(lab, fresh("full"), 4);
      const path = `${full.path}/target`;
      await run(["qemu-img", "create", "-q", "-f", "qcow2", path, "512M"]);
      await expect(guest.mirrorDisk("data", file(path))).rejects.toMatchObject({ code: "DISK_FULL", device: "data" });
    }
    await expectUntouched();
    const target = file(await qcow2(lab, fresh("target"), 600));
    const abort = new AbortController();
    const slowed = tools.slow("mirror-disk1");
    const moving = guest.mirrorDisk("data", target, { signal: abort.signal });
    moving.catch(() => undefined);
    await slowed;
    await expect(guest.copyDisk("data", lab.directory.file("other"), "raw")).rejects.toMatchObject({ code: "BUSY" });
    abort.abort();
    await expect(moving).rejects.toMatchObject({ code: "ABORTED" });
    await expectUntouched();
    expect(await run(["qemu-img", "info", target.path])).toContain("virtual size: 600 MiB");
    expect(await tools.has(1, 1, "0", "128M")).toBe(true);
    await guest.mirrorDisk("data", target);
    expect(await tools.has(1, 1, "0", "128M")).toBe(true);
  });

  it("stays where it is when the driver is closed", async () => {
    await tools.write(1, 1, "0", "128M");
    const target = file(await qcow2(lab, fresh("target")));
    const slowed = tools.slow("mirror-disk1");
    const moving = guest.mirrorDisk("data", target);
    moving.catch(() => undefined);
    await slowed;
    await lab.reopen();
    await expect(moving).rejects.toMatchObject({ code: "CLOSED" });
    guest = (await lab.hypervisor.find(guest.uuid))!;
    await expectUntouched();
    await guest.mirrorDisk("data", target);
    expect(await tools.has(1, 1, "0", "128M")).toBe(true);
  });

  it("stays where it is when QEMU dies", async () => {
    await tools.write(1, 1, "0", "128M");
    const target = file(await qcow2(lab, fresh("target")));
    const slowed = tools.slow("mirror-disk1");
    const moving = guest.mirrorDisk("data", target);
    moving.catch(() => undefined);
    await slowed;
    process.kill((await lab.pid(guest.uuid)) as number, "SIGKILL");
    await expect(moving).rejects.toMatchObject({ code: "GUEST_CRASHED" });
    expect(await sourceOf()).toEqual(file(data));
    await restart();
    await expectUntouched();
    await guest.mirrorDisk("data", target);
  });
});

describe("a snapshot of a disk", () => {
  const overlayOf = async (path: string): Promise<string> =>
    qcow2(lab, fresh("overlay"), 512, { path, format: "qcow2" });

  it("keeps what was before; overlays are merged back, one by one or all, also after a restart", async () => {
    await tools.write(1, 1, "0", "4M");
    const first = await overlayOf(data);
    await guest.snapshotDisk("data", file(first));
    await tools.write(1, 2, "1M", "1M");
    const second = await overlayOf(first);
    await guest.snapshotDisk("data", file(second));
    await tools.write(1, 3, "2M", "1M");
    expect(await sourceOf()).toEqual(file(second));
    expect(await hasPattern(data, "qcow2", 1, "0", "4M")).toBe(true);
    await guest.commitDisk("data", file(first));
    expect(await sourceOf()).toEqual(file(first));
    await tools.write(1, 4, "3M", "1M");
    expect(await hasPattern(data, "qcow2", 1, "0", "4M")).toBe(true);
    await restart();
    for (const [pattern, offset] of [
      [1, "0"],
      [2, "1M"],
      [3, "2M"],
      [4, "3M"],
    ] as const)
      expect(await tools.has(1, pattern, offset, "1M")).toBe(true);
    // The base was opened by QEMU itself, under a name of its own.
    await guest.commitDisk("data", file(data));
    await tools.write(1, 5, "5M", "1M");
    expect(await sourceOf()).toEqual(file(data));
    await guest.mirrorDisk("data", file(await qcow2(lab, fresh("moved"))));
    for (const [pattern, offset] of [
      [1, "0"],
      [4, "3M"],
      [5, "5M"],
    ] as const)
      expect(await tools.has(1, pattern, offset, "1M")).toBe(true);
    const third = await overlayOf(
      (await sourceOf())?.type === "file" ? ((await sourceOf()) as { path: string }).path : "",
    );
    await guest.snapshotDisk("data", file(third));
    await detach();
    expect((await tools.inventory()).nodes.filter((name) => name.startsWith("disk1"))).toEqual([]);
  });

  it("takes in what is below it, on what is below that or on nothing, and has it also when QEMU is killed then", async () => {
    const rawNameOf = async (path: string): Promise<unknown> =>
      (JSON.parse(await run(["qemu-img", "info", "-U", "--output=json", path])) as Record<string, unknown>)[
        "backing-filename"
      ];
    await tools.write(1, 1, "0", "1M");
    const first = await overlayOf(basename(data));
    await guest.snapshotDisk("data", file(first));
    await tools.write(1, 2, "1M", "1M");
    const second = await overlayOf(basename(first));
    await guest.snapshotDisk("data", file(second));
    const before = lab.events.length;
    await expect(guest.pullDisk("data", file(await overlayOf(data)))).rejects.toMatchObject({ code: "CONFLICT" });
    await guest.pullDisk("data", file(data));
    const told = lab.events.slice(before).filter((event) => event.type === "lifecycle" && event.cause !== "self");
    expect(told).toEqual([]);
    expect([await sourceOf(), await rawNameOf(second)]).toEqual([file(second), basename(data)]);
    await restart();
    await guest.pause();
    await guest.pullDisk("data", undefined);
    expect((await guest.info()).state).toBe("paused");
    expect(await rawNameOf(second)).toBeUndefined();
    await guest.kill();
    for (const [pattern, offset] of [
      [1, "0"],
      [2, "1M"],
    ] as const)
      expect(await hasPattern(second, "qcow2", pattern, offset, "1M")).toBe(true);
  });

  it("is refused for a file that is no overlay of the disk, and a commit into what is not below", async () => {
    const stranger = await overlayOf(await qcow2(lab, fresh("stranger")));
    const alone = await qcow2(lab, fresh("alone"));
    const refused = { code: "DEVICE_ATTACH_FAILED" };
    await expect(guest.snapshotDisk("data", file(stranger))).rejects.toMatchObject(refused);
    await expect(guest.snapshotDisk("data", file(alone))).rejects.toMatchObject(refused);
    const raw = file(alone, "raw");
    await expect(guest.snapshotDisk("data", raw)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(guest.commitDisk("data", file(alone))).rejects.toMatchObject({ code: "CONFLICT" });
    await expectUntouched();
  });

  it("stays when the caller of a commit gives up", async () => {
    const overlay = await overlayOf(data);
    await guest.snapshotDisk("data", file(overlay));
    await tools.write(1, 1, "0", "128M");
    const abort = new AbortController();
    const slowed = tools.slow("commit-disk1");
    const merging = guest.commitDisk("data", file(data), { signal: abort.signal });
    merging.catch(() => undefined);
    await slowed;
    abort.abort();
    await expect(merging).rejects.toMatchObject({ code: "ABORTED" });
    expect(await sourceOf()).toEqual(file(overlay));
    expect(await tools.has(1, 1, "0", "128M")).toBe(true);
    await guest.commitDisk("data", file(data));
    expect(await tools.has(1, 1, "0", "128M")).toBe(true);
  });
});

describe("a copy of a disk", () => {
  it.each(["raw", "qcow2"] as const)("is flat, of one point in time, and %s", async (format) => {
    await tools.write(1, 1, "0", "128M");
    await guest.snapshotDisk("data", file(await qcow2(lab, fresh("overlay"), 512, { path: data, format: "qcow2" })));
    await tools.write(1, 2, "1M", "1M");
    const path = lab.directory.file(fresh("copy"));
    let fixed = false;
    const slowed = tools.slow("copy-disk1");
    const copying = guest.copyDisk("data", path, format, { onPointInTime: () => (fixed = true) });
    await slowed;
    await waitFor(() => fixed);
    await tools.write(1, 9, "0", "8M");
    await tools.speed("copy-disk1", 0);
    await copying;
    expect(await hasPattern(path, format, 1, "0", "1M")).toBe(true);
    expect(await hasPattern(path, format, 2, "1M", "1M")).toBe(true);
    expect(await hasPattern(path, format, 1, "2M", "6M")).toBe(true);
    const info = JSON.parse(await run(["qemu-img", "info", "--output=json", "-f", format, path])) as Record<
      string,
      number
    >;
    expect(info).not.toHaveProperty("backing-filename");
    expect(info["virtual-size"]).toBe(512 * MIB);
    // QEMU fills the rest of a raw file with zeros.
    if (format === "qcow2") expect(info["actual-size"]).toBeLessThan(140 * MIB);
  });

  it("leaves nothing when there is no space, the caller gives up, or something is there", async () => {
    await tools.write(1, 1, "0", "128M");
    {
      await using full = await smallDirectory(lab, fresh("full"), 4);
      for (const format of ["raw", "qcow2"] as const)
        await expect(guest.copyDisk("data", `${full.path}/copy`, format)).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(await readdir(full.path)).toEqual([]);
      await run(["truncate", "-s", "0", `${full.path}/fill`]);
      await run(["dd", "if=/dev/zero", `of=${full.path}/fill`, "bs=1M"]).catch(() => undefined);
      await expect(guest.copyDisk("data", `${full.path}/copy`, "qcow2")).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(await readdir(full.path)).toEqual(["fill"]);
    }
    const path = lab.directory.file(fresh("copy"));
    await writeFile(path, "mine");
    await expect(guest.copyDisk("data", path, "raw")).rejects.toMatchObject({ code: "CONFLICT" });
    expect(await exists(path)).toBe(true);
    const abort = new AbortController();
    const other = lab.directory.file(fresh("copy"));
    const slowed = tools.slow("copy-disk1");
    const copying = guest.copyDisk("data", other, "raw", { signal: abort.signal });
    copying.catch(() => undefined);
    await slowed;
    abort.abort();
    await expect(copying).rejects.toMatchObject({ code: "ABORTED" });
    expect(await exists(other)).toBe(false);
    await expectUntouched();
    const slowedAgain = tools.slow("copy-disk1");
    const tooLate = guest.copyDisk("data", other, "raw", { deadline: 500 });
    tooLate.catch(() => undefined);
    await slowedAgain;
    await expect(tooLate).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect(await exists(other)).toBe(false);
  });
});

describe("a backup", () => {
  let other: string;
  beforeEach(async () => {
    other = await qcow2(lab, fresh("other"));
    await guest.attachDisk(qcow2Disk("other", "vdc", other));
  });
  const backup = (what: string) =>
    ["data", "other"].map((diskId) => ({
      diskId,
      path: lab.directory.file(fresh(`${what}-${diskId}`)),
      format: "qcow2" as const,
    }));
  /** The increment on what it was made after reads as the disk did. */
  const onto = (increment: string, base: string) =>
    run(["qemu-img", "rebase", "-u", "-f", "qcow2", "-b", base, "-F", "qcow2", increment]);

  it("holds all disks at one point in time, and later only what has changed, over restarts and mirrors", async () => {
    await tools.write(1, 1, "0", "4M");
    await tools.write(2, 1, "8M", "4M");
    const full = backup("full");
    const progress: number[] = [];
    await guest.backup(
      { disks: full, checkpoint: "monday" },
      { onCopyProgress: ({ doneBytes }) => progress.push(doneBytes) },
    );
    await tools.io(1, "flush");
    expect(await same(full[0]!.path, "qcow2", data, "qcow2")).toBe(true);
    await tools.write(1, 2, "1M", "1M");
    await restart();
    await lab.reopen();
    guest = (await lab.hypervisor.find(guest.uuid))!;
    expect(await guest.checkpoints()).toMatchObject([{ name: "monday", diskIds: ["data", "other"] }]);
    await tools.write(2, 3, "9M", "1M");
    await guest.mirrorDisk("data", file(await qcow2(lab, fresh("moved"))));
    await tools.write(1, 4, "30M", "1M");
    await guest.snapshotDisk(
      "data",
      file(
        await qcow2(lab, fresh("overlay"), 512, {
          path: ((await sourceOf()) as { path: string }).path,
          format: "qcow2",
        }),
      ),
    );
    await tools.write(1, 5, "31M", "1M");
    await restart();

    const tuesday = backup("tuesday");
    await guest.backup({ disks: tuesday, since: "monday", checkpoint: "tuesday" });
    const source = (await sourceOf()) as { path: string };
    for (const index of [1, 2]) await tools.io(index, "flush");
    for (const [index, now] of [source.path, other].entries()) {
      const path = tuesday[index]!.path;
      const { "actual-size": size } = JSON.parse(await run(["qemu-img", "info", "--output=json", path])) as Record<
        string,
        number
      >;
      expect(size).toBeLessThan(5 * MIB);
      await onto(path, full[index]!.path);
      expect(await same(path, "qcow2", now, "qcow2")).toBe(true);
    }
    await guest.commitDisk("data", file(await baseOf(source.path)));
    await tools.write(1, 6, "40M", "1M");
    const wednesday = backup("wednesday").slice(0, 1);
    await guest.backup({ disks: wednesday, since: "tuesday" });
    await onto(wednesday[0]!.path, tuesday[0]!.path);
    await tools.io(1, "flush");
    expect(await same(wednesday[0]!.path, "qcow2", ((await sourceOf()) as { path: string }).path, "qcow2")).toBe(true);

    expect((await guest.checkpoints()).map(({ name }) => name)).toEqual(["monday", "tuesday"]);
    await guest.deleteCheckpoint("monday");
    await guest.deleteCheckpoint("monday");
    await expect(guest.backup({ disks: backup("x"), since: "monday" })).rejects.toMatchObject({
      code: "CHECKPOINT_NOT_FOUND",
    });
    await guest.kill();
    await guest.deleteCheckpoint("tuesday");
    await restart();
    expect((await tools.inventory()).bitmaps).toEqual([]);
  });

  it("needs no checkpoint that QEMU could not write down before it died", async () => {
    await guest.backup({ disks: backup("full"), checkpoint: "one" });
    process.kill((await lab.pid(guest.uuid)) as number, "SIGKILL");
    await guest.waitUntilStopped({ deadline: 30_000 });
    expect(await guest.checkpoints()).toHaveLength(1);
    await restart();
    expect(await guest.checkpoints()).toEqual([]);
    await expect(guest.backup({ disks: backup("x"), since: "one" })).rejects.toMatchObject({
      code: "CHECKPOINT_NOT_FOUND",
    });
    await guest.backup({ disks: backup("full"), checkpoint: "one" });
  });

  it("that fails or is given up leaves no file and no checkpoint", async () => {
    await tools.write(1, 1, "0", "128M");
    const raw = { diskId: "root", path: lab.directory.file(fresh("root")), format: "qcow2" } as const;
    await expect(guest.backup({ disks: [raw], checkpoint: "one" })).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    await guest.backup({ disks: [raw] });
    await expect(guest.backup({ disks: [{ ...raw, format: "raw" }], since: "one" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(guest.backup({ disks: [] })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const disks = backup("gone");
    await expect(guest.backup({ disks: [disks[0]!, disks[0]!] })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    {
      await using full = await smallDirectory(lab, fresh("full"), 4);
      const tight = [disks[1]!, { ...disks[0]!, path: `${full.path}/data` }];
      await expect(guest.backup({ disks: tight, checkpoint: "one" })).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(await readdir(full.path)).toEqual([]);
    }
    const abort = new AbortController();
    const slowed = tools.slow("backup-disk1");
    const going = guest.backup({ disks, checkpoint: "one" }, { signal: abort.signal });
    going.catch(() => undefined);
    await slowed;
    abort.abort();
    await expect(going).rejects.toMatchObject({ code: "ABORTED" });
    for (const { path } of disks) expect(await exists(path)).toBe(false);
    expect(await guest.checkpoints()).toEqual([]);
    await expectUntouched();
  });
});

describe("a drive", () => {
  it.each([
    ["cdrom", "sata"],
    ["cdrom", "scsi"],
    ["floppy", "fdc"],
  ] as const)("for %s on %s gets other media and none, also when it is off", async (deviceType, bus) => {
    const media = [await lab.image(fresh("one"), 1), await lab.image(fresh("two"), 1)] as const;
    const [one, two] = [file(media[0], "raw"), file(media[1], "raw")];
    const cd = await lab.define({
      disks: [...(await lab.definition()).disks, disk("cd", "sda", "", { bus, deviceType, source: one })],
    });
    const medium = async () => (await cd.definition()).disks[1]?.source;
    await cd.start();
    {
      await using monitor = await Tools.open(lab, cd.uuid);
      await cd.changeMedium("cd", two);
      expect(await monitor.top(1)).toMatch(/^disk1-1-format$/);
      expect(await medium()).toEqual(two);
      await cd.limitDisk("cd", { readBytesPerSecond: 1_000_000 });
      await cd.changeMedium("cd", undefined);
      await cd.changeMedium("cd", undefined);
      expect(await monitor.top(1)).toBeUndefined();
      expect((await monitor.inventory()).nodes.filter((name) => name.startsWith("disk1"))).toEqual([]);
      const missing = file(lab.directory.file("missing"), "raw");
      await expect(cd.changeMedium("cd", missing)).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED" });
      await expect(cd.changeMedium("root", one)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      expect(await medium()).toBeUndefined();
    }
    await cd.kill();
    await cd.start();
    {
      await using monitor = await Tools.open(lab, cd.uuid);
      expect(await monitor.top(1)).toBeUndefined();
      await cd.changeMedium("cd", one);
      expect(await monitor.top(1)).toBeDefined();
      expect(await throttleOf(monitor, 1)).toMatchObject({ bps_rd: 1_000_000 });
    }
    await cd.kill();
    await cd.changeMedium("cd", two);
    await lab.reopen();
    const found = (await lab.hypervisor.find(cd.uuid))!;
    expect((await found.definition()).disks[1]?.source).toEqual(two);
    await found.start();
    await found.kill();
    guest = (await lab.hypervisor.find(guest.uuid))!;
  });
});

async function throttleOf(monitor: Tools, index: number): Promise<Record<string, unknown>> {
  const drives = await monitor.qmp.execute("query-block");
  const found = drives.find(({ qdev }) => qdev?.split("/").includes(`disk${index}`));
  return (found?.inserted ?? {}) as Record<string, unknown>;
}

describe("limits of a disk", () => {
  it("hold at once, over a restart, a mirror, a hot plug, and are taken off", async () => {
    const limits = {
      totalBytesPerSecond: 10_000_000,
      writeOperationsPerSecond: 500,
      burst: { totalBytesPerSecond: 20_000_000 },
      burstSeconds: 5,
    };
    await guest.limitDisk("data", limits);
    const set = { bps: 10_000_000, iops_wr: 500, bps_max: 20_000_000, bps_max_length: 5 };
    expect(await throttleOf(tools, 1)).toMatchObject(set);
    await guest.mirrorDisk("data", file(await qcow2(lab, fresh("target"))));
    expect(await throttleOf(tools, 1)).toMatchObject(set);
    await restart();
    expect(await throttleOf(tools, 1)).toMatchObject(set);
    expect((await guest.definition()).disks[1]?.tuning?.limits).toEqual(limits);
    await guest.attachDisk(
      qcow2Disk("more", "vdc", await qcow2(lab, fresh("more")), { tuning: { limits: { readBytesPerSecond: 1_000 } } }),
    );
    expect(await throttleOf(tools, 2)).toMatchObject({ bps_rd: 1_000 });
    await guest.limitDisk("data", {});
    expect(await throttleOf(tools, 1)).toMatchObject({ bps: 0, iops_wr: 0 });
    await expect(guest.limitDisk("data", { totalBytesPerSecond: 1, readBytesPerSecond: 1 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(guest.limitDisk("absent", {})).rejects.toMatchObject({ code: "DISK_NOT_FOUND" });
    await guest.kill();
    await guest.limitDisk("data", limits);
    await restart();
    expect(await throttleOf(tools, 1)).toMatchObject(set);
  });
});

describe("a dump of the memory", () => {
  it.each(["elf", "kdump-zlib"] as const)(
    "as %s is written while the guest stands, and the guest goes on",
    async (format) => {
      const path = lab.directory.file(fresh("core"));
      await guest.dumpMemory(path, format);
      const magic = await run(["head", "-c", "4", path]);
      expect(magic).toBe(format === "elf" ? "\u007fELF" : "make");
      expect(await guest.info()).toMatchObject({ state: "running" });
      expect(lab.lifecycle(guest.uuid)).not.toContain("paused external");
      await expect(guest.dumpMemory(path, format)).rejects.toMatchObject({ code: "CONFLICT" });
      expect(await exists(path)).toBe(true);
    },
  );

  it("leaves nothing when there is no space, the format is not to be had, or the caller gives up", async () => {
    {
      await using full = await smallDirectory(lab, fresh("full"), 1);
      await expect(guest.dumpMemory(`${full.path}/core`, "elf")).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(await readdir(full.path)).toEqual([]);
    }
    const path = lab.directory.file(fresh("core"));
    await expect(guest.dumpMemory(path, "kdump-lzo")).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    const large = await lab.define({ memoryMiB: 384 });
    await large.start();
    await using monitor = await Tools.open(lab, large.uuid);
    const abort = new AbortController();
    const began = monitor.qmp.waitFor("STOP").then(() => abort.abort());
    await expect(large.dumpMemory(path, "elf", { signal: abort.signal })).rejects.toMatchObject({ code: "ABORTED" });
    await began;
    expect(await exists(path)).toBe(false);
    await waitFor(async () => (await large.info()).state === "running");
    expect(lab.lifecycle(large.uuid)).not.toContain("paused external");
    await large.kill();
  });
});

describe("a Linux guest", () => {
  it("reads what it wrote while its disk was moved", async () => {
    const target = lab.directory.file(fresh("target"));
    await run(["truncate", "-s", "64M", target]);
    const linux = await lab.linux({ disks: [qcow2Disk("data", "vda", await qcow2(lab, fresh("linux"), 64))] });
    await linux.start();
    await waitReady(linux);
    const writing = inGuest(
      linux,
      "dd if=/dev/urandom of=/dev/vda bs=64k count=512 oflag=direct 2>/dev/null; sync; md5sum /dev/vda | cut -c1-32",
    );
    await linux.mirrorDisk("data", file(target, "raw"), { deadline: 90_000 });
    const sum = await writing;
    expect(sum).toMatch(/^[0-9a-f]{32}$/);
    await linux.kill();
    expect((await run(["md5sum", target])).slice(0, 32)).toBe(sum);
  });
});
