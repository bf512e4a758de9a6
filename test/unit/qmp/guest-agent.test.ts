import { afterEach, describe, expect, it } from "vitest";
import { AbortedError, ConflictError, DeadlineExceededError, OverflowError, Secret } from "../../../src/core/index.js";
import {
  GuestAgentClient,
  GuestAgentUnavailableError,
  GuestThawError,
  QmpCommandError,
  QmpDisconnectedError,
  QmpProtocolError,
} from "../../../src/qmp/index.js";
import type { GuestAgentClientOptions, TranscriptEntry } from "../../../src/qmp/index.js";
import { FakeCommandError, NO_REPLY } from "../../../src/testing/fake-json-server.js";
import { FakeGuestAgentServer } from "../../../src/testing/fake-guest-agent-server.js";
import type { FakeGuestAgentOptions } from "../../../src/testing/fake-guest-agent-server.js";
import { until } from "./until.js";

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function server(options: FakeGuestAgentOptions = {}): FakeGuestAgentServer {
  const fake = new FakeGuestAgentServer(options);
  cleanups.push(() => fake.close());
  return fake;
}

async function connected(server_: FakeGuestAgentOptions = {}, options: GuestAgentClientOptions = {}) {
  const fake = server(server_);
  const agent = await GuestAgentClient.open({ stream: fake.connect() }, options);
  cleanups.push(() => agent.close());
  return { fake, agent };
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    (value) => new Error(`resolved with ${String(value)}`),
    (error: unknown) => error as Error,
  );
}

const names = (fake: FakeGuestAgentServer): string[] => fake.received.map((command) => command.name);
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe.each(["whole", "bytes"] as const)("a guest agent whose frames come %s", (chunks) => {
  it("is synchronised with, then executes commands", async () => {
    const { fake, agent } = await connected({ chunks });
    await agent.ping();
    expect((await agent.info()).version).toBe("7.2.22");
    expect(await agent.supports("guest-exec")).toBe(true);
    expect(await agent.supports("guest-get-vcpus")).toBe(false);
    expect(names(fake)).toEqual(["guest-sync-delimited", "guest-ping", "guest-info"]);
  });
});

describe("getting into step", () => {
  it("survives the half command that an earlier client left in the agent", async () => {
    const fake = await server().listen();
    const earlier = fake.connect();
    earlier.write('{"execute":"guest-ping","arguments":{"x":"');
    await turn();
    await turn();
    earlier.destroy();
    await until(() => fake.connections === 0);
    const agent = await GuestAgentClient.open({ path: fake.path });
    cleanups.push(() => agent.close());
    await agent.ping();
  });

  it("drops what was meant for an earlier client", async () => {
    const fake = server();
    const stream = fake.connect();
    fake.sendRaw('{"return": {"stale": 1}}\n{"return": 12345}\nhalf a li');
    const agent = await GuestAgentClient.open({ stream });
    cleanups.push(() => agent.close());
    expect((await agent.info()).version).toBe("7.2.22");
  });

  it("waits for an agent that comes up with its guest", async () => {
    const fake = await server({ running: false }).listen();
    const opening = GuestAgentClient.open({ path: fake.path }, { timeouts: { syncMs: 10 } });
    setTimeout(() => fake.setRunning(true), 50);
    const agent = await opening;
    cleanups.push(() => agent.close());
    await agent.ping();
  });

  it("gives up at the deadline when no agent answers, and is idle again", async () => {
    const fake = await server({ running: false }).listen();
    const agent = new GuestAgentClient({ path: fake.path }, { timeouts: { syncMs: 10 } });
    cleanups.push(() => agent.close());
    expect(await rejection(agent.connect({ deadlineMs: 50 }))).toBeInstanceOf(DeadlineExceededError);
    expect(agent.state).toBe("idle");
    fake.setRunning(true);
    await agent.connect();
    expect(agent.state).toBe("running");
  });

  it("happens again after every deadline, so that a late reply is nobody else's", async () => {
    const { fake, agent } = await connected();
    const held = fake.hold("guest-get-host-name");
    expect(await rejection(agent.execute("guest-get-host-name", {}, { deadlineMs: 20 }))).toBeInstanceOf(
      DeadlineExceededError,
    );
    const next = agent.info();
    (await held).reply({ "host-name": "late" });
    expect((await next).version).toBe("7.2.22");
    expect(names(fake)).toEqual(["guest-sync-delimited", "guest-get-host-name", "guest-sync-delimited", "guest-info"]);
  });

  it("fails fast while the agent hangs, and recovers when it goes on", async () => {
    const { fake, agent } = await connected({}, { timeouts: { syncMs: 20 } });
    const held = fake.hold("guest-get-host-name");
    const abort = new AbortController();
    const call = rejection(agent.execute("guest-get-host-name", {}, { signal: abort.signal }));
    const hanging = await held;
    abort.abort();
    expect(await call).toBeInstanceOf(AbortedError);
    const error = await rejection(agent.ping({ deadlineMs: 1000 }));
    expect(error).toBeInstanceOf(GuestAgentUnavailableError);
    expect(error).toMatchObject({ retryable: true });
    hanging.reply({});
    await agent.ping();
  });

  it("ends the call under way when the agent says what answers nothing", async () => {
    const { fake, agent } = await connected();
    const held = fake.hold("guest-get-host-name");
    const call = rejection(agent.execute("guest-get-host-name"));
    const command = await held;
    fake.sendRaw('{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n');
    expect(await call).toBeInstanceOf(QmpProtocolError);
    command.reply({ "host-name": "late" });
    await agent.ping();
  });

  it("is not fooled by numbers without the byte 0xFF, or with a wrong one", async () => {
    const fake = server({ running: false });
    const stream = fake.connect();
    const agent = new GuestAgentClient({ stream });
    cleanups.push(() => agent.close());
    const connecting = agent.connect();
    await until(() => fake.received.length > 0);
    const id = fake.received[0]?.args["id"] as number;
    fake.sendRaw(`{"return": ${id}}\n`);
    fake.sendRaw(Buffer.concat([Buffer.of(0xff), Buffer.from(`{"return": ${id + 1}}\n`)]));
    for (let i = 0; i < 5; i++) await turn();
    expect(agent.state).toBe("connecting");
    fake.sendRaw(Buffer.concat([Buffer.of(0xff), Buffer.from(`{"return": ${id}}\n`)]));
    await connecting;
    expect(agent.state).toBe("running");
  });
});

describe("commands of the agent", () => {
  it("are executed one at a time, in order, and each can be given up while it waits", async () => {
    const { fake, agent } = await connected();
    const held = fake.hold("guest-get-host-name");
    const first = agent.execute("guest-get-host-name");
    const abort = new AbortController();
    const second = rejection(agent.ping({ signal: abort.signal }));
    const third = agent.execute("guest-info");
    const command = await held;
    abort.abort();
    expect(await second).toBeInstanceOf(AbortedError);
    expect(names(fake)).toEqual(["guest-sync-delimited", "guest-get-host-name"]);
    command.reply({ "host-name": "web" });
    expect(await first).toEqual({ "host-name": "web" });
    await third;
    expect(names(fake)).not.toContain("guest-ping");
  });

  it("reject with the agent's words when it refuses", async () => {
    const { agent } = await connected();
    const error = await rejection(agent.execute("guest-get-vcpus"));
    expect(error).toBeInstanceOf(QmpCommandError);
    expect(error).toMatchObject({ errorClass: "CommandNotFound", command: "guest-get-vcpus" });
    await agent.ping();
  });

  it("set passwords that appear nowhere else", async () => {
    const entries: TranscriptEntry[] = [];
    const { fake, agent } = await connected({}, { transcript: (entry) => entries.push(entry) });
    await agent.setUserPassword("root", Secret.of("hunter2"));
    expect(fake.passwords.get("root")).toBe("hunter2");
    fake.on("guest-set-user-password", () => Promise.reject(new Error("could not set hunter3")));
    const error = await rejection(agent.setUserPassword("root", "hunter3"));
    const text = JSON.stringify(entries) + JSON.stringify((error as QmpCommandError).toOperatorJSON());
    for (const secret of ["hunter2", "hunter3", Buffer.from("hunter2").toString("base64")])
      expect(text).not.toContain(secret);
  });

  it("give the network interfaces", async () => {
    const { agent } = await connected();
    expect(await agent.networkInterfaces()).toMatchObject([{ name: "lo" }]);
  });
});

describe("a shutdown or suspend, whose success is not answered", () => {
  it("is accepted when the agent goes on without an error", async () => {
    const { fake, agent } = await connected();
    expect(await agent.shutdown("reboot")).toBe("accepted");
    expect(fake.wentDown).toBe("reboot");
    expect(await agent.suspend("ram")).toBe("accepted");
    await agent.ping();
  });

  it("is rejected when the agent refuses", async () => {
    const { fake, agent } = await connected();
    fake.on("guest-shutdown", () => Promise.reject(new Error("no permission")));
    expect(await rejection(agent.shutdown())).toBeInstanceOf(QmpCommandError);
    await agent.ping();
  });

  it("is told to be silent or disconnected when the guest is gone", async () => {
    const quiet = await connected();
    quiet.fake.on("guest-shutdown", () => {
      quiet.fake.setRunning(false);
      return NO_REPLY;
    });
    expect(await quiet.agent.shutdown("powerdown", { deadlineMs: 30 })).toBe("silent");

    const gone = await connected();
    gone.fake.on("guest-shutdown", () => {
      gone.fake.hangUp();
      return NO_REPLY;
    });
    expect(await gone.agent.shutdown()).toBe("disconnected");
    expect(gone.agent.state).toBe("closed");
  });
});

describe("programs in the guest", () => {
  it("give their exit code and output", async () => {
    const programs = {
      "/bin/cat": (_: readonly string[], input: Buffer) => ({ exitCode: 3, stdout: input, stderr: "warning" }),
    };
    const { agent } = await connected({ programs });
    const result = await agent.exec("/bin/cat", { args: ["-"], input: "räksmörgås" });
    expect(result).toEqual({
      exitCode: 3,
      stdout: Buffer.from("räksmörgås"),
      stderr: Buffer.from("warning"),
      stdoutTruncated: false,
      stderrTruncated: false,
    });
  });

  it("are waited for without keeping others from the agent", async () => {
    let finish!: () => void;
    const running = new Promise<void>((resolve) => (finish = resolve));
    const { agent } = await connected({ programs: { "/bin/sleep": () => running.then(() => ({ signal: 15 })) } });
    const exec = agent.exec("/bin/sleep");
    await agent.ping();
    finish();
    expect(await exec).toMatchObject({ signal: 15 });
  });

  it("are left running when the caller gives up", async () => {
    const { agent } = await connected({ programs: { "/bin/sleep": () => new Promise(() => undefined) } });
    expect(await rejection(agent.exec("/bin/sleep", { deadlineMs: 30 }))).toBeInstanceOf(DeadlineExceededError);
    await agent.ping();
  });

  it("that can't be started are refused", async () => {
    const { agent } = await connected();
    expect(await rejection(agent.exec("/bin/none"))).toBeInstanceOf(QmpCommandError);
  });
});

describe("files of the guest", () => {
  it("are written and read in pieces, whatever they hold", async () => {
    const { fake, agent } = await connected();
    const data = Buffer.from(Array.from({ length: 1_000_003 }, (_, i) => (i * 7) % 256));
    await agent.writeFile("/tmp/a", data);
    expect(fake.files.get("/tmp/a")?.equals(data)).toBe(true);
    expect((await agent.readFile("/tmp/a")).equals(data)).toBe(true);
    await agent.writeFile("/tmp/a", "end", { append: true });
    expect(fake.files.get("/tmp/a")?.length).toBe(data.length + 3);
    expect(fake.openFiles).toBe(0);
  });

  it("may be empty", async () => {
    const { agent } = await connected({ files: { "/empty": "" } });
    expect((await agent.readFile("/empty")).length).toBe(0);
    await agent.writeFile("/new", "");
    expect((await agent.readFile("/new")).length).toBe(0);
  });

  it("are closed in the guest when they are too long, can't be read, or the caller gives up", async () => {
    const { fake, agent } = await connected({ files: { "/long": Buffer.alloc(1_000_000) } });
    expect(await rejection(agent.readFile("/long", { maxBytes: 1000 }))).toBeInstanceOf(OverflowError);
    fake.on("guest-file-read", () => Promise.reject(new Error("I/O error")));
    expect(await rejection(agent.readFile("/long"))).toBeInstanceOf(QmpCommandError);
    const abort = new AbortController();
    fake.on("guest-file-read", () => {
      abort.abort();
      return { count: 0, "buf-b64": "", eof: false };
    });
    expect(await rejection(agent.readFile("/long", { signal: abort.signal }))).toBeInstanceOf(AbortedError);
    await until(() => fake.openFiles === 0);
    expect(fake.openFiles).toBe(0);
  });

  it("whose agent reads nothing for ever are given up", async () => {
    const { fake, agent } = await connected({ files: { "/odd": "x" } });
    fake.on("guest-file-read", () => ({ count: 0, "buf-b64": "", eof: false }));
    expect(await rejection(agent.readFile("/odd"))).toBeInstanceOf(QmpProtocolError);
    fake.on("guest-file-write", () => ({ count: -1, eof: false }));
    expect(await rejection(agent.writeFile("/odd", "data"))).toBeInstanceOf(QmpProtocolError);
  });
});

describe("frozen file systems", () => {
  it("thaw after the work, and its result is given", async () => {
    const { fake, agent } = await connected();
    const result = await agent.withFrozenFilesystems(async () => {
      expect(fake.frozen).toBe(true);
      await agent.ping();
      return "copied";
    });
    expect(result).toBe("copied");
    expect(fake.frozen).toBe(false);
  });

  it("thaw when the work fails, is aborted, or takes too long", async () => {
    const { fake, agent } = await connected();
    expect(await rejection(agent.withFrozenFilesystems(() => Promise.reject(new Error("disk full"))))).toMatchObject({
      message: "disk full",
    });
    expect(fake.frozen).toBe(false);

    const abort = new AbortController();
    const aborted = agent.withFrozenFilesystems(
      (signal) => {
        abort.abort();
        expect(signal.aborted).toBe(true);
        return new Promise(() => undefined);
      },
      { signal: abort.signal },
    );
    expect(await rejection(aborted)).toBeInstanceOf(AbortedError);
    expect(fake.frozen).toBe(false);

    const slow = agent.withFrozenFilesystems(() => new Promise(() => undefined), { frozenMs: 20 });
    expect(await rejection(slow)).toBeInstanceOf(DeadlineExceededError);
    expect(fake.frozen).toBe(false);
  });

  it("thaw when nobody knows whether they were frozen", async () => {
    const { fake, agent } = await connected();
    fake.on("guest-fsfreeze-freeze", () => {
      fake.frozen = true;
      return NO_REPLY;
    });
    expect(await rejection(agent.withFrozenFilesystems(() => Promise.resolve(), { deadlineMs: 20 }))).toBeInstanceOf(
      DeadlineExceededError,
    );
    expect(fake.frozen).toBe(false);
  });

  it("thaw although the first attempt fails", async () => {
    const { fake, agent } = await connected({}, { timeouts: { pollMaxMs: 5 } });
    let attempts = 0;
    fake.on("guest-fsfreeze-thaw", () => {
      if (++attempts < 3) throw new Error("busy");
      fake.frozen = false;
      return 2;
    });
    await agent.withFrozenFilesystems(() => Promise.resolve());
    expect(attempts).toBe(3);
  });

  it("that do not thaw are reported, with what the work threw", async () => {
    const { fake, agent } = await connected({}, { timeouts: { thawMs: 30, pollMaxMs: 5 } });
    fake.on("guest-fsfreeze-thaw", () => Promise.reject(new Error("never")));
    const error = await rejection(agent.withFrozenFilesystems(() => Promise.reject(new Error("disk full"))));
    expect(error).toBeInstanceOf(GuestThawError);
    expect(error.cause).toMatchObject({ message: "disk full" });
    expect(await rejection(agent.thaw())).toBeInstanceOf(GuestThawError);
  });

  it("that thawed by themselves make the work worthless", async () => {
    const { fake, agent } = await connected();
    const work = (): Promise<void> => {
      fake.frozen = false;
      return Promise.resolve();
    };
    expect(await rejection(agent.withFrozenFilesystems(work))).toBeInstanceOf(ConflictError);
  });

  it("are not asked to thaw by an agent that has no such command", async () => {
    const { fake, agent } = await connected();
    fake.on("guest-fsfreeze-freeze", () => {
      throw new FakeCommandError("CommandNotFound", "The command guest-fsfreeze-freeze has been disabled");
    });
    const error = await rejection(agent.withFrozenFilesystems(() => Promise.resolve()));
    expect(error).toBeInstanceOf(QmpCommandError);
    expect(names(fake)).not.toContain("guest-fsfreeze-thaw");
  });
});

describe("a hostile guest", () => {
  it("may send an endless line: the session ends, memory stays bounded", async () => {
    const { fake, agent } = await connected({}, { maxMessageBytes: 1024 * 1024 });
    for (let i = 0; i < 20 && agent.state === "running"; i++) {
      fake.sendRaw("x".repeat(100_000));
      await turn();
    }
    expect(await agent.closed).toMatchObject({ reason: "protocol", error: { fault: "too-long" } });
    expect(await rejection(agent.ping())).toBeInstanceOf(QmpDisconnectedError);
  });

  it("may send deep nesting, garbage and unasked replies: the next command works or fails cleanly", async () => {
    const { fake, agent } = await connected();
    fake.sendRaw(
      '\u0000\u0001garbage\n[1,2]\n7\n{}\n{"return":{},"id":1}\n{"error":{"class":"a","desc":"b"},"id":5}\n',
    );
    await turn();
    await turn();
    await agent.ping();
    fake.sendRaw(`{"return":${"[".repeat(2000)}${"]".repeat(2000)}}\n`);
    expect(await agent.closed).toMatchObject({ reason: "protocol", error: { fault: "too-complex" } });
  });

  it("may hang up at any time: calls reject, also those that wait and those that synchronise", async () => {
    const { fake, agent } = await connected();
    const held = fake.hold("guest-get-host-name");
    const calls = Array.from({ length: 3 }, () => rejection(agent.execute("guest-get-host-name")));
    await held;
    fake.hangUp();
    const errors = await Promise.all(calls);
    for (const error of errors) expect(error).toBeInstanceOf(QmpDisconnectedError);
    expect(errors.map((error) => (error as QmpDisconnectedError).maybeExecuted)).toEqual([true, false, false]);
  });
});
