import { readFile, readdir } from "node:fs/promises";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requirePackages, waitFor } from "../../lab/index.js";
import { KvmLab, disk, inGuest, isDead, nic, waitForConsole, waitReady } from "./lab.js";

let lab: KvmLab;
beforeAll(async () => {
  requirePackages("qemu-system-x86_64");
  lab = await KvmLab.open();
});
afterAll(() => lab?.[Symbol.asyncDispose]());

describe("a guest on QEMU", () => {
  it("is started, stopped and forgotten, and nothing of it is left", async () => {
    const guest = await lab.define();
    expect(await guest.info()).toMatchObject({ state: "shutdown", stale: false, memoryMiB: 32, vcpus: 1 });
    await guest.start();
    expect(await guest.info()).toMatchObject({
      state: "running",
      stale: false,
      startedAt: expect.any(Number) as number,
    });
    await waitForConsole(guest, "HV-BOOT");
    const pid = (await lab.pid(guest.uuid)) as number;
    await expect(guest.start()).rejects.toMatchObject({ code: "INVALID_STATE" });
    await expect(lab.hypervisor.undefine(guest.uuid)).rejects.toMatchObject({ code: "INVALID_STATE" });
    await guest.kill();
    expect(await isDead(pid)).toBe(true);
    expect(await guest.info()).toMatchObject({ state: "shutdown" });
    await guest.kill();
    expect(lab.lifecycle(guest.uuid)).toEqual(["started self", "stopped self"]);
    await lab.hypervisor.undefine(guest.uuid);
    await lab.hypervisor.undefine(guest.uuid);
    expect(await lab.hypervisor.find(guest.uuid)).toBeUndefined();
    expect(await readdir(`${lab.stateDirectory}/guests`)).not.toContain(guest.uuid);
  });

  it("runs isolated: nothing can be started from it, and its output goes to files", async () => {
    const guest = await lab.define();
    await guest.start();
    const pid = (await lab.pid(guest.uuid)) as number;
    expect(/^Seccomp:\s+(\d)/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1]).toBe("2");
    const environment = (await readFile(`/proc/${pid}/environ`, "utf8"))
      .split("\0")
      .map((entry) => entry.split("=")[0]);
    expect(environment).not.toContain("NODE_ENV");
    // Of a session of its own, so that the end of ours does not end it.
    const [, , session] = (await readFile(`/proc/${pid}/stat`, "latin1")).split(") ")[1]!.split(" ").slice(1);
    expect(Number(session)).toBe(pid);
    await guest.kill();
  });

  it("can be started paused, and pauses, resumes and resets", async () => {
    const guest = await lab.define();
    await guest.start({ paused: true });
    expect(await guest.info()).toMatchObject({ state: "paused" });
    await guest.pause();
    await guest.resume();
    await guest.resume();
    expect(await guest.info()).toMatchObject({ state: "running" });
    await waitForConsole(guest, "HV-BOOT");
    await guest.pause();
    expect(await guest.info()).toMatchObject({ state: "paused" });
    await guest.resume();
    await guest.reset();
    await waitForConsole(guest, /HV-BOOT[\s\S]*HV-BOOT/);
    await guest.kill();
    expect(lab.lifecycle(guest.uuid)).toEqual([
      "started self",
      "resumed self",
      "paused self",
      "resumed self",
      "rebooted self",
      "stopped self",
    ]);
    expect(lab.events.find((event) => event.type === "lifecycle" && event.uuid === guest.uuid)).toMatchObject({
      detail: "paused",
    });
  });

  it("tells a guest that powers itself off, or resets itself, from what we ask for", async () => {
    const guest = await lab.define();
    await guest.start();
    await waitForConsole(guest, "HV-BOOT");
    const console = await guest.openConsole();
    console.resume();
    console.write("\u0012");
    await lab.event(
      (event) => event.type === "lifecycle" && event.uuid === guest.uuid && event.transition === "rebooted",
    );
    await waitForConsole(guest, /HV-BOOT[\s\S]*HV-BOOT/);
    const stopped = guest.waitUntilStopped({ deadline: 30_000 });
    console.write("\u0004");
    await stopped;
    expect(await guest.info()).toMatchObject({ state: "shutdown" });
    expect(lab.lifecycle(guest.uuid)).toEqual(["started self", "rebooted guest", "stopped guest"]);
  });

  it("has one console, for one at a time", async () => {
    const guest = await lab.define();
    await expect(guest.openConsole()).rejects.toMatchObject({ code: "INVALID_STATE" });
    await guest.start();
    await waitForConsole(guest, "HV-BOOT");
    const console = await guest.openConsole();
    await expect(guest.openConsole()).rejects.toMatchObject({ code: "CONFLICT" });
    console.write("echoed");
    let said = "";
    console.on("data", (chunk: Buffer) => (said += chunk.toString()));
    await waitFor(() => said.includes("echoed"));
    const closed = once(console, "close");
    console.destroy();
    await closed;
    const again = await waitFor(() => guest.openConsole().catch(() => undefined));
    const ended = once(again.resume(), "close");
    await guest.kill();
    await ended;
  });

  it("can be defined anew while it is not in memory", async () => {
    const guest = await lab.define();
    const definition = await guest.definition();
    await lab.hypervisor.redefine({ ...definition, memoryMiB: 48, name: `${definition.name}-b` });
    expect(await guest.info()).toMatchObject({ memoryMiB: 48 });
    await guest.start();
    await expect(lab.hypervisor.redefine(definition)).rejects.toMatchObject({ code: "INVALID_STATE" });
    await expect(
      lab.hypervisor.redefine({ ...definition, uuid: "00000000-0000-4000-8000-000000000000" }),
    ).rejects.toMatchObject({ code: "INSTANCE_NOT_FOUND" });
    await guest.kill();
  });

  it("shares neither its uuid nor its name, and is not made larger than the host", async () => {
    const guest = await lab.define();
    const definition = await guest.definition();
    await expect(lab.hypervisor.define(definition)).rejects.toMatchObject({ code: "CONFLICT" });
    await expect(lab.define({ name: definition.name })).rejects.toMatchObject({ code: "CONFLICT" });
    await expect(lab.define({ memoryMiB: 60_000_000 })).rejects.toMatchObject({ code: "NO_CAPACITY" });
    const [one, two] = await Promise.allSettled([lab.define({ name: "twin" }), lab.define({ name: "twin" })]);
    expect([one.status, two.status].sort()).toEqual(["fulfilled", "rejected"]);
  });

  it("gives up a start that its caller aborts, and nothing of it runs", async () => {
    const guest = await lab.define();
    const controller = new AbortController();
    const starting = guest.start({ signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(starting).rejects.toMatchObject({ code: "ABORTED" });
    expect(await lab.pid(guest.uuid)).toBeUndefined();
    await expect(guest.start({ deadline: 1 })).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect(await guest.info()).toMatchObject({ state: "shutdown" });
    await guest.start();
    await guest.kill();
  });

  it("is left alone by a wait that is aborted or comes too late", async () => {
    const guest = await lab.define();
    await guest.waitUntilStopped({});
    await guest.start();
    await expect(guest.waitUntilStopped({ deadline: 10 })).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await expect(guest.waitUntilStopped({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
    expect(await guest.info()).toMatchObject({ state: "running" });
    await guest.kill();
  });
});

describe("a Linux guest", () => {
  it("boots, answers by its agent, shows itself, counts, and shuts down when asked", async () => {
    const data = disk("data", "vda", await lab.image("data.img"), { serial: "data-disk" });
    const guest = await lab.linux({ disks: [data], nics: [nic("port", 1)] });
    await guest.start();
    await waitReady(guest);
    await lab.event((event) => event.type === "agent" && event.uuid === guest.uuid && event.connected);

    expect(await inGuest(guest, "echo $(cat /sys/block/vda/serial) $(ls /sys/class/net)")).toBe("data-disk eth0 lo");
    const interfaces = await guest.agent.interfaces();
    expect(interfaces.find(({ name }) => name === "eth0")).toMatchObject({
      macAddress: "52:54:00:00:00:01",
      addresses: expect.arrayContaining([expect.stringMatching(/^10\.0\.2\./)]) as unknown,
    });
    await guest.agent.writeFile("/tmp/hello", Buffer.from("hello"));
    expect(Buffer.from(await guest.agent.readFile("/tmp/hello", { maxBytes: 100 })).toString()).toBe("hello");
    expect(await guest.agent.exec(["/bin/sh", "-c", "cat; exit 3"], { input: Buffer.from("in") })).toMatchObject({
      exitCode: 3,
    });
    await expect(guest.agent.readFile("/nonexistent", { maxBytes: 1 })).rejects.toMatchObject({
      code: "AGENT_COMMAND_FAILED",
    });
    await inGuest(guest, "dd if=/dev/zero of=/dev/vda bs=1M count=2 conv=fsync");

    const picture = await guest.screenshot();
    expect(picture.mediaType).toBe("image/png");
    expect(Buffer.from(picture.bytes).subarray(1, 4).toString()).toBe("PNG");

    const statistics = await guest.statistics();
    expect(statistics).toMatchObject({ state: "running", memory: { maximumMiB: 128, currentMiB: 128 } });
    expect(statistics.vcpus).toEqual([{ id: 0, timeNs: expect.any(BigInt) as bigint }]);
    expect(statistics.vcpus[0]!.timeNs).toBeGreaterThan(0n);
    expect(statistics.memory.residentMiB).toBeGreaterThan(50);
    expect(statistics.interfaces).toEqual([]);
    expect(await guest.diskStatistics("data")).toMatchObject({ id: "data", errors: 0n });
    expect((await guest.diskStatistics("data")).writeBytes).toBeGreaterThanOrEqual(2_097_152n);
    await expect(guest.diskStatistics("other")).rejects.toMatchObject({ code: "DISK_NOT_FOUND" });
    await expect(guest.interfaceStatistics("port")).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });

    // The file is grown first, as the driver does.
    await guest.resizeDisk("data", 16 * 1_048_576);
    await waitFor(async () => (await inGuest(guest, "cat /sys/block/vda/size")) === String(16 * 2_048), {
      timeoutMs: 20_000,
      what: "the larger disk",
    });

    await guest.injectNmi();
    await guest.requestShutdown();
    await guest.waitUntilStopped({ deadline: 60_000 });
    expect(lab.lifecycle(guest.uuid)).toEqual(["started self", "stopped self"]);
    await expect(guest.agent.ping()).rejects.toMatchObject({ code: "INVALID_STATE" });
  });

  it("can't fill the host's disk by what it writes to its console, which is kept when it has stopped", async () => {
    await using small = await KvmLab.open({ consoleLogBytes: 65_536 });
    const guest = await small.linux();
    await guest.start();
    await waitReady(guest);
    const size = async (): Promise<number> => {
      const files = ["console.log", "console.log.1"].map((name) =>
        readFile(small.file(guest.uuid, name)).catch(() => Buffer.alloc(0)),
      );
      return (await Promise.all(files)).reduce((sum, file) => sum + file.length, 0);
    };
    for (let i = 0; i < 10; i++) {
      await inGuest(guest, "head -c 30000 /dev/zero | tr '\\0' x > /dev/ttyS0");
      await waitFor(async () => (await size()) <= 100_000, { what: "a shorter log" });
    }
    await inGuest(guest, "echo the-last-line > /dev/ttyS0");
    await waitForConsole(guest, "the-last-line");
    await guest.kill();
    const { bytes, truncated } = await guest.consoleLog({ maxBytes: 1_000_000 });
    expect(bytes.length).toBeGreaterThan(10_000);
    expect(bytes.length).toBeLessThan(100_000);
    expect(truncated).toBe(false);
    expect(await guest.consoleLog({ maxBytes: 10 })).toMatchObject({ truncated: true });
  });

  it("that reboots itself is seen to, once", async () => {
    const guest = await lab.linux();
    await guest.start();
    await waitReady(guest);
    await guest.agent
      .exec(["/bin/sh", "-c", "echo b > /proc/sysrq-trigger"], { deadline: 2_000 })
      .catch(() => undefined);
    await lab.event(
      (event) => event.type === "lifecycle" && event.uuid === guest.uuid && event.transition === "rebooted",
      60_000,
    );
    await waitForConsole(guest, /HV-READY[\s\S]*HV-READY/);
    await guest.kill();
    expect(lab.lifecycle(guest.uuid)).toEqual(["started self", "rebooted guest", "stopped self"]);
  });
});
