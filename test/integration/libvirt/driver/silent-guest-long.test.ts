/** Guests whose QEMU stands still, on a real libvirtd: what is asked of them ends in time, and holds up no call about another. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { isHyperviseError } from "../../../../src/core/index.js";
import { requirePackages, waitFor } from "../../../lab/index.js";
import { qemuProcess } from "../../contract/qemu-process.js";
import { file } from "./block-guest.js";
import type { Guest } from "./block-guest.js";
import { qcow2, qcow2Disk, standing } from "./block-tools.js";
import { HypervisorLab, disk, nic } from "./hypervisor-lab.js";
import { bootSector } from "../../../lab/index.js";

const T = { timeout: 180_000 };

let lab: HypervisorLab;
beforeAll(async () => {
  requirePackages("qemu-system-x86_64", "qemu-img");
  lab = await HypervisorLab.open({ timeouts: { callMs: 5_000, queryMs: 1_000, cancelMs: 5_000 } });
}, 180_000);
afterAll(() => lab?.[Symbol.asyncDispose](), 120_000);

let count = 0;
async function running(): Promise<Guest> {
  const boots = disk("root", "vda", bootSector(), { readOnly: true, bootIndex: 0 });
  const data = qcow2Disk("data", "vdb", await qcow2(lab, `s${++count}`));
  const guest = await lab.define({ disks: [boots, data] });
  await guest.start();
  return guest;
}

it("calls about other guests and the host are answered, however many are made about silent ones", T, async () => {
  const [one, two, other] = [await running(), await running(), await running()];
  const processes = [await qemuProcess(one.uuid), await qemuProcess(two.uuid)];
  for (const pid of processes) process.kill(pid, "SIGSTOP");
  try {
    const asked = [one, two].flatMap((guest) => [
      ...Array.from({ length: 4 }, () => guest.resizeDisk("data", 32 * 1_048_576)),
      ...Array.from({ length: 4 }, (_, number) => guest.attachNic(nic(`n${number}`, number))),
      guest.mirrorDisk("data", file("/nowhere")),
      guest.suspend!.save({ deadline: 2_000 }),
      guest.pause({ deadline: 2_000 }),
      guest.screenshot({ deadline: 2_000 }),
    ]);
    const ends = Promise.all(
      asked.map((call) =>
        call.then(
          () => undefined,
          (error: unknown) => error,
        ),
      ),
    );
    let over = false;
    void ends.then(() => (over = true));

    expect((await other.info()).state).toBe("running");
    await other.attachNic(nic("more", 9));
    await other.mirrorDisk("data", file(await qcow2(lab, "target")));
    await other.copyDisk("data", lab.directory.file("copy"), "qcow2");
    await other.dumpMemory(lab.directory.file("dump"), "elf");
    await other.suspend!.save();
    await other.suspend!.restore();
    expect((await other.statistics()).state).toBe("running");
    expect(await lab.hypervisor.hostFacts()).toBeDefined();
    for (const guest of [one, two]) expect((await guest.info()).state).toBe("running");
    expect(over).toBe(false);
    for (const error of await ends) expect(isHyperviseError(error), String(error)).toBe(true);

    // Whatever becomes of a guest, it can be ended.
    await one.kill();
    expect((await one.info()).state).toBe("shutdown");
  } finally {
    for (const pid of processes)
      try {
        process.kill(pid, "SIGCONT");
      } catch {
        // It has ended.
      }
  }
  await waitFor(async () => (await two.info()).state === "running", { timeoutMs: 90_000, what: "the guest, awake" });
  await waitFor(async () => !(await standing(lab, two.uuid, "vdb")).job, { timeoutMs: 90_000, what: "no job" });
  await waitFor(
    () =>
      two.attachNic(nic("late", 8)).then(
        () => true,
        () => false,
      ),
    { timeoutMs: 90_000, what: "a NIC" },
  );
  for (const guest of [two, other]) await guest.kill();
});
