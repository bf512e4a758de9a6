/** Work on the disks and the memory of guests on a real libvirtd, when the daemon, the driver's process or the guest ends in the middle. */
import { stat } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HyperviseError, isHyperviseError } from "../../../../src/core/index.js";
import { requirePackages, waitFor } from "../../../lab/index.js";
import { qemuProcess } from "../../contract/qemu-process.js";
import { expectOn, file, sourceOf, withGuest } from "./block-guest.js";
import type { Guest } from "./block-guest.js";
import { MIB, exists, hasPattern, qcow2, slowDisk, standing } from "./block-tools.js";
import { HypervisorLab, disk } from "./hypervisor-lab.js";

const T = { timeout: 180_000 };

let lab: HypervisorLab;
beforeAll(async () => {
  requirePackages("qemu-system-x86_64", "qemu-img");
  lab = await HypervisorLab.open();
}, 180_000);
afterAll(() => lab?.[Symbol.asyncDispose](), 120_000);

describe("when somebody dies in the middle of work on disks or memory", () => {
  it("a move goes on without the daemon, and ends when it is back", T, () =>
    withGuest(
      lab,
      async (guest, data, name) => {
        await using slow = await slowDisk(lab, name("slow"), "empty");
        const moving = guest.mirrorDisk("data", slow.source);
        await waitFor(async () => (await standing(lab, guest.uuid, "vdb")).job, { timeoutMs: 60_000, what: "a job" });
        await lab.daemon.kill("SIGKILL");
        await lab.daemon.start();
        await moving;
        expect(await sourceOf(guest)).toEqual(slow.source);
        expect(await standing(lab, guest.uuid, "vdb")).toMatchObject({
          job: false,
          live: name("slow"),
          configured: name("slow"),
        });
        expect(await hasPattern(slow.path, "raw", 1, 0)).toBe(true);
        await guest.mirrorDisk("data", file(await qcow2(lab, name("end"), 64)));
        expect(await exists(data)).toBe(true);
      },
      { sizeMiB: 64 },
    ),
  );

  it("a copy goes on without the daemon, and ends when it is back", T, () =>
    withGuest(lab, async (guest, _data, name) => {
      await using slow = await slowDisk(lab, name("slow"));
      await guest.attachDisk(disk("slow", "vdc", "/", { source: slow.source }));
      const copy = lab.directory.file(name("copy"));
      const killed = async (): Promise<void> => {
        await lab.daemon.kill("SIGKILL");
        await lab.daemon.start();
      };
      let fixed: Promise<void> | undefined;
      await guest.copyDisk("slow", copy, "raw", { onPointInTime: () => void (fixed = killed()) });
      await fixed;
      expect([await hasPattern(copy, "raw", 8, 0), await hasPattern(copy, "raw", 8, 63)]).toEqual([true, true]);
    }),
  );

  it("another process undoes what the first one was at", T, () =>
    withGuest(
      lab,
      async (guest, data, name) => {
        await using slow = await slowDisk(lab, name("slow"));
        const settled = async (): Promise<Guest> => {
          await lab.reopen();
          const again = await lab.hypervisor.find(guest.uuid);
          if (again === undefined) throw new Error("the guest is gone");
          await expectOn(lab, again, data);
          return again;
        };
        const moving = expect(guest.mirrorDisk("data", slow.source)).rejects.toBeInstanceOf(HyperviseError);
        await waitFor(async () => (await standing(lab, guest.uuid, "vdb")).job, { timeoutMs: 60_000, what: "a job" });
        const next = await settled();
        await moving;
        await next.attachDisk(disk("slow", "vdc", "/", { source: slow.source }));
        const path = lab.directory.file(name("copy"));
        const copying = expect(next.copyDisk("slow", path, "raw")).rejects.toBeInstanceOf(HyperviseError);
        await waitFor(async () => (await standing(lab, guest.uuid, "vdc")).job, { timeoutMs: 60_000, what: "a job" });
        await settled();
        await copying;
        expect(await exists(path)).toBe(false);
        expect((await standing(lab, guest.uuid, "vdc")).job).toBe(false);
      },
      { sizeMiB: 64 },
    ),
  );

  it("a guest's end ends the work, and it starts from where it was", T, () =>
    withGuest(
      lab,
      async (guest, data, name) => {
        await using slow = await slowDisk(lab, name("slow"));
        const moving = expect(guest.mirrorDisk("data", slow.source)).rejects.toMatchObject({ code: "INVALID_STATE" });
        await waitFor(async () => (await standing(lab, guest.uuid, "vdb")).job, { timeoutMs: 60_000, what: "a job" });
        await guest.kill();
        await moving;
        await guest.start();
        await expectOn(lab, guest, data);
      },
      { sizeMiB: 64 },
    ),
  );

  it("a dump is written on without the daemon; then the guest goes on, and no file is left", T, () =>
    withGuest(
      lab,
      async (guest, _data, name) => {
        const path = lab.directory.file(name("dump"));
        const qemu = await qemuProcess(guest.uuid);
        const dumping = expect(guest.dumpMemory(path, "elf")).rejects.toMatchObject({ code: "HYPERVISOR_UNAVAILABLE" });
        await waitFor(async () => ((await sizeOf(path)) ?? 0) > 0, { timeoutMs: 60_000, what: "a dump" });
        // However fast the host is, QEMU is not done when the daemon dies.
        process.kill(qemu, "SIGSTOP");
        await lab.daemon.kill("SIGKILL");
        process.kill(qemu, "SIGCONT");
        await using _kept = await keepStarted(lab);
        await dumping;
        await waitFor(async () => (await guest.info()).state === "running", {
          timeoutMs: 90_000,
          what: "the guest to go on",
        });
        await waitFor(async () => (await sizeOf(path)) === undefined, { timeoutMs: 90_000, what: "no file" });
        // The daemon's end may come a moment after the guest's going on.
        const dump = (): Promise<boolean> => guest.dumpMemory(path, "elf").then(() => true, unlessUnavailable);
        await waitFor(dump, { timeoutMs: 90_000, what: "another dump" });
        expect(await sizeOf(path)).toBeGreaterThan(1024 * MIB);
        expect((await guest.info()).state).toBe("running");
      },
      { memoryMiB: 1024 },
    ),
  );
});

function unlessUnavailable(error: unknown): false {
  if (!isHyperviseError(error, "HYPERVISOR_UNAVAILABLE")) throw error;
  return false;
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.size;
}

/** Starts the daemon, and again whenever it has died, as the host's service manager does: libvirt 9.0 dies at the end of a dump that was begun before it started. */
async function keepStarted({ daemon }: HypervisorLab): Promise<AsyncDisposable> {
  let over = false;
  const keep = async (): Promise<void> => {
    while (!over) {
      if (!(await daemon.isUp())) await daemon.start();
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  };
  const keeping = keep();
  return {
    async [Symbol.asyncDispose]() {
      over = true;
      await keeping;
    },
  };
}
