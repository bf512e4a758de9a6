import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../../src/core/index.js";
import type { ProcessEnd, Report } from "../../../src/kvm/events.js";
import { UNLAUNCHED } from "../../../src/kvm/events.js";
import type { RunningProcess } from "../../../src/kvm/process.js";
import { GuestSession } from "../../../src/kvm/session.js";
import type { SessionListener } from "../../../src/kvm/session.js";
import { DEFAULT_KVM_TIMEOUTS } from "../../../src/kvm/timeouts.js";
import { FakeQmpServer } from "../../../src/testing/index.js";
import { waitFor } from "../../lab/wait-for.js";
import { UUID } from "./definitions.js";

class FakeProcess implements RunningProcess {
  readonly identity = { pid: 1, startTime: 1 };
  readonly ended: Promise<ProcessEnd>;
  over = false;
  end!: (end: ProcessEnd) => void;

  constructor() {
    this.ended = new Promise((resolve) => {
      this.end = (end) => {
        this.over = true;
        resolve(end);
      };
    });
  }
  hungUp(): void {}
  kill(): Promise<void> {
    this.end({ signal: "SIGKILL" });
    return Promise.resolve();
  }
  async waitEnded(): Promise<void> {
    await this.ended;
  }
}

let server: FakeQmpServer;
let qemu: FakeProcess;
let session: GuestSession;
let told: (Report | string)[];

beforeEach(async () => {
  server = await new FakeQmpServer().listen();
  qemu = new FakeProcess();
  told = [];
  const listener: SessionListener = {
    report: (report) => told.push(report),
    resync: () => {
      told.push("resync");
      return Promise.resolve();
    },
    ended: (end) => told.push(end),
  };
  session = new GuestSession({
    instance: { uuid: UUID, name: "web" },
    process: qemu,
    monitorPath: server.path,
    biosResets: true,
    clock: systemClock,
    timeouts: { ...DEFAULT_KVM_TIMEOUTS, queryMs: 100, commandMs: 5_000, exitMs: 100 },
    view: { ...UNLAUNCHED, state: "running", launched: true },
    listener,
  });
});
afterEach(async () => {
  await session.release();
  await server.close();
});

describe("a guest's session", () => {
  it("reports what QEMU tells, in its order", async () => {
    await session.keepConnected();
    server.emit("BLOCK_IO_ERROR", { "node-name": "disk0-format", nospace: false, reason: "gone" });
    server.emit("VSERPORT_CHANGE", { id: "agent0", open: true });
    server.emit("DEVICE_DELETED", { device: "disk0", path: "/machine/peripheral/disk0" });
    await waitFor(() => told.length === 4);
    expect(told.map((entry) => (typeof entry === "string" ? entry : entry.type))).toEqual([
      "resync",
      "ioError",
      "agent",
      "unplugged",
    ]);
  });

  it("waits for a monitor that is not connected yet", async () => {
    const answer = session.execute("query-status");
    void session.keepConnected();
    await expect(answer).resolves.toMatchObject({ status: "running" });
  });

  it("gives up a command at its deadline, and goes on", async () => {
    await session.keepConnected();
    server.on("query-block", () => new Promise(() => undefined));
    await expect(session.execute("query-block", {}, { deadlineMs: 20 })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
  });

  it("answers at once, as unknown, while QEMU owes an answer, and recovers when it comes", async () => {
    await session.keepConnected();
    let answer: ((value: object) => void) | undefined;
    server.on("query-status", () => new Promise<object>((resolve) => (answer = resolve)));
    expect(await session.runState()).toBeUndefined();
    expect(session.answers).toBe(false);
    expect(await session.runState()).toBeUndefined();
    await waitFor(() => answer !== undefined);
    answer?.({ status: "paused", running: false });
    await waitFor(() => session.answers);
    server.on("query-status", () => ({ status: "paused", running: false }));
    expect(await session.runState()).toBe("paused");
  });

  it("reads anew what a change has done whose caller had given up", async () => {
    await session.keepConnected();
    let answer: ((value: object) => void) | undefined;
    server.on("device_add", () => new Promise<object>((resolve) => (answer = resolve)));
    await expect(session.execute("device_add", { driver: "x" }, { deadlineMs: 20 })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
    told.length = 0;
    // On a busy machine it comes to the server after its caller has gone.
    await waitFor(() => answer !== undefined);
    answer?.({});
    await waitFor(() => told.includes("resync"));
  });

  it("tells a stop that was asked for from one that was not", async () => {
    await session.keepConnected();
    await session.requesting("stop", () => session.execute("stop"));
    await session.until((view) => view.state === "paused", "pausing");
    expect(told.at(-1)).toMatchObject({ transition: "paused", cause: "self" });
    await session.requesting("cont", () => session.execute("cont"));
    await session.until((view) => view.state === "running", "resuming");
    server.on("query-status", () => ({ status: "internal-error", running: false }));
    server.emit("STOP");
    await session.until((view) => view.state === "crashed", "crashing");
    expect(told.at(-1)).toMatchObject({ transition: "crashed", detail: "internal-error" });
  });

  it("takes a request back when QEMU refuses it", async () => {
    await session.keepConnected();
    await expect(session.requesting("reset", () => session.execute("system_reset"))).rejects.toMatchObject({
      code: "QMP_COMMAND_FAILED",
    });
    expect(session.view.requested.size).toBe(0);
  });

  it("ends when the process does, after the last event", async () => {
    await session.keepConnected();
    server.emit("SHUTDOWN", { guest: true, reason: "guest-shutdown" });
    server.hangUp();
    qemu.end({ exitCode: 0 });
    await waitFor(() => told.length === 2);
    expect(told[1]).toMatchObject({ transition: "stopped", cause: "guest", detail: "guest-shutdown" });
  });

  it("fails what is under way when QEMU dies, with its last words", async () => {
    await session.keepConnected();
    server.on("query-block", () => {
      server.hangUp();
      qemu.end({ signal: "SIGSEGV", log: "last words" });
      return new Promise(() => undefined);
    });
    await expect(session.execute("query-block")).rejects.toMatchObject({ code: "GUEST_CRASHED", detail: "last words" });
    await waitFor(() => told.length === 2);
    expect(told[1]).toMatchObject({ transition: "crashed", detail: "QEMU was ended by SIGSEGV: last words" });
  });

  it("connects again when the connection is lost and the process lives", async () => {
    await session.keepConnected();
    server.hangUp();
    await waitFor(() => told.filter((entry) => entry === "resync").length === 2);
    await expect(session.execute("query-status")).resolves.toMatchObject({ status: "running" });
  });

  it("says nothing more once it is released", async () => {
    await session.keepConnected();
    await session.release();
    qemu.end({ exitCode: 0 });
    await expect(session.execute("query-status", {}, { deadlineMs: 1_000 })).rejects.toMatchObject({
      code: expect.stringMatching(/CLOSED|GUEST_CRASHED/) as string,
    });
    expect(told).toEqual(["resync"]);
  });
});
