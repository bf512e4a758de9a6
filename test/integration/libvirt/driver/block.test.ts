/** Work on the disks and the memory of guests on a real libvirtd: what comes out of it, and what is left when it fails or is aborted. */
import { readFile, rm, stat, truncate } from "node:fs/promises";
import { basename } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Secret } from "../../../../src/core/index.js";
import type { DiskSource } from "../../../../src/storage/index.js";
import { requirePackages, run, waitFor } from "../../../lab/index.js";
import { qemuProcess } from "../../contract/qemu-process.js";
import { expectOn, file, withGuest } from "./block-guest.js";
import { MIB, exists, fullFileSystem, hasPattern, qcow2, slowDisk, standing, write } from "./block-tools.js";
import { HypervisorLab, disk } from "./hypervisor-lab.js";

const T = { timeout: 180_000 };

let lab: HypervisorLab;
let full: Awaited<ReturnType<typeof fullFileSystem>>;
beforeAll(async () => {
  requirePackages("qemu-system-x86_64", "qemu-img");
  full = await fullFileSystem();
  lab = await HypervisorLab.open();
}, 180_000);
afterAll(async () => {
  await lab?.[Symbol.asyncDispose]();
  await full?.[Symbol.asyncDispose]();
}, 120_000);

describe("moving a disk", () => {
  it("goes over to the copy, with what the guest writes meanwhile and later", T, () =>
    withGuest(lab, async (guest, data, name) => {
      const target = await qcow2(lab, name("target"));
      await write(lab, guest.uuid, "data", 2, 1);
      await guest.mirrorDisk("data", file(target));
      await expectOn(lab, guest, target);
      await write(lab, guest.uuid, "data", 3, 2);
      for (const [pattern, at] of [
        [1, 0],
        [2, 1],
        [3, 2],
      ] as const)
        expect(await hasPattern(target, "qcow2", pattern, at)).toBe(true);
      expect(await hasPattern(data, "qcow2", 3, 2)).toBe(false);
      await expect(guest.mirrorDisk("data", file(target))).rejects.toMatchObject({ code: "CONFLICT" });
      await guest.kill();
      await guest.start();
      await expectOn(lab, guest, target);
    }),
  );

  it("shows the guest all of a larger file, and refuses what is smaller", T, () =>
    withGuest(lab, async (guest, data, name) => {
      const domain = await (await lab.client()).lookupDomainByUuid(guest.uuid);
      const large = await lab.image(name("large"), 24);
      const [small, larger] = [await qcow2(lab, name("small"), 8), await qcow2(lab, name("larger"), 48)];
      await expect(guest.mirrorDisk("data", file(small))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      await expectOn(lab, guest, data);
      await guest.mirrorDisk("data", file(large, "raw"));
      await expectOn(lab, guest, large);
      expect((await domain.getBlockInfo("vdb")).capacity).toBe(BigInt(24 * MIB));
      await truncate(large, 40 * MIB);
      await guest.resizeDisk("data", 40 * MIB);
      expect((await domain.getBlockInfo("vdb")).capacity).toBe(BigInt(40 * MIB));
      expect(await hasPattern(large, "raw", 1, 0)).toBe(true);
      await guest.mirrorDisk("data", file(larger));
      await expectOn(lab, guest, larger);
      expect((await domain.getBlockInfo("vdb")).capacity).toBe(BigInt(48 * MIB));
      await write(lab, guest.uuid, "data", 4, 44);
      expect([await hasPattern(larger, "qcow2", 1, 0), await hasPattern(larger, "qcow2", 4, 44)]).toEqual([true, true]);
      await guest.kill();
      expect(JSON.parse(await run(["qemu-img", "check", "--output=json", larger]))).toMatchObject({
        "check-errors": 0,
      });
      await guest.start();
    }),
  );

  it("goes over to an encrypted file, whose key libvirt has from then on, and back", T, () =>
    withGuest(lab, async (guest, _data, name) => {
      const client = await lab.client();
      const target = lab.directory.file(name("luks"));
      const secret = ["--object", "secret,id=key,data=open-sesame"];
      await run([
        "qemu-img",
        "create",
        "-q",
        "-f",
        "luks",
        ...secret,
        "-o",
        "key-secret=key,iter-time=10",
        target,
        "16M",
      ]);
      const encrypted: DiskSource = { ...file(target, "raw"), encryption: { format: "luks", secretId: "disk-key" } };
      await expect(guest.mirrorDisk("data", encrypted)).rejects.toMatchObject({ code: "SECRET_NOT_FOUND" });
      expect(await client.listAllSecrets()).toEqual([]);
      await lab.secrets.put("disk-key", Secret.of("open-sesame"));
      await guest.mirrorDisk("data", encrypted);
      await expectOn(lab, guest, target);
      expect(await client.listAllSecrets()).toHaveLength(1);
      await truncate(target, (await stat(target)).size + 8 * MIB);
      await guest.resizeDisk("data", (await stat(target)).size);
      const domain = await client.lookupDomainByUuid(guest.uuid);
      expect((await domain.getBlockInfo("vdb")).capacity).toBe(BigInt(24 * MIB));
      await guest.kill();
      await guest.start();
      const back = await lab.image(name("back"), 24);
      await guest.mirrorDisk("data", file(back, "raw"));
      expect(await client.listAllSecrets()).toEqual([]);
      expect(await hasPattern(back, "raw", 1, 0)).toBe(true);
    }),
  );

  it("leaves the guest where it is when it is aborted, when its time is over, and when the storage is full", T, () =>
    withGuest(
      lab,
      async (guest, data, name) => {
        await using slow = await slowDisk(lab, name("slow"));
        const controller = new AbortController();
        const moving = guest.mirrorDisk("data", slow.source, { signal: controller.signal });
        await waitFor(async () => (await standing(lab, guest.uuid, "vdb")).job, { timeoutMs: 60_000, what: "a job" });
        await expect(guest.copyDisk("data", lab.directory.file(name("no")), "raw")).rejects.toMatchObject({
          code: "BUSY",
        });
        controller.abort();
        await expect(moving).rejects.toMatchObject({ code: "ABORTED", device: "data" });
        await expectOn(lab, guest, data);
        await expect(guest.mirrorDisk("data", slow.source, { deadline: 1_000 })).rejects.toMatchObject({
          code: "DEADLINE_EXCEEDED",
        });
        await expectOn(lab, guest, data);
        await run(["truncate", "-s", "72M", full.file("target")]);
        await expect(guest.mirrorDisk("data", file(full.file("target"), "raw"))).rejects.toMatchObject({
          code: "DISK_FULL",
        });
        await expectOn(lab, guest, data);
        // It has its own size again.
        expect((await stat(full.file("target"))).size).toBe(72 * MIB);
        await rm(full.file("target"));
      },
      { sizeMiB: 64 },
    ),
  );
});

describe("overlays", () => {
  it("take what the guest writes, and are merged into what they are on", T, () =>
    withGuest(lab, async (guest, data, name) => {
      const overlay = await qcow2(lab, name("overlay"), 16, { path: data, format: "qcow2" });
      const second = await qcow2(lab, name("second"), 16, { path: overlay, format: "qcow2" });
      const stranger = await qcow2(lab, name("stranger"), 16, { path: second, format: "qcow2" });
      await expect(guest.snapshotDisk("data", file(stranger))).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED" });
      await guest.snapshotDisk("data", file(overlay));
      await expectOn(lab, guest, overlay);
      await write(lab, guest.uuid, "data", 5, 5);
      await guest.snapshotDisk("data", file(second));
      await write(lab, guest.uuid, "data", 6, 6);
      expect(await hasPattern(data, "qcow2", 5, 5)).toBe(false);
      await expect(guest.commitDisk("data", file(stranger))).rejects.toMatchObject({ code: "CONFLICT" });
      await guest.kill();
      await guest.start();
      await expectOn(lab, guest, second);
      await guest.commitDisk("data", file(data));
      await expectOn(lab, guest, data);
      for (const [pattern, at] of [
        [1, 0],
        [5, 5],
        [6, 6],
      ] as const)
        expect(await hasPattern(data, "qcow2", pattern, at)).toBe(true);
      const domain = await (await lab.client()).lookupDomainByUuid(guest.uuid);
      expect(await domain.listAllSnapshots()).toEqual([]);
    }),
  );
});

describe("taking what is below into an overlay", () => {
  const backingOf = async (path: string): Promise<unknown> =>
    (JSON.parse(await run(["qemu-img", "info", "-U", "--output=json", path])) as Record<string, unknown>)[
      "backing-filename"
    ];

  it("leaves it on what is below that, by a name as it had, or on nothing", T, () =>
    withGuest(lab, async (guest, data, name) => {
      const [first, second] = [name("first"), name("second")];
      const one = await qcow2(lab, first, 16, { path: basename(data), format: "qcow2" });
      const two = await qcow2(lab, second, 16, { path: first, format: "qcow2" });
      await guest.snapshotDisk("data", file(one));
      await write(lab, guest.uuid, "data", 5, 5);
      await guest.snapshotDisk("data", file(two));
      await write(lab, guest.uuid, "data", 6, 6);
      await expect(guest.pullDisk("data", file(two))).rejects.toMatchObject({ code: "CONFLICT" });
      await guest.pullDisk("data", file(data));
      await expectOn(lab, guest, two);
      expect(await backingOf(two)).toBe(basename(data));
      await rm(one);
      await guest.kill();
      await guest.start();
      await guest.pause();
      await guest.pullDisk("data", undefined);
      expect((await guest.info()).state).toBe("paused");
      await expectOn(lab, guest, two);
      expect(await backingOf(two)).toBeUndefined();
      await guest.kill();
      for (const [pattern, at] of [
        [1, 0],
        [5, 5],
        [6, 6],
      ] as const)
        expect(await hasPattern(two, "qcow2", pattern, at)).toBe(true);
    }),
  );

  it("leaves it on what it was on when that is aborted, and when the storage is full", T, () =>
    withGuest(lab, async (guest, data, name) => {
      const over = full.file(name("over"));
      await run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", data, "-F", "qcow2", over]);
      await guest.snapshotDisk("data", file(over));
      const controller = new AbortController();
      const pid = await qemuProcess(guest.uuid);
      process.kill(pid, "SIGSTOP");
      const pulling = expect(guest.pullDisk("data", undefined, { signal: controller.signal })).rejects.toMatchObject({
        code: "ABORTED",
      });
      await new Promise((resolve) => setTimeout(resolve, 300));
      controller.abort();
      process.kill(pid, "SIGCONT");
      await pulling;
      await expect(guest.pullDisk("data", undefined)).rejects.toMatchObject({ code: "DISK_FULL" });
      await expectOn(lab, guest, over);
      expect(await backingOf(over)).toBe(data);
      await guest.kill();
      await rm(over);
    }),
  );
});

describe("merging an overlay", () => {
  it("leaves the guest on it when that is aborted, and when the storage is full", T, () =>
    withGuest(lab, async (guest, data, name) => {
      const overlay = await qcow2(lab, name("overlay"), 16, { path: data, format: "qcow2" });
      await guest.snapshotDisk("data", file(overlay));
      await write(lab, guest.uuid, "data", 5, 5);
      const controller = new AbortController();
      const pid = await qemuProcess(guest.uuid);
      // However fast the host is, it has not been merged when it is aborted.
      process.kill(pid, "SIGSTOP");
      const merging = expect(guest.commitDisk("data", file(data), { signal: controller.signal })).rejects.toMatchObject(
        { code: "ABORTED" },
      );
      await new Promise((resolve) => setTimeout(resolve, 300));
      controller.abort();
      process.kill(pid, "SIGCONT");
      await merging;
      await expectOn(lab, guest, overlay);
      await guest.commitDisk("data", file(data));
      expect(await hasPattern(data, "qcow2", 5, 5)).toBe(true);

      const base = full.file("base");
      await run(["truncate", "-s", "16M", base]);
      await guest.attachDisk(disk("full", "vdc", base));
      const over = await qcow2(lab, name("over"), 16, { path: base, format: "raw" });
      await guest.snapshotDisk("full", file(over));
      for (let at = 0; at < 8; at++) await write(lab, guest.uuid, "full", 7, at);
      await expect(guest.commitDisk("full", file(base, "raw"))).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(await standing(lab, guest.uuid, "vdc")).toEqual({ live: over, configured: over, job: false });
      expect(await hasPattern(over, "qcow2", 7, 7)).toBe(true);
      await guest.kill();
      await rm(base);
    }),
  );
});

describe("copies and backups", () => {
  it("are flattened, and of one point in time", T, () =>
    withGuest(lab, async (guest, data, name) => {
      const overlay = await qcow2(lab, name("overlay"), 16, { path: data, format: "qcow2" });
      await guest.snapshotDisk("data", file(overlay));
      await write(lab, guest.uuid, "data", 2, 1);
      for (const format of ["raw", "qcow2"] as const) {
        const copy = lab.directory.file(name(`copy-${format}`));
        let fixed = 0;
        await guest.copyDisk("data", copy, format, { onPointInTime: () => (fixed += 1) });
        expect(fixed).toBe(1);
        const [info] = JSON.parse(await run(["qemu-img", "info", "--backing-chain", "--output=json", copy])) as Record<
          string,
          unknown
        >[];
        expect(info).toMatchObject({ format, "virtual-size": 16 * MIB });
        expect(info?.["backing-filename"]).toBeUndefined();
        expect([await hasPattern(copy, format, 1, 0), await hasPattern(copy, format, 2, 1)]).toEqual([true, true]);
        await expect(guest.copyDisk("data", copy, format)).rejects.toMatchObject({ code: "CONFLICT" });
        expect(await exists(copy)).toBe(true);
      }
      if ((await run(["qemu-img", "check", lab.directory.file(name("copy-qcow2"))])).length === 0)
        expect.fail("no answer");
    }),
  );

  it("hold what stood on the disk at their beginning, not what came later", T, () =>
    withGuest(lab, async (guest, _data, name) => {
      await using slow = await slowDisk(lab, name("slow"));
      await guest.attachDisk(disk("slow", "vdc", "/", { source: slow.source }));
      const copy = lab.directory.file(name("copy"));
      let late: Promise<void> = Promise.resolve();
      await guest.copyDisk("slow", copy, "qcow2", {
        onPointInTime: () => void (late = write(lab, guest.uuid, "slow", 9, 3)),
      });
      await late;
      expect(await hasPattern(copy, "qcow2", 8, 3)).toBe(true);
      expect(await hasPattern(slow.path, "raw", 9, 3)).toBe(true);
    }),
  );

  it("of what has changed follow each other, over restarts, moves and overlays", T, () =>
    withGuest(lab, async (guest, _data, name) => {
      const at = (what: string): string => lab.directory.file(name(what));
      const backup = (path: string, since?: string, checkpoint?: string): Promise<void> =>
        guest.backup({
          disks: [{ diskId: "data", path, format: "qcow2" }],
          ...(since === undefined ? {} : { since }),
          ...(checkpoint === undefined ? {} : { checkpoint }),
        });
      const names = async (): Promise<string[]> => (await guest.checkpoints()).map((one) => one.name);
      await backup(at("full"), undefined, "monday");
      await write(lab, guest.uuid, "data", 2, 1);
      await backup(at("tuesday"), "monday", "tuesday");
      expect([await hasPattern(at("tuesday"), "qcow2", 2, 1), await hasPattern(at("tuesday"), "qcow2", 0, 0)]).toEqual([
        true,
        true,
      ]);
      const [info] = JSON.parse(
        await run(["qemu-img", "info", "--backing-chain", "--output=json", at("tuesday")]),
      ) as Record<string, unknown>[];
      expect(info?.["backing-filename"]).toBeUndefined();
      await expect(backup(at("x"), "never")).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
      await expect(backup(at("x"), undefined, "tuesday")).rejects.toMatchObject({ code: "CONFLICT" });
      await expect(
        guest.backup({ disks: [{ diskId: "root", path: at("x"), format: "qcow2" }], checkpoint: "raw" }),
      ).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
      const target = await qcow2(lab, name("target"));
      await guest.mirrorDisk("data", file(target));
      await write(lab, guest.uuid, "data", 3, 2);
      const overlay = await qcow2(lab, name("overlay"), 16, { path: target, format: "qcow2" });
      await guest.snapshotDisk("data", file(overlay));
      await write(lab, guest.uuid, "data", 4, 3);
      await guest.deleteCheckpoint("monday");
      await backup(at("wednesday"), "tuesday");
      for (const [pattern, offset] of [
        [3, 2],
        [4, 3],
        [0, 1],
      ] as const)
        expect(await hasPattern(at("wednesday"), "qcow2", pattern, offset)).toBe(true);
      await guest.commitDisk("data", file(target));
      await guest.kill();
      for (const name of ["tuesday", "tuesday"]) await guest.deleteCheckpoint(name);
      await guest.start();
      await backup(at("again"), undefined, "tuesday");
      expect(await names()).toEqual(["tuesday"]);
      const domain = await (await lab.client()).lookupDomainByUuid(guest.uuid);
      expect(await domain.listAllCheckpoints()).toHaveLength(1);
      expect(await exists(at("x"))).toBe(false);
      await guest.mirrorDisk("data", file(await lab.image(name("raw"), 16), "raw"));
      expect(await names()).toEqual([]);
    }),
  );

  it("leave no file and no checkpoint when they are aborted, or the storage is full", T, () =>
    withGuest(lab, async (guest, data, name) => {
      await using slow = await slowDisk(lab, name("slow"));
      await guest.attachDisk(disk("slow", "vdc", "/", { source: slow.source }));
      const [one, two] = [lab.directory.file(name("one")), lab.directory.file(name("two"))];
      const controller = new AbortController();
      const disks = [
        { diskId: "data", path: one, format: "qcow2" },
        { diskId: "slow", path: two, format: "raw" },
      ] as const;
      const progress: number[] = [];
      const backing = guest.backup(
        { disks },
        {
          signal: controller.signal,
          onCopyProgress: ({ doneBytes, totalBytes }) => {
            progress.push(doneBytes / totalBytes);
            controller.abort();
          },
        },
      );
      await expect(backing).rejects.toMatchObject({ code: "ABORTED" });
      expect(progress.length).toBeGreaterThan(0);
      const request = {
        disks: [{ diskId: "data", path: full.file("copy"), format: "qcow2" }],
        checkpoint: "full",
      } as const;
      await expect(guest.backup(request)).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(await full.list()).toEqual([]);
      expect([await exists(one), await exists(two), await guest.checkpoints()]).toEqual([false, false, []]);
      const domain = await (await lab.client()).lookupDomainByUuid(guest.uuid);
      expect(await domain.listAllCheckpoints()).toEqual([]);
      expect(await exists(data)).toBe(true);
    }),
  );
});

describe("a dump of memory", () => {
  it("is of the format that was asked for, and the guest goes on", T, () =>
    withGuest(lab, async (guest, _data, name) => {
      const before = lab.events.length;
      const [elf, compressed] = [lab.directory.file(name("elf")), lab.directory.file(name("kdump"))];
      await guest.dumpMemory(elf, "elf");
      await guest.dumpMemory(compressed, "kdump-zlib");
      expect((await readFile(elf)).subarray(0, 4).toString("latin1")).toBe("\x7fELF");
      expect((await readFile(compressed)).subarray(0, 12).toString("latin1")).toBe("makedumpfile");
      await expect(guest.dumpMemory(elf, "elf")).rejects.toMatchObject({ code: "CONFLICT" });
      expect((await guest.info()).state).toBe("running");
      await guest.pause();
      await rm(elf);
      await guest.dumpMemory(elf, "elf");
      expect((await guest.info()).state).toBe("paused");
      await expect(guest.dumpMemory(full.file("dump"), "elf")).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(await full.list()).toEqual([]);
      const told = lab.events
        .slice(before)
        .flatMap((event) => (event.type === "lifecycle" ? [`${event.transition} ${event.cause}`] : []));
      expect(told).toEqual(["paused external"]);
    }),
  );

  it("leaves no file when it is aborted, and the guest runs", T, () =>
    withGuest(
      lab,
      async (guest, _data, name) => {
        const path = lab.directory.file(name("dump"));
        const controller = new AbortController();
        const pid = await qemuProcess(guest.uuid);
        const dumping = guest.dumpMemory(path, "elf", { signal: controller.signal });
        await Promise.race([
          dumping,
          waitFor(async () => (await stat(path).catch(() => undefined))?.size, { timeoutMs: 60_000, what: "a dump" }),
        ]);
        // However fast the host is, the dump is under way when it is aborted.
        process.kill(pid, "SIGSTOP");
        controller.abort();
        process.kill(pid, "SIGCONT");
        await expect(dumping).rejects.toMatchObject({ code: "ABORTED" });
        expect(await exists(path)).toBe(false);
        expect((await guest.info()).state).toBe("running");
      },
      { memoryMiB: 1024 },
    ),
  );
});
