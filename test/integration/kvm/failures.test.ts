import { chmod, readdir, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../../src/core/index.js";
import { KvmHypervisor } from "../../../src/kvm/index.js";
import { requirePackages, temporaryDirectory, waitFor } from "../../lab/index.js";
import { withSmallFileSystem, fill } from "../storage/support.js";
import { KvmLab, disk, isDead, nic, processState, waitForConsole } from "./lab.js";

beforeAll(() => requirePackages("qemu-system-x86_64"));

/** A QEMU that answers questions about itself, and behaves as `instead` says when it is to run a guest. */
async function withQemu(instead: string, test: (lab: KvmLab) => Promise<void>, timeouts: object = {}): Promise<void> {
  await using directory = await temporaryDirectory();
  const qemuBinary = directory.file("qemu");
  await writeFile(
    qemuBinary,
    `#!/bin/sh\ncase "$*" in *"-machine none"*) exec qemu-system-x86_64 "$@";; esac\n${instead}\n`,
  );
  await chmod(qemuBinary, 0o755);
  await using lab = await KvmLab.open({ qemuBinary, timeouts });
  await test(lab);
}

describe("a QEMU that does not come up", () => {
  it("because it ends, fails the start with what it said, and nothing is left", () =>
    withQemu("echo 'qemu: this is the reason' >&2; exit 1", async (lab) => {
      const guest = await lab.define();
      await expect(guest.start()).rejects.toMatchObject({
        code: "GUEST_START_FAILED",
        retryable: false,
        detail: expect.stringContaining("this is the reason") as string,
        instance: { uuid: guest.uuid },
      });
      expect(await guest.info()).toMatchObject({ state: "shutdown" });
      expect(await readdir(lab.file(guest.uuid, "."))).toEqual(["qemu.log", "runtime.json"]);
      expect(lab.events).toEqual([]);
      await lab.hypervisor.undefine(guest.uuid);
    }));

  it("because its arguments are wrong, fails the start with QEMU's own words", async () => {
    await using lab = await KvmLab.open({ cpuModel: "no-such-cpu" });
    const guest = await lab.define();
    await expect(guest.start()).rejects.toMatchObject({
      code: "GUEST_START_FAILED",
      detail: expect.stringContaining("no-such-cpu") as string,
    });
    await using other = await KvmLab.open();
    const missing = await other.define({ disks: [disk("root", "vda", "/nonexistent/disk.img")] });
    await expect(missing.start()).rejects.toMatchObject({
      code: "GUEST_START_FAILED",
      detail: expect.stringContaining("/nonexistent/disk.img") as string,
    });
  });

  it("because it never opens its monitor, fails the start in time, and is gone", () =>
    withQemu(
      "exec sleep 1000",
      async (lab) => {
        const guest = await lab.define();
        await expect(guest.start()).rejects.toMatchObject({ code: "GUEST_START_FAILED", retryable: true });
        expect(await guest.info()).toMatchObject({ state: "shutdown" });
        await expect(guest.start({ deadline: 100 })).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
      },
      { startMs: 500 },
    ));

  it("because it speaks something else, fails the start", () =>
    withQemu("echo 'HTTP/1.1 400' >&4; exec sleep 1000", async (lab) => {
      const guest = await lab.define();
      await expect(guest.start()).rejects.toMatchObject({ code: "GUEST_START_FAILED" });
    }));

  it("because it is not there any more, fails the start and says what to install", async () => {
    await using directory = await temporaryDirectory();
    const qemuBinary = directory.file("qemu");
    await writeFile(qemuBinary, '#!/bin/sh\nexec qemu-system-x86_64 "$@"\n');
    await chmod(qemuBinary, 0o755);
    await using lab = await KvmLab.open({ qemuBinary });
    const guest = await lab.define();
    await directory.remove();
    await expect(guest.start()).rejects.toMatchObject({
      code: "HYPERVISOR_UNAVAILABLE",
      remedy: expect.any(String) as string,
    });
    expect(await guest.info()).toMatchObject({ state: "shutdown" });
  });
});

describe("a QEMU that dies", () => {
  it("is told of as a crash, and its guest can be started anew", async () => {
    await using lab = await KvmLab.open();
    const guest = await lab.define();
    await guest.start();
    const stopped = guest.waitUntilStopped({ deadline: 30_000 });
    process.kill((await lab.pid(guest.uuid)) as number, "SIGKILL");
    await stopped;
    expect(await guest.info()).toMatchObject({ state: "crashed", stale: false });
    expect(lab.lifecycle(guest.uuid)).toEqual(["started self", "crashed crash"]);
    expect(lab.events.at(-1)).toMatchObject({ detail: expect.stringContaining("SIGKILL") as string });
    await expect(guest.pause()).rejects.toMatchObject({ code: "INVALID_STATE", state: "crashed" });
    await guest.start();
    expect(await guest.info()).toMatchObject({ state: "running" });
    await guest.kill();
  });

  it("is told of also when another process has started it, and when somebody ends it in order", async () => {
    await using lab = await KvmLab.open();
    const [one, two] = [await lab.define(), await lab.define()];
    for (const guest of [one, two]) await guest.start();
    await lab.reopen();
    process.kill((await lab.pid(one.uuid)) as number, "SIGKILL");
    process.kill((await lab.pid(two.uuid)) as number, "SIGTERM");
    await lab.event((event) => event.type === "lifecycle" && event.uuid === one.uuid && event.transition === "crashed");
    await lab.event(
      (event) =>
        event.type === "lifecycle" &&
        event.uuid === two.uuid &&
        event.transition === "stopped" &&
        event.cause === "external",
    );
  });

  it("fails what was under way", async () => {
    await using lab = await KvmLab.open();
    const guest = await lab.define();
    await guest.start();
    const pid = (await lab.pid(guest.uuid)) as number;
    process.kill(pid, "SIGSTOP");
    const attaching = guest.attachNic(nic("port", 1));
    const outcome = expect(attaching).rejects.toMatchObject({ code: "GUEST_CRASHED", instance: { uuid: guest.uuid } });
    process.kill(pid, "SIGKILL");
    await outcome;
    await guest.waitUntilStopped({ deadline: 30_000 });
    expect((await guest.definition()).nics).toEqual([]);
  });
});

describe("a QEMU that stands still", () => {
  const timeouts = { queryMs: 300, commandMs: 500, adoptMs: 500, quitMs: 300 };

  it("holds up nobody: it is shown as last known, the others as they are", async () => {
    await using lab = await KvmLab.open({ timeouts });
    const [still, other] = [await lab.define(), await lab.define()];
    for (const guest of [still, other]) await guest.start();
    const pid = (await lab.pid(still.uuid)) as number;
    process.kill(pid, "SIGSTOP");
    expect(await still.info()).toMatchObject({ state: "running", stale: true });
    for (let i = 0; i < 10; i++) expect(await still.info()).toMatchObject({ stale: true });
    expect(await lab.hypervisor.list()).toHaveLength(2);
    expect(await other.info()).toMatchObject({ state: "running", stale: false });
    await expect(still.pause()).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED", retryable: true });
    await expect(still.statistics()).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await other.pause();

    process.kill(pid, "SIGCONT");
    await waitFor(async () => !(await still.info()).stale, { timeoutMs: 30_000, what: "a fresh answer" });
    await waitFor(async () => (await still.info()).state === "paused", { what: "the late pause" });
    await still.resume();
    await still.kill();
    await other.kill();
  });

  it("is adopted all the same, and looked at when it moves again", async () => {
    await using lab = await KvmLab.open({ timeouts });
    const [still, other] = [await lab.define(), await lab.define()];
    for (const guest of [still, other]) await guest.start();
    const pid = (await lab.pid(still.uuid)) as number;
    process.kill(pid, "SIGSTOP");
    await lab.reopen();
    const found = (await lab.hypervisor.find(still.uuid))!;
    expect(await found.info()).toMatchObject({ state: "running", stale: true });
    expect(await (await lab.hypervisor.find(other.uuid))!.info()).toMatchObject({ stale: false });
    process.kill(pid, "SIGCONT");
    await waitFor(async () => !(await found.info()).stale, { timeoutMs: 30_000, what: "a fresh answer" });
    await found.pause();
    await found.kill();
  });

  it("is killed, also while it stands still", async () => {
    await using lab = await KvmLab.open({ timeouts });
    const [own, foreign] = [await lab.define(), await lab.define()];
    await own.start();
    const pid = (await lab.pid(own.uuid)) as number;
    process.kill(pid, "SIGSTOP");
    await own.kill();
    expect(await isDead(pid)).toBe(true);
    expect(lab.lifecycle(own.uuid)).toEqual(["started self", "stopped self"]);

    await foreign.start();
    const other = (await lab.pid(foreign.uuid)) as number;
    process.kill(other, "SIGSTOP");
    await lab.reopen();
    const found = (await lab.hypervisor.find(foreign.uuid))!;
    await found.kill();
    expect(await isDead(other)).toBe(true);
    expect(await found.info()).toMatchObject({ state: "shutdown" });
  });

  it("has the device that it took too late taken from it again", async () => {
    await using lab = await KvmLab.open({ timeouts });
    const guest = await lab.define();
    await guest.start();
    await waitForConsole(guest, "HV-BOOT");
    const pid = (await lab.pid(guest.uuid)) as number;
    process.kill(pid, "SIGSTOP");
    await expect(guest.attachNic(nic("port", 1))).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    process.kill(pid, "SIGCONT");
    await waitFor(async () => !(await guest.info()).stale, { timeoutMs: 30_000 });
    await waitFor(
      async () => (await guest.definition()).nics.length === 0 || guest.detachNic("port", { timeoutMs: 1 }),
      { timeoutMs: 10_000 },
    );
    await guest.attachNic(nic("port", 1));
    await guest.kill();
  });
});

describe("a state directory", () => {
  it("is one process's at a time", async () => {
    await using lab = await KvmLab.open();
    const second = new KvmHypervisor({ stateDirectory: lab.stateDirectory, accelerator: "tcg" });
    const opening = second.open({ clock: systemClock, onEvent: () => undefined });
    await expect(opening).rejects.toMatchObject({
      code: "HYPERVISOR_UNAVAILABLE",
      cause: { code: "LOCKED", pid: process.pid },
    });
    await lab.hypervisor.close();
    await second.open({ clock: systemClock, onEvent: () => undefined });
    await second.close();
  });

  it("may have a path longer than a socket's", async () => {
    await using directory = await temporaryDirectory();
    const stateDirectory = directory.file(`${"deep/".repeat(30)}a,b=c`);
    await using lab = await KvmLab.open({ stateDirectory });
    const guest = await lab.define();
    await guest.start();
    await waitForConsole(guest, "HV-BOOT");
    await lab.reopen();
    const again = (await lab.hypervisor.find(guest.uuid))!;
    expect(await again.info()).toMatchObject({ state: "running", stale: false });
    const console = await again.openConsole();
    console.destroy();
    await again.screenshot();
    await again.kill();
  });

  it("with a guest that can't be read in it serves the others, and lets it be removed with what it runs", async () => {
    await using lab = await KvmLab.open();
    const [broken, other] = [await lab.define(), await lab.define()];
    await broken.start();
    const pid = (await lab.pid(broken.uuid)) as number;
    await lab.hypervisor.close();
    await writeFile(lab.file(broken.uuid, "runtime.json"), "{ half");
    await lab.reopen();
    expect((await lab.hypervisor.list()).map(({ uuid }) => uuid)).toEqual([other.uuid]);
    await expect(lab.hypervisor.find(broken.uuid)).rejects.toMatchObject({
      code: "STATE_CORRUPT",
      instance: { uuid: broken.uuid },
    });
    await expect(lab.define({ uuid: broken.uuid })).rejects.toMatchObject({ code: "STATE_CORRUPT" });
    expect(await processState(pid)).not.toBe("Z");
    await lab.hypervisor.undefine(broken.uuid);
    expect(await isDead(pid)).toBe(true);
    expect(await lab.hypervisor.find(broken.uuid)).toBeUndefined();
  });

  it.runIf(process.getuid?.() === 0)("that is full refuses what is new, and keeps what is there", () =>
    withSmallFileSystem(512 * 1024, async (mounted) => {
      await using lab = await KvmLab.open({ stateDirectory: `${mounted}/state` });
      const guest = await lab.define();
      const free = await fill(mounted);
      await expect(lab.define()).rejects.toMatchObject({ code: "DISK_FULL", retryable: true });
      await expect(guest.start()).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(await lab.pid(guest.uuid)).toBeUndefined();
      expect(await readdir(`${lab.stateDirectory}/guests`)).toEqual([guest.uuid]);
      await free();
      await guest.start();
      const again = await fill(mounted);
      await expect(guest.attachNic(nic("port", 1))).rejects.toMatchObject({ code: "DISK_FULL" });
      await again();
      expect((await guest.definition()).nics).toEqual([]);
      await guest.attachNic(nic("port", 1));
      await guest.kill();
      await lab.hypervisor.undefine(guest.uuid);
    }),
  );
});
