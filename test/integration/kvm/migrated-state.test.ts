import { copyFile, readFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import type { GuestDefinition } from "../../../src/driver/index.js";
import type { KvmHypervisor } from "../../../src/kvm/index.js";
import { requirePackages, run, waitFor } from "../../lab/index.js";
import { Tools, hasPattern, qcow2, qcow2Disk } from "./block-lab.js";
import { KvmLab } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

beforeAll(() => requirePackages("qemu-system-x86_64", "qemu-img", "ovmf", "swtpm"));

const unix = { migration: { transport: "unix", copy: "running" } } as const;

/** Moves a guest, and leaves nothing of it on its source. */
async function move(
  guest: Guest,
  from: KvmLab,
  to: KvmLab,
  copyDisks: readonly string[] = [],
  there: (definition: GuestDefinition) => GuestDefinition = (same) => same,
): Promise<Guest> {
  to.note(guest.uuid);
  const request = { copyDisks, paused: false, guest: await guest.describeMigration() };
  const { token } = await to.hypervisor.prepareIncoming(there(await guest.definition()), request);
  const options = { downtimeMs: 500, allowPostcopy: false, autoConverge: false, bandwidthMiBps: 0 };
  expect(await guest.migrate({ token, copyDisks, ...options }, {})).toBe("completed");
  const arrived = await to.hypervisor.finishIncoming(guest.uuid);
  await guest.kill();
  await from.hypervisor.undefine(guest.uuid);
  return arrived;
}

describe("a guest that has moved", () => {
  it("has its checkpoints where both hosts have the disk, and none of a disk that was copied", async () => {
    await using a = await KvmLab.open(unix);
    await using b = await KvmLab.open(unix);
    const data = await qcow2(a, "data", 16);
    const { disks } = await a.definition();
    const guest = await a.define({ disks: [...disks, qcow2Disk("data", "vdb", data)] });
    await guest.start();
    const write = async (lab: KvmLab, pattern: number, offset: string): Promise<void> => {
      await using tools = await Tools.open(lab, guest.uuid);
      await tools.write(1, pattern, offset, "1M");
    };
    const file = (lab: KvmLab, name: string) =>
      ({ diskId: "data", path: lab.directory.file(name), format: "qcow2" }) as const;
    await write(a, 1, "0");
    const full = file(a, "full");
    await guest.backup({ disks: [full], checkpoint: "one" });
    await write(a, 2, "2M");
    const moved = await move(guest, a, b);
    expect((await moved.checkpoints()).map(({ name }) => name)).toEqual(["one"]);
    await write(b, 3, "4M");
    const later = file(b, "later");
    await moved.backup({ disks: [later], since: "one", checkpoint: "two" });
    // What was written on either host is in it, and nothing else.
    await run(["qemu-img", "rebase", "-u", "-b", full.path, "-F", "qcow2", later.path]);
    for (const [pattern, offset] of [
      [1, "0"],
      [2, "2M"],
      [3, "4M"],
    ] as const)
      expect(await hasPattern(later.path, "qcow2", pattern, offset, "1M")).toBe(true);
    expect(await hasPattern(full.path, "qcow2", 2, "2M", "1M")).toBe(false);

    const own = await qcow2(a, "own", 16);
    const back = await move(moved, b, a, ["data"], ({ disks: [root, disk], ...rest }) => ({
      ...rest,
      disks: [root!, { ...disk!, source: { type: "file", path: own, format: "qcow2" } }],
    }));
    expect(await back.checkpoints()).toEqual([]);
    await expect(back.backup({ disks: [file(a, "none")], since: "two" })).rejects.toMatchObject({
      code: "CHECKPOINT_NOT_FOUND",
    });
    await back.kill();
    expect(await hasPattern(own, "qcow2", 3, "4M", "1M")).toBe(true);
  });

  it("has the variables of its firmware and the keys of its TPM, which no template hands on", async () => {
    await using a = await KvmLab.open(unix);
    await using b = await KvmLab.open(unix);
    const guest = await a.define({ memoryMiB: 128, disks: [], firmware: "uefi", hardware: { tpm: {} } });
    await guest.start({ paused: true });
    const variables = (lab: KvmLab): Promise<Buffer> => readFile(lab.file(guest.uuid, "uefi-variables"));
    const keys = (lab: KvmLab): Promise<Buffer> => readFile(lab.file(guest.uuid, "tpm/tpm2-00.permall"));
    const fresh = a.directory.file("fresh");
    await copyFile(a.file(guest.uuid, "uefi-variables"), fresh);
    await guest.resume();
    // The firmware notes what it has found.
    const written = async (): Promise<boolean> => !(await variables(a)).equals(await readFile(fresh));
    await waitFor(written, { timeoutMs: 120_000, what: "variables of the firmware" });
    await guest.pause();
    const [before, kept] = [await variables(a), await keys(a)];
    const template = { memoryPath: a.directory.file("memory"), disks: [] };
    await expect(guest.saveTemplate(template)).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    const moved = await move(guest, a, b);
    // It goes on, and notes more; what was noted before is there.
    const [made, after] = [await readFile(fresh), await variables(b)];
    const noted = [...before.keys()].filter((index) => before[index] !== made[index]);
    expect(noted.filter((index) => after[index] === before[index]).length).toBeGreaterThan(0.9 * noted.length);
    expect((await keys(b)).equals(kept)).toBe(true);
    await moved.kill();
    await moved.start({ paused: true });
    expect((await keys(b)).equals(kept)).toBe(true);
    await moved.kill();
  });
});
