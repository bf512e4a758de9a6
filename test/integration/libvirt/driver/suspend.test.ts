/** Guests whose memory libvirt writes to its disk and brings back, on a real libvirtd. */
import { randomUUID } from "node:crypto";
import { access, mkdir, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { JsonObject } from "../../../../src/core/index.js";
import { MemoryStateStore, isHyperviseError } from "../../../../src/core/index.js";
import { run, temporaryDirectory, waitFor } from "../../../lab/index.js";
import type { TemporaryDirectory } from "../../../lab/index.js";
import { qemuProcess } from "../../contract/qemu-process.js";
import { isAlphabet, writeFullGuest } from "../../kvm/busy-guest.js";
import { HypervisorLab, disk, nic } from "./hypervisor-lab.js";

const state = new MemoryStateStore();
let small: TemporaryDirectory;
let lab: HypervisorLab;
beforeAll(async () => {
  small = await temporaryDirectory("small-");
  // Before the daemon starts, which has mounts of its own.
  await run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small.path]);
  lab = await HypervisorLab.open({ state });
}, 120_000);
afterAll(async () => {
  await lab?.[Symbol.asyncDispose]();
  await run(["umount", "--lazy", small.path]);
  await small.remove();
});

type Guest = Awaited<ReturnType<HypervisorLab["define"]>>;

/** A guest that fills its memory, looks at it, and says letter after letter, or `!` when it is not as it was. */
async function busy(root = lab.directory.file(`${randomUUID()}.img`)): Promise<Guest> {
  await writeFullGuest(root);
  const guest = await lab.define({ disks: [disk("root", "vda", root)], guestAgent: false });
  await guest.start();
  await saysMore(guest);
  return guest;
}
const letters = async ({ uuid }: Guest): Promise<string> => (await lab.console(uuid)).replace(/[^a-z!]/g, "");
const stateOf = async (guest: Guest): Promise<string> => (await guest.info()).state;
const lifecycle = ({ uuid }: Guest): readonly string[] =>
  lab.events.flatMap((event) =>
    event.type === "lifecycle" && event.uuid === uuid ? [`${event.transition} ${event.cause}`] : [],
  );
const savedFile = ({ name }: Guest): string => lab.daemon.file(`lib/qemu/save/${name}.save`);
const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

async function saysMore(guest: Guest): Promise<void> {
  const { length } = await letters(guest);
  await waitFor(async () => (await letters(guest)).length > length, { timeoutMs: 60_000, what: "another letter" });
  expect(isAlphabet(await letters(guest))).toBe(true);
}

describe("a suspended guest", () => {
  it("runs on from where it stood, also by a later process", { timeout: 120_000 }, async () => {
    const guest = await busy();
    await guest.suspend!.save();
    expect(await stateOf(guest)).toBe("suspended");
    await expect(guest.suspend!.save()).rejects.toMatchObject({ code: "INVALID_STATE" });
    await expect(guest.start()).rejects.toMatchObject({ code: "INVALID_STATE", state: "suspended" });
    await expect(guest.attachNic(nic("other", 2), {})).rejects.toMatchObject({ code: "INVALID_STATE" });
    await lab.reopen();
    const found = (await lab.hypervisor.find(guest.uuid))!;
    expect(await stateOf(found)).toBe("suspended");
    await found.suspend!.restore();
    expect(await stateOf(found)).toBe("running");
    expect(await exists(savedFile(guest))).toBe(false);
    await saysMore(found);
    await expect(found.suspend!.restore()).rejects.toMatchObject({ code: "INVALID_STATE" });

    await found.pause();
    await found.suspend!.save();
    await found.suspend!.restore();
    await saysMore(found);
    await found.suspend!.save();
    for (const _again of [1, 2]) await found.suspend!.discard();
    expect(await stateOf(found)).toBe("shutdown");
    expect(await exists(savedFile(guest))).toBe(false);
    const told = ["suspended self", "resumed self"];
    expect(lifecycle(guest).filter((line) => !line.startsWith("paused"))).toEqual([
      "started self",
      ...told,
      ...told,
      "suspended self",
    ]);
    await lab.hypervisor.undefine(guest.uuid);
  });

  it("keeps its memory when it can't be brought back", { timeout: 120_000 }, async () => {
    const root = lab.directory.file("full.img");
    const guest = await busy(root);
    await guest.suspend!.save();
    await run(["mv", root, `${root}.away`]);
    await expect(guest.suspend!.restore()).rejects.toMatchObject({ code: "GUEST_START_FAILED" });
    expect(await stateOf(guest)).toBe("suspended");
    await run(["mv", `${root}.away`, root]);
    await guest.suspend!.restore();
    await saysMore(guest);
    await guest.kill();
  });
});

describe("a guest that can't be suspended", () => {
  it("runs on as before when there is no space, and nothing of it is left", { timeout: 120_000 }, async () => {
    const guest = await busy();
    const saves = lab.daemon.file("lib/qemu/save");
    await rm(saves, { recursive: true, force: true });
    await symlink(small.path, saves);
    const error: unknown = await guest.suspend!.save().catch((reason: unknown) => reason);
    expect(isHyperviseError(error) && ["DISK_FULL", "MIGRATION_FAILED"].includes(error.code), String(error)).toBe(true);
    expect(await stateOf(guest)).toBe("running");
    expect(await readdir(small.path)).toEqual([]);
    await rm(saves);
    await mkdir(saves);
    await saysMore(guest);
    await guest.suspend!.save();
    await guest.suspend!.restore();
    await saysMore(guest);
    await guest.kill();
  });

  it.each(["running", "paused"] as const)("is %s as before when that is aborted", { timeout: 120_000 }, async (was) => {
    const guest = await busy();
    if (was === "paused") await guest.pause();
    const stop = new AbortController();
    const saving = guest.suspend!.save({ signal: stop.signal }).catch((reason: unknown) => reason);
    stop.abort();
    const error = await saving;
    // It may be faster than the abort, and stands then.
    if (error === undefined) await guest.suspend!.restore();
    else expect(error).toMatchObject({ code: "ABORTED" });
    expect(await exists(savedFile(guest))).toBe(false);
    expect(await stateOf(guest)).toBe(error === undefined ? "running" : was);
    if (was === "paused" && error !== undefined) await guest.resume();
    await saysMore(guest);
    await guest.kill();
  });
});

it("removes what a daemon and a driver that have died in the middle have left", { timeout: 120_000 }, async () => {
  const guest = await busy();
  const key = `libvirt-guests/${guest.uuid}`;
  await lab.hypervisor.close();
  await lab.daemon.kill();
  await state.put(key, { ...((await state.get(key)) as JsonObject), saving: { wasRunning: true } });
  await writeFile(savedFile(guest), "LibvirtQemudPart");
  await lab.daemon.start();
  await lab.reopen();
  const found = (await lab.hypervisor.find(guest.uuid))!;
  expect(await stateOf(found)).toBe("running");
  expect(await exists(savedFile(guest))).toBe(false);
  expect((await state.get(key)) as JsonObject).not.toHaveProperty("saving");
  await saysMore(found);
  await found.kill();
  expect(await stateOf(found)).toBe("shutdown");
});

it(
  "runs on, or can be brought back, when the daemon dies while its memory is written",
  { timeout: 180_000 },
  async () => {
    const guest = await busy();
    const qemu = await qemuProcess(guest.uuid);
    const saving = guest.suspend!.save().then(
      () => undefined,
      (error: unknown) => error,
    );
    const began = async (): Promise<boolean> => (await stat(savedFile(guest)).catch(() => undefined)) !== undefined;
    await waitFor(began, { timeoutMs: 60_000, what: "the file of the memory" });
    // However fast the host is, QEMU is not done when the daemon dies.
    process.kill(qemu, "SIGSTOP");
    await lab.daemon.kill();
    process.kill(qemu, "SIGCONT");
    await lab.daemon.start();
    const error = await saving;
    if (error === undefined) await guest.suspend!.restore();
    else expect(isHyperviseError(error, "HYPERVISOR_UNAVAILABLE"), String(error)).toBe(true);
    await waitFor(async () => (await stateOf(guest)) === "running", { timeoutMs: 90_000, what: "the guest to run on" });
    expect(await exists(savedFile(guest))).toBe(false);
    await saysMore(guest);
    await guest.suspend!.save();
    await guest.suspend!.restore();
    await saysMore(guest);
    await guest.kill();
  },
);
