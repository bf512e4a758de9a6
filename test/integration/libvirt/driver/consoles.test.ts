/** Consoles of guests on a real libvirtd: what they wrote, both directions, where they listen, and who gets in. */
import { appendFile, lstat, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Secret } from "../../../../src/core/index.js";
import { connect } from "node:net";
import { once } from "node:events";
import { waitFor } from "../../../lab/index.js";
import { logInByVnc } from "../../../lab/vnc-client.js";
import { writeBusyGuest } from "../../kvm/busy-guest.js";
import { HypervisorLab, disk } from "./hypervisor-lab.js";

let lab: HypervisorLab;
beforeAll(async () => {
  lab = await HypervisorLab.open({ consoleLogBytes: 65_536 });
}, 120_000);
afterAll(() => lab?.[Symbol.asyncDispose]());

type Guest = Awaited<ReturnType<HypervisorLab["define"]>>;

/** A guest that says one letter after the other. */
async function busy(): Promise<Guest> {
  const root = await writeBusyGuest(lab.directory.file("busy.img"));
  const guest = await lab.define({ disks: [disk("root", "vda", root)], guestAgent: false });
  await guest.start();
  return guest;
}

describe("the console of a guest", () => {
  it("is opened by one at a time, holds nobody up unread, and ends with the guest", { timeout: 120_000 }, async () => {
    const guest = await busy();
    const stream = await guest.openConsole();
    let said = "";
    stream.on("data", (chunk: Buffer) => (said += chunk.toString("latin1")));
    await waitFor(() => said.length > 3, { timeoutMs: 60_000, what: "letters" });
    await expect(guest.openConsole()).rejects.toMatchObject({ code: "CONFLICT" });
    stream.destroy();
    const unread = await waitFor(() => guest.openConsole().catch(() => undefined), {
      timeoutMs: 30_000,
      what: "a console that is free again",
    });
    const length = (await lab.console(guest.uuid)).length;
    await waitFor(async () => (await lab.console(guest.uuid)).length > length + 3, {
      timeoutMs: 60_000,
      what: "letters that nobody reads",
    });
    expect((await guest.info()).stale).toBe(false);
    const closed = once(unread.resume(), "close");
    await guest.kill();
    await closed;
    await expect(guest.openConsole()).rejects.toMatchObject({ code: "INVALID_STATE" });
    const { bytes } = await guest.consoleLog({ maxBytes: 4 });
    expect(Buffer.from(bytes).toString()).toMatch(/^[a-z]{4}$/);
  });

  it("has a log that is held short, whatever its guest writes", { timeout: 60_000 }, async () => {
    const guest = await lab.define();
    expect(await guest.consoleLog({ maxBytes: 100 })).toEqual({ bytes: Buffer.alloc(0), truncated: false });
    await guest.start();
    await lab.waitForConsole(guest.uuid, "HV-BOOT");
    const path = join(lab.directory.path, "state", "guests", guest.uuid, "console.log");
    // What stands before it: as if the guest had written so much.
    await appendFile(path, `${"x".repeat(100_000)}\nlast line\n`);
    await waitFor(async () => (await stat(path)).size < 65_536, { timeoutMs: 30_000, what: "a shorter log" });
    const { bytes, truncated } = await guest.consoleLog({ maxBytes: 1_000_000 });
    expect(bytes.length).toBeLessThanOrEqual(65_536);
    expect(Buffer.from(bytes).toString()).toMatch(/x\nlast line\n$/);
    expect(truncated).toBe(false);
    // QEMU goes on in the same file.
    await guest.reset();
    await waitFor(async () => (await readFile(path, "latin1")).includes("HV-BOOT"), {
      timeoutMs: 60_000,
      what: "what the guest says when it starts again",
    });
    await guest.kill();
  });
});

describe("graphical consoles", () => {
  it("listen where they say, and let in who has a password that still holds", { timeout: 120_000 }, async () => {
    const guest = await lab.define({
      hardware: { vnc: { address: "127.0.0.1", passwordRequired: true }, spice: { address: "127.0.0.1" } },
    });
    await expect(guest.consoleAddress("vnc")).rejects.toMatchObject({ code: "CONSOLE_UNAVAILABLE" });
    await guest.start();
    const { host, port = 0 } = await guest.consoleAddress("vnc");
    expect(host).toBe("127.0.0.1");
    const at = { host: "127.0.0.1", port };
    expect(await logInByVnc(at, "")).toBe("refused");
    await guest.setConsolePassword("vnc", Secret.of("sesame"));
    expect(await logInByVnc(at, "sesame")).toBe("in");
    await guest.setConsolePassword("vnc", Secret.of("sesame"), { validMs: 1 });
    await waitFor(async () => (await logInByVnc(at, "sesame")) === "refused", {
      timeoutMs: 30_000,
      what: "the end of the password",
    });
    await guest.setConsolePassword("vnc", Secret.of(`a"<&'b`), { validMs: 3_600_000 });
    expect(await logInByVnc(at, `a"<&'b`)).toBe("in");
    const kept = JSON.stringify(await lab.domain(guest.uuid, "configured"));
    expect(kept).not.toContain("sesame");
    await expect(guest.setConsolePassword("vnc", Secret.of("far too long"))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(guest.setConsolePassword("vnc", Secret.of("a\u0001"))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(guest.setConsolePassword("spice", Secret.of("x"))).rejects.toMatchObject({
      code: "CONSOLE_UNAVAILABLE",
    });

    const spice = await guest.consoleAddress("spice");
    const socket = connect({ host: "127.0.0.1", port: spice.port ?? 0 });
    await once(socket, "connect");
    socket.destroy();
    const { ttyPath = "" } = await guest.consoleAddress("serial");
    expect(ttyPath).toMatch(/^\/dev\/pts\/\d+$/);
    expect((await guest.screenshot()).bytes.subarray(1, 4)).toEqual(Buffer.from("PNG"));
    await guest.kill();
    await expect(guest.consoleAddress("serial")).rejects.toMatchObject({ code: "CONSOLE_UNAVAILABLE" });
    await expect(guest.screenshot()).rejects.toMatchObject({ code: "INVALID_STATE" });
    await guest.start();
    expect(await logInByVnc({ host: "127.0.0.1", port: (await guest.consoleAddress("vnc")).port ?? 0 }, "sesame")).toBe(
      "refused",
    );
    await guest.kill();
  });

  it("are sockets of the host where no address is given", { timeout: 60_000 }, async () => {
    const guest = await lab.define({ hardware: { vnc: {}, video: { model: "none" } } });
    await guest.start();
    const { socketPath = "", ...rest } = await guest.consoleAddress("vnc");
    expect(rest).toEqual({ kind: "vnc" });
    // The daemon has directories of its own in the place of the system's.
    const path = socketPath.replace("/var/lib/libvirt", lab.daemon.file("lib"));
    expect((await lstat(path)).isSocket()).toBe(true);
    await expect(guest.screenshot()).rejects.toMatchObject({ code: "CONSOLE_UNAVAILABLE" });
    await expect(guest.consoleAddress("spice")).rejects.toMatchObject({ code: "CONSOLE_UNAVAILABLE" });
    await guest.injectNmi();
    await guest.kill();
    await expect(guest.injectNmi()).rejects.toMatchObject({ code: "INVALID_STATE" });
  });
});
