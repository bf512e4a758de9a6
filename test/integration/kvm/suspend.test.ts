import { access, mkdir, readFile, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import type { KvmHypervisor } from "../../../src/kvm/index.js";
import { requirePackages, waitFor } from "../../lab/index.js";
import { crashDriver } from "./crash-driver.js";
import { isAlphabet, writeBusyGuest } from "./busy-guest.js";
import { KvmLab, consoleOf, disk, inGuest, nic, waitForConsole, waitReady } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

beforeAll(() => requirePackages("qemu-system-x86_64"));

const stateOf = async (guest: Guest): Promise<string> => (await guest.info()).state;
const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** A guest whose console shows whether it was stopped, repeated, or lost. */
async function busy(lab: KvmLab): Promise<Guest> {
  const root = await writeBusyGuest(lab.directory.file("busy.img"));
  const guest = await lab.define({ disks: [disk("root", "vda", root)], guestAgent: false });
  await guest.start();
  await waitForConsole(guest, /[a-z]/);
  return guest;
}
const letters = async (guest: Guest): Promise<string> => (await consoleOf(guest)).replace(/[^a-z]/g, "");

describe("a suspended guest", () => {
  it("runs on from where it stood, with the devices that it was given while it ran", async () => {
    await using lab = await KvmLab.open();
    const guest = await lab.linux({ nics: [nic("port", 1)] });
    await guest.start();
    await waitReady(guest);
    await guest.attachDisk(disk("data", "vdb", await lab.image("data.img")));
    const before = await inGuest(
      guest,
      "echo kept > /run/mark; echo written > /dev/vda; sync; cat /proc/sys/kernel/random/boot_id",
    );
    await guest.suspend.save();
    expect(await stateOf(guest)).toBe("suspended");
    expect(await lab.pid(guest.uuid)).toBeUndefined();
    await expect(guest.start()).rejects.toMatchObject({ code: "INVALID_STATE", state: "suspended" });
    await expect(guest.attachNic(nic("other", 2))).rejects.toMatchObject({ code: "INVALID_STATE" });
    await lab.reopen();
    const found = (await lab.hypervisor.find(guest.uuid))!;
    expect(await stateOf(found)).toBe("suspended");
    await found.suspend.restore();
    expect(await stateOf(found)).toBe("running");
    expect(await exists(lab.file(guest.uuid, "memory.state"))).toBe(false);
    const after = await inGuest(found, "cat /run/mark; head -c 7 /dev/vda; echo; cat /proc/sys/kernel/random/boot_id");
    expect(after.split("\n")).toEqual(["kept", "written", before]);
    expect(await found.detachDisk("data", { timeoutMs: 30_000 })).toBe("detached");
    expect(lab.lifecycle(guest.uuid)).toEqual(["started self", "suspended self", "resumed self"]);
    await found.kill();
  });

  it("keeps its memory until it runs again, and has none when that is discarded", async () => {
    await using lab = await KvmLab.open();
    const guest = await busy(lab);
    const memory = lab.file(guest.uuid, "memory.state");
    await guest.suspend.save();
    const said = await letters(guest);
    const whole = await readFile(memory);
    await truncate(memory, whole.length >> 1);
    await expect(guest.suspend.restore()).rejects.toMatchObject({ code: "GUEST_START_FAILED" });
    expect(await stateOf(guest)).toBe("suspended");
    expect(await lab.pid(guest.uuid)).toBeUndefined();
    await writeFile(memory, whole);
    await guest.suspend.restore();
    await waitFor(async () => (await letters(guest)).length > said.length, {
      timeoutMs: 30_000,
      what: "another letter",
    });
    expect(isAlphabet(await letters(guest))).toBe(true);
    await guest.suspend.save();
    for (const _again of [1, 2]) await guest.suspend.discard();
    expect(await stateOf(guest)).toBe("shutdown");
    expect(await exists(memory)).toBe(false);
    await expect(guest.suspend.restore()).rejects.toMatchObject({ code: "INVALID_STATE" });
    await guest.start();
    await guest.kill();
  });
});

describe("a driver process that dies in the middle of", () => {
  const scenarios: readonly {
    readonly step: "save" | "restore";
    readonly what: string;
    readonly nth: number;
    readonly when: "before" | "after";
    readonly state: string;
  }[] = [
    { step: "save", what: "migrate", nth: 1, when: "after", state: "running" },
    // The second is the memory's file that gets its name, the third is the record of it.
    { step: "save", what: "write", nth: 2, when: "after", state: "running" },
    { step: "save", what: "write", nth: 3, when: "after", state: "suspended" },
    { step: "restore", what: "migrate-incoming", nth: 1, when: "after", state: "suspended" },
    { step: "restore", what: "write", nth: 1, when: "after", state: "paused" },
    { step: "restore", what: "cont", nth: 1, when: "after", state: "running" },
  ];
  it.each(scenarios)("$step, $when $what ($nth), leaves a guest that is $state", async ({ step, state, ...point }) => {
    await using lab = await KvmLab.open();
    const root = await writeBusyGuest(lab.directory.file("busy.img"));
    const definition = await lab.definition({ disks: [disk("root", "vda", root)], guestAgent: false });
    lab.note(definition.uuid);
    const parts = { disk: disk("data", "vdb", root), nic: nic("port", 1) };
    const before = step === "save" ? (["define", "start"] as const) : (["define", "start", "save"] as const);
    await crashDriver(lab, { stateDirectory: lab.stateDirectory, definition, ...parts, before, step, point });
    const guest = (await lab.hypervisor.find(definition.uuid))!;
    expect(await stateOf(guest)).toBe(state);
    const files = (await readdir(lab.file(guest.uuid, ""))).filter((name) => name.startsWith("memory"));
    expect(files).toEqual(state === "suspended" ? ["memory.state"] : []);
    expect((await lab.pid(guest.uuid)) === undefined).toBe(state === "suspended");
    if (state === "suspended") await guest.suspend.restore();
    else await guest.resume();
    const said = await letters(guest);
    await waitFor(async () => (await letters(guest)).length > said.length, {
      timeoutMs: 30_000,
      what: "another letter",
    });
    expect(isAlphabet(await letters(guest))).toBe(true);
    await guest.kill();
  });
});

describe("a guest that is being suspended", () => {
  it.each(["running", "paused"] as const)("is %s as before when that is aborted, or can't be done", async (state) => {
    await using lab = await KvmLab.open();
    const guest = await busy(lab);
    if (state === "paused") await guest.pause();
    const before = lab.lifecycle(guest.uuid);
    const stop = new AbortController();
    const aborted = guest.suspend.save({ signal: stop.signal, onCopyProgress: () => stop.abort() });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    expect(await stateOf(guest)).toBe(state);
    // Something stands where the memory is to be written.
    await mkdir(`${lab.file(guest.uuid, "memory.state")}/in-the-way`, { recursive: true });
    await expect(guest.suspend.save()).rejects.toMatchObject({ code: "HOST_IO" });
    await rm(lab.file(guest.uuid, "memory.state"), { recursive: true });
    expect(await stateOf(guest)).toBe(state);
    expect(lab.lifecycle(guest.uuid)).toEqual(before);
    expect((await readdir(lab.file(guest.uuid, ""))).filter((name) => name.startsWith("memory"))).toEqual([]);
    await guest.resume();
    const said = await letters(guest);
    await waitFor(async () => (await letters(guest)).length > said.length, {
      timeoutMs: 30_000,
      what: "another letter",
    });
    expect(isAlphabet(await letters(guest))).toBe(true);
    // What was suspended while it stood still runs when it is back.
    await guest.pause();
    await guest.suspend.save();
    await guest.suspend.restore();
    expect(await stateOf(guest)).toBe("running");
    await guest.kill();
  });
});
