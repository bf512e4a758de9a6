import { mkdtemp, rename, rm, symlink } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import {
  AbortedError,
  BusyError,
  DeadlineExceededError,
  InvalidArgumentError,
  NotSupportedError,
  Secret,
  VirtualClock,
} from "../../../src/core/index.js";
import {
  QmpClient,
  QmpCommandError,
  QmpConnectError,
  QmpDisconnectedError,
  QmpProtocolError,
  QmpStateError,
} from "../../../src/qmp/index.js";
import type { QmpClientOptions, QmpStreamEvent, TranscriptEntry } from "../../../src/qmp/index.js";
import { NO_REPLY } from "../../../src/testing/fake-json-server.js";
import { FakeQmpServer } from "../../../src/testing/fake-qmp-server.js";
import type { FakeQmpServerOptions } from "../../../src/testing/fake-qmp-server.js";
import { until } from "./until.js";

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

type Way = "unix" | "memory";

async function connected(server: FakeQmpServerOptions = {}, options: QmpClientOptions = {}, way: Way = "memory") {
  const fake = new FakeQmpServer(server);
  cleanups.push(() => fake.close());
  if (way === "unix") await fake.listen();
  const client = new QmpClient(way === "unix" ? { path: fake.path } : { stream: fake.connect() }, options);
  cleanups.push(() => client.close());
  await client.connect();
  return { fake, client };
}

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "qmp-test-"));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** The error a promise rejects with. */
async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    (value) => new Error(`resolved with ${String(value)}`),
    (error: unknown) => error as Error,
  );
}

async function collect<T>(events: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const event of events) all.push(event);
  return all;
}

describe.each<{ way: Way; chunks: "whole" | "bytes" }>([
  { way: "unix", chunks: "whole" },
  { way: "unix", chunks: "bytes" },
  { way: "memory", chunks: "whole" },
  { way: "memory", chunks: "bytes" },
])("a client over $way, frames cut: $chunks", ({ way, chunks }) => {
  it("greets, negotiates, executes and closes", async () => {
    const { fake, client } = await connected({ chunks }, {}, way);
    expect(client.state).toBe("running");
    expect(client.greeting?.version).toEqual({ major: 7, minor: 2, micro: 22, package: "fake" });
    expect(client.capabilities).toEqual(["oob"]);
    expect(await client.execute("query-status")).toMatchObject({ status: "running" });
    await client.close();
    expect(client.state).toBe("closed");
    expect(await client.closed).toEqual({ reason: "closed" });
    expect(fake.received.map((command) => command.name)).toEqual(["qmp_capabilities", "query-status"]);
  });

  it("matches replies with commands when many are under way", async () => {
    const { client } = await connected({ chunks, handlers: { "query-name": ({ args }) => args } }, {}, way);
    const calls = Array.from({ length: 200 }, (_, n) => client.executeUntyped("query-name", { n }));
    expect(await Promise.all(calls)).toEqual(calls.map((_, n) => ({ n })));
  });

  it("carries text of any language and integers of 64 bits both ways", async () => {
    const { client } = await connected({ chunks, handlers: { echo: ({ args }) => args } }, {}, way);
    const args = { text: '日本語 🦕 \u0000 \\ "', big: 2n ** 64n - 1n, negative: -(2n ** 63n), small: 5 };
    expect(await client.executeUntyped("echo", args)).toEqual(args);
  });

  it("delivers events in order, before the reply of the command that caused them", async () => {
    const { client } = await connected({ chunks }, {}, way);
    const events = client.events({ names: ["STOP", "RESUME"] });
    const stopped = client.waitFor("STOP");
    await client.execute("stop");
    await client.execute("cont");
    await stopped;
    await client.close();
    expect((await collect(events)).map((event) => event.event)).toEqual(["STOP", "RESUME", "disconnected"]);
  });
});

describe("connecting", () => {
  it("waits for a socket that is not there yet", async () => {
    const folder = await temporaryFolder();
    const path = join(folder, "late");
    const client = new QmpClient({ path });
    cleanups.push(() => client.close());
    const connecting = client.connect();
    expect(client.state).toBe("connecting");
    const fake = new FakeQmpServer();
    cleanups.push(() => fake.close());
    setImmediate(() => void fake.listen(path));
    await connecting;
    expect(client.state).toBe("running");
  });

  it("tries again while nobody listens on the socket, as a killed QEMU leaves it", async () => {
    const folder = await temporaryFolder();
    const path = join(folder, "dead");
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(join(folder, "first"), resolve));
    await rename(join(folder, "first"), path);
    await new Promise((resolve) => dead.close(resolve));
    const refused = await rejection(QmpClient.open({ path }, { deadlineMs: 100 }));
    expect(refused.cause).toMatchObject({ code: "ECONNREFUSED" });

    const opening = QmpClient.open({ path });
    const fake = new FakeQmpServer();
    cleanups.push(() => fake.close());
    await rm(path);
    await fake.listen(path);
    const client = await opening;
    cleanups.push(() => client.close());
    expect(await client.execute("query-status")).toMatchObject({ running: true });
  });

  it("gives up at its deadline, is idle again, and may be connected later", async () => {
    const path = join(await temporaryFolder(), "never");
    const client = new QmpClient({ path });
    cleanups.push(() => client.close());
    const error = await rejection(client.connect({ deadlineMs: 100 }));
    expect(error).toBeInstanceOf(DeadlineExceededError);
    expect(error.cause).toMatchObject({ code: "ENOENT" });
    expect(client.state).toBe("idle");
    const fake = new FakeQmpServer();
    cleanups.push(() => fake.close());
    await fake.listen(path);
    await client.connect();
    expect(client.state).toBe("running");
  });

  it("stops at once when aborted, and leaves nothing open", async () => {
    const path = join(await temporaryFolder(), "never");
    const abort = new AbortController();
    const connecting = QmpClient.open({ path }, { signal: abort.signal });
    abort.abort(new Error("enough"));
    const error = await rejection(connecting);
    expect(error).toBeInstanceOf(AbortedError);
    expect(error.cause).toMatchObject({ message: "enough" });
  });

  it("reaches sockets whose path is longer than an address can hold", async () => {
    const folder = await temporaryFolder();
    const name = "n".repeat(120);
    const fake = new FakeQmpServer();
    cleanups.push(() => fake.close());
    await fake.listen(join(folder, "s"));
    const long = join(folder, name);
    await symlink(join(folder, "s"), long);
    expect(Buffer.byteLength(long)).toBeGreaterThan(107);
    const client = await QmpClient.open({ path: long });
    cleanups.push(() => client.close());
    expect(client.state).toBe("running");
  });

  it("says that another client holds the monitor when nobody greets", async () => {
    const fake = await new FakeQmpServer().listen();
    cleanups.push(() => fake.close());
    const first = await QmpClient.open({ path: fake.path });
    cleanups.push(() => first.close());
    const error = await rejection(QmpClient.open({ path: fake.path }, { timeouts: { greetingMs: 30 } }));
    expect(error).toBeInstanceOf(DeadlineExceededError);
    expect((error as DeadlineExceededError).operation).toBe("waiting for QEMU's greeting");
    expect((error as DeadlineExceededError).remedy).toContain("another");
  });

  it("is served when the first client leaves in time", async () => {
    const fake = await new FakeQmpServer().listen();
    cleanups.push(() => fake.close());
    const first = await QmpClient.open({ path: fake.path });
    const second = QmpClient.open({ path: fake.path });
    await first.execute("query-status");
    await first.close();
    const client = await second;
    cleanups.push(() => client.close());
    expect(client.state).toBe("running");
  });

  it.each<[string, FakeQmpServerOptions, string]>([
    ["a greeting of another protocol", { greeting: "220 mail.example ESMTP\r\n" }, "not-json"],
    ["JSON that is no greeting", { greeting: { hello: "world" } }, "bad-greeting"],
    ["a greeting without a version", { greeting: { QMP: { capabilities: [] } } }, "bad-greeting"],
    [
      "an error before the greeting",
      { greeting: { error: { class: "GenericError", desc: "busy" } } },
      "rejected-input",
    ],
  ])("refuses %s", async (_, options, fault) => {
    const fake = new FakeQmpServer(options);
    cleanups.push(() => fake.close());
    const error = await rejection(QmpClient.open({ stream: fake.connect() }));
    expect(error).toBeInstanceOf(QmpProtocolError);
    expect((error as QmpProtocolError).fault).toBe(fault);
  });

  it("takes events that come before the greeting", async () => {
    const greeting =
      '{"event":"POWERDOWN","timestamp":{"seconds":1,"microseconds":2}}\n{"QMP":{"version":{"qemu":{"major":2,"minor":0,"micro":0},"package":""},"capabilities":[]}}\n';
    const fake = new FakeQmpServer({ greeting });
    cleanups.push(() => fake.close());
    const client = new QmpClient({ stream: fake.connect() });
    cleanups.push(() => client.close());
    const events = client.events();
    await client.connect();
    expect((await events.next()).value).toMatchObject({
      event: "POWERDOWN",
      timestamp: { seconds: 1, microseconds: 2 },
    });
    expect(client.capabilities).toEqual([]);
  });

  it("tells a peer that hangs up, or refuses the negotiation, from one that is silent", async () => {
    const hangsUp = new FakeQmpServer({ greeting: false });
    cleanups.push(() => hangsUp.close());
    const stream = hangsUp.connect();
    setImmediate(() => hangsUp.hangUp());
    expect(await rejection(QmpClient.open({ stream }))).toMatchObject({
      code: "QMP_CONNECT_FAILED",
      phase: "greeting",
    });

    const refuses = new FakeQmpServer({ handlers: { qmp_capabilities: () => Promise.reject(new Error("no")) } });
    cleanups.push(() => refuses.close());
    const error = await rejection(QmpClient.open({ stream: refuses.connect() }));
    expect(error).toBeInstanceOf(QmpConnectError);
    expect(error).toMatchObject({ phase: "negotiation" });
    expect(error.cause).toBeInstanceOf(QmpCommandError);
  });

  it("negotiates no out-of-band execution when told not to", async () => {
    const { client } = await connected({}, { oob: false });
    expect(client.capabilities).toEqual([]);
    expect(await rejection(client.execute("query-yank", {}, { oob: true }))).toBeInstanceOf(NotSupportedError);
  });

  it("refuses a path that can't be one", async () => {
    expect(await rejection(QmpClient.open({ path: "/tmp/a\0b" }))).toBeInstanceOf(InvalidArgumentError);
    expect(await rejection(QmpClient.open({ path: "" }))).toBeInstanceOf(InvalidArgumentError);
  });

  it("is closed by close() while it connects", async () => {
    const client = new QmpClient({ path: join(await temporaryFolder(), "never") });
    const connecting = rejection(client.connect());
    await client.close();
    expect(await connecting).toMatchObject({ code: "CLOSED" });
    expect(client.state).toBe("closed");
    expect(await rejection(client.connect())).toBeInstanceOf(QmpStateError);
  });
});

describe("commands", () => {
  it("rejects with QEMU's class and words, and goes on", async () => {
    const { client } = await connected();
    const error = await rejection(client.executeUntyped("no-such-command"));
    expect(error).toBeInstanceOf(QmpCommandError);
    expect(error).toMatchObject({ errorClass: "CommandNotFound", command: "no-such-command" });
    expect((error as QmpCommandError).desc).toContain("has not been found");
    expect(await client.execute("query-status")).toMatchObject({ running: true });
  });

  it("keeps at most eight in-band commands unanswered, and sends the others in order", async () => {
    const { fake, client } = await connected({ handlers: { step: ({ args }) => args } });
    const held = fake.hold("step");
    const calls = Array.from({ length: 20 }, (_, n) => client.executeUntyped("step", { n }));
    const first = await held;
    await turn();
    expect(fake.received.filter((command) => command.name === "step")).toHaveLength(8);
    first.reply({ n: 0 });
    expect(await Promise.all(calls)).toEqual(calls.map((_, n) => ({ n })));
    expect(fake.received.slice(1).map((command) => command.args["n"])).toEqual(calls.map((_, n) => n));
  });

  it("executes out of band while all in-band commands hang", async () => {
    const { fake, client } = await connected({ handlers: { "query-yank": () => [] } });
    const held = fake.hold("hang");
    const calls = Array.from({ length: 9 }, () => rejection(client.executeUntyped("hang")));
    const first = await held;
    expect(await client.execute("query-yank", {}, { oob: true })).toEqual([]);
    first.drop();
    await client.close();
    expect(
      (await Promise.all(calls)).map((error) => (error as QmpDisconnectedError).maybeExecuted).filter(Boolean),
    ).toHaveLength(8);
  });

  it("ends a call at its deadline, and never takes its late reply for another's", async () => {
    const late: unknown[] = [];
    const { fake, client } = await connected(
      { handlers: { next: () => ({ answer: "next" }) } },
      { onLateReply: (reply) => late.push(reply) },
    );
    const held = fake.hold("slow");
    const error = await rejection(client.executeUntyped("slow", {}, { deadlineMs: 20 }));
    expect(error).toBeInstanceOf(DeadlineExceededError);
    expect(error).toMatchObject({ operation: "slow", timeoutMs: 20 });
    const next = client.executeUntyped("next");
    (await held).reply({ answer: "slow" });
    expect(await next).toEqual({ answer: "next" });
    expect(late).toEqual([{ command: "slow", id: expect.any(Number) as number }]);
  });

  it("tells of a late refusal too", async () => {
    const late: unknown[] = [];
    const onLateReply = (reply: unknown): void => {
      late.push(reply);
      throw new Error("the hook is broken");
    };
    const { fake, client } = await connected({}, { onLateReply });
    const held = fake.hold("slow");
    await rejection(client.executeUntyped("slow", {}, { deadlineMs: 20 }));
    (await held).refuse("DeviceNotFound", "gone");
    await client.execute("query-status");
    expect(late).toMatchObject([{ command: "slow", error: { class: "DeviceNotFound", desc: "gone" } }]);
  });

  it("aborts a call that is under way, one that waits, and one that has not begun", async () => {
    const { fake, client } = await connected();
    const held = fake.hold("hang");
    const abort = new AbortController();
    const underWay = rejection(client.executeUntyped("hang", {}, { signal: abort.signal }));
    const others = Array.from({ length: 7 }, () => rejection(client.executeUntyped("x-rest")));
    const waiting = rejection(client.executeUntyped("waiting", {}, { signal: abort.signal }));
    const first = await held;
    abort.abort("changed my mind");
    expect(await underWay).toBeInstanceOf(AbortedError);
    expect(await waiting).toBeInstanceOf(AbortedError);
    expect(await rejection(client.executeUntyped("late", {}, { signal: abort.signal }))).toBeInstanceOf(AbortedError);
    first.reply();
    await Promise.all(others);
    await client.execute("query-status");
    expect(fake.received.map((command) => command.name)).not.toContain("waiting");
    expect(fake.received.map((command) => command.name)).not.toContain("late");
  });

  it("lets calls that were given up keep their places until QEMU has answered", async () => {
    const { fake, client } = await connected();
    const held = fake.hold("hang");
    const given = Array.from({ length: 8 }, () => rejection(client.executeUntyped("hang", {}, { deadlineMs: 20 })));
    const first = await held;
    await Promise.all(given);
    const waiting = await rejection(client.executeUntyped("query-status", {}, { deadlineMs: 20 }));
    expect((waiting as DeadlineExceededError).operation).toBe("query-status (never sent)");
    first.reply();
    expect(await client.execute("query-status")).toMatchObject({ running: true });
  });

  it("forgets calls that were given up before they were sent", async () => {
    const { fake, client } = await connected();
    const held = fake.hold("hang");
    const stuck = Array.from({ length: 8 }, () => rejection(client.executeUntyped("hang", {})));
    await held;
    const before = process.memoryUsage().heapUsed;
    for (let round = 0; round < 20; round++) {
      await Promise.all(
        Array.from({ length: 500 }, () =>
          rejection(client.executeUntyped("query-status", { pad: "x".repeat(1000) }, { deadlineMs: 1 })),
        ),
      );
    }
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(50 * 1024 * 1024);
    fake.hangUp();
    await Promise.all(stuck);
  });

  it("uses the clock it was given for deadlines", async () => {
    const clock = new VirtualClock();
    const { fake, client } = await connected({}, { clock });
    const held = fake.hold("hang");
    const call = rejection(client.executeUntyped("hang", {}, { deadlineMs: 3_600_000 }));
    await held;
    await clock.tick(3_599_999);
    expect(client.state).toBe("running");
    await clock.tick(1);
    expect(await call).toBeInstanceOf(DeadlineExceededError);
    expect(clock.pending).toBe(0);
  });

  it.each([0, -1, NaN, Infinity])("refuses a deadline of %d ms", async (deadlineMs) => {
    const { client } = await connected();
    expect(await rejection(client.execute("query-status", {}, { deadlineMs }))).toBeInstanceOf(InvalidArgumentError);
  });

  it("refuses arguments that QEMU could not read, and goes on", async () => {
    const { fake, client } = await connected();
    expect(await rejection(client.executeUntyped("x", { name: "\ud800" }))).toBeInstanceOf(InvalidArgumentError);
    expect(await client.execute("query-status")).toMatchObject({ running: true });
    expect(fake.received.map((command) => command.name)).not.toContain("x");
  });

  it("refuses to queue without end", async () => {
    const { fake, client } = await connected();
    const held = fake.hold("hang");
    const calls = Array.from({ length: 16_384 + 9 }, () => rejection(client.executeUntyped("hang")));
    await held;
    expect(await calls.at(-1)).toBeInstanceOf(BusyError);
    fake.hangUp();
    expect((await Promise.all(calls)).filter((error) => error instanceof BusyError)).toHaveLength(1);
  });

  it("passes descriptors only where the connection can", async () => {
    const { client } = await connected();
    expect(await rejection(client.executeWithFds("getfd", { fdname: "a" }, [0]))).toBeInstanceOf(NotSupportedError);
  });

  it("refuses commands before it is connected", async () => {
    const client = new QmpClient({ path: "/nowhere" });
    const error = await rejection(client.execute("query-status"));
    expect(error).toBeInstanceOf(QmpStateError);
    expect(error).toMatchObject({ state: "idle", required: ["running"] });
    await client.close();
  });
});

describe("the end of a session", () => {
  it("rejects what is under way with how QEMU ended, and says what may have been executed", async () => {
    const exitInfo = () => Promise.resolve({ exitCode: 1, stderr: "qemu: could not allocate memory\n" });
    const { fake, client } = await connected({}, { exitInfo, instance: { uuid: "u-1", name: "web" } });
    const held = fake.hold("hang");
    const calls = Array.from({ length: 10 }, () => rejection(client.executeUntyped("hang")));
    await held;
    const events = client.events();
    fake.hangUp();
    const errors = (await Promise.all(calls)) as QmpDisconnectedError[];
    for (const error of errors) {
      expect(error).toBeInstanceOf(QmpDisconnectedError);
      expect(error).toMatchObject({
        command: "hang",
        exitCode: 1,
        detail: "qemu: could not allocate memory\n",
        instance: { uuid: "u-1" },
      });
      expect(error.message).not.toContain("memory");
    }
    expect(errors.map((error) => error.maybeExecuted)).toEqual([...Array<boolean>(8).fill(true), false, false]);
    const [end] = await collect(events);
    expect(end).toMatchObject({ event: "disconnected", data: { reason: "lost", error: { exitCode: 1 } } });
    expect(await rejection(client.execute("query-status"))).toMatchObject({
      code: "QMP_DISCONNECTED",
      maybeExecuted: false,
    });
  });

  it("does not wait for ever to learn how QEMU ended", async () => {
    const exitInfo = () => new Promise<undefined>(() => undefined);
    const { fake, client } = await connected({}, { exitInfo, timeouts: { exitInfoMs: 20 } });
    fake.hangUp();
    expect(await client.closed).toMatchObject({ reason: "lost" });
  });

  it("rejects waits for events", async () => {
    const { fake, client } = await connected();
    const wait = rejection(client.waitFor("SHUTDOWN"));
    fake.hangUp();
    expect(await wait).toBeInstanceOf(QmpDisconnectedError);
    expect(await rejection(client.waitFor("SHUTDOWN"))).toBeInstanceOf(QmpDisconnectedError);
  });

  it.each(["with a reply", "without a reply"])("takes quit for done when QEMU hangs up %s", async (how) => {
    const handlers = how === "with a reply" ? {} : { quit: () => NO_REPLY };
    const { fake, client } = await connected({ handlers });
    const held = how === "with a reply" ? undefined : fake.hold("quit");
    const quitting = client.quit();
    if (held !== undefined) {
      (await held).drop();
      fake.hangUp();
    }
    expect(await quitting).toEqual({ reason: "quit" });
    expect(client.state).toBe("closed");
  });

  it("rejects a quit that QEMU refuses or ignores", async () => {
    const { client } = await connected({ handlers: { quit: () => NO_REPLY } });
    expect(await rejection(client.quit({ deadlineMs: 20 }))).toBeInstanceOf(DeadlineExceededError);
  });

  it("sends what was asked for before close()", async () => {
    const { fake, client } = await connected({}, {}, "unix");
    const stopped = rejection(client.execute("stop"));
    await client.close();
    expect(await stopped).toMatchObject({ maybeExecuted: true });
    await until(() => fake.paused);
    expect(fake.paused).toBe(true);
  });

  it("may be closed twice, and by await using", async () => {
    const { client } = await connected();
    await Promise.all([client.close(), client.close()]);
    await client.close();
    {
      const fake = new FakeQmpServer();
      await using scoped = await QmpClient.open({ stream: fake.connect() });
      expect(scoped.state).toBe("running");
    }
  });
});

describe("events", () => {
  it("go to each reader by name and predicate", async () => {
    const { fake, client } = await connected();
    const all = client.events();
    const some = client.events({ names: ["DEVICE_DELETED"], predicate: (event) => event.data.device === "b" });
    fake.emit("DEVICE_DELETED", { device: "a", path: "/a" });
    fake.emit("STOP");
    fake.emit("DEVICE_DELETED", { device: "b", path: "/b" });
    await client.execute("query-status");
    await client.close();
    expect((await collect(all)).map((event) => event.event)).toEqual([
      "DEVICE_DELETED",
      "STOP",
      "DEVICE_DELETED",
      "disconnected",
    ]);
    expect((await collect(some)).map((event) => ("timestamp" in event ? event.data : event.event))).toEqual([
      { device: "b", path: "/b" },
      "disconnected",
    ]);
  });

  it("tell a slow reader how many it has lost, and never hold up the session", async () => {
    const { fake, client } = await connected();
    const events = client.events({ capacity: 10 });
    fake.flood("RTC_CHANGE", 1000, { offset: 1, "qom-path": "/rtc" });
    await client.execute("query-status");
    await client.close();
    const read = await collect<QmpStreamEvent>(events);
    expect(read[0]).toEqual({ event: "overflow", data: { dropped: 991 } });
    expect(read.at(-1)).toMatchObject({ event: "disconnected" });
    expect(read).toHaveLength(11);
  });

  it("end at the signal, and with the last event for readers that come late", async () => {
    const { client } = await connected();
    const abort = new AbortController();
    const events = client.events({ signal: abort.signal });
    abort.abort();
    expect(await collect(events)).toEqual([]);
    await client.close();
    expect(await collect(client.events())).toEqual([{ event: "disconnected", data: { reason: "closed" } }]);
  });

  it("can be waited for one by one, with a predicate, a deadline and a signal", async () => {
    const { fake, client } = await connected();
    const b = client.waitFor("DEVICE_DELETED", (event) => event.data.device === "b");
    const never = rejection(client.waitFor("RESET", undefined, { deadlineMs: 20 }));
    const abort = new AbortController();
    const aborted = rejection(client.waitFor("RESET", undefined, { signal: abort.signal }));
    const broken = rejection(client.waitFor("DEVICE_DELETED", () => { throw new Error("oops"); })); // prettier-ignore
    abort.abort();
    fake.emit("DEVICE_DELETED", { device: "a", path: "/a" });
    fake.emit("DEVICE_DELETED", { device: "b", path: "/b" });
    expect((await b).data.path).toBe("/b");
    expect(await never).toBeInstanceOf(DeadlineExceededError);
    expect(await aborted).toBeInstanceOf(AbortedError);
    expect(await broken).toMatchObject({ message: "oops" });
  });

  it("do no harm when nobody looks at a wait that fails", async () => {
    const { client } = await connected();
    void client.waitFor("RESET", undefined, { deadlineMs: 1 });
    await rejection(client.waitFor("RESET", undefined, { deadlineMs: 10 }));
    expect(client.state).toBe("running");
  });
});

describe("the transcript", () => {
  it("has both directions, and no secrets", async () => {
    const entries: TranscriptEntry[] = [];
    const { client } = await connected(
      {
        handlers: {
          set_password: () => ({}),
          "object-add": () => ({}),
          "guest-file-read": () => ({ "buf-b64": "c2VjcmV0LWZpbGU=" }),
        },
      },
      { transcript: (entry) => entries.push(entry) },
    );
    await client.execute("set_password", { protocol: "vnc", password: "hunter2" });
    await client.execute("object-add", { "qom-type": "secret", id: "s0", data: "sekrit-data" });
    await client.executeUntyped("guest-file-read", { handle: 1 });
    const refused = await rejection(client.execute("change-vnc-password", { password: "hunter3" }));
    expect(refused).toBeInstanceOf(QmpCommandError);
    const text = JSON.stringify(entries);
    for (const secret of ["hunter2", "sekrit-data", "c2VjcmV0LWZpbGU", "hunter3"]) expect(text).not.toContain(secret);
    expect(entries.filter((entry) => entry.command === "set_password").map((entry) => entry.direction)).toEqual([
      "sent",
      "received",
    ]);
    expect(text).toContain("[redacted]");
    expect(text).toContain("s0");
  });

  it("does not have what is handed over as a Secret, wherever it stands", async () => {
    const entries: TranscriptEntry[] = [];
    const { fake, client } = await connected(
      { handlers: { x: () => ({}) } },
      { transcript: (entry) => entries.push(entry) },
    );
    await client.executeUntyped("x", {
      list: [Secret.of("in-list")],
      deep: { member: Secret.of("in-member") },
      plain: "shown",
    });
    expect(fake.received.at(-1)?.args).toEqual({ list: ["in-list"], deep: { member: "in-member" }, plain: "shown" });
    const text = JSON.stringify(entries);
    expect(text).toContain("shown");
    for (const secret of ["in-list", "in-member"]) expect(text).not.toContain(secret);
  });

  it("may throw without harm", async () => {
    const { client } = await connected({}, { transcript: () => { throw new Error("disk full"); } }); // prettier-ignore
    expect(await client.execute("query-status")).toMatchObject({ running: true });
  });

  it("secrets do not get into errors that quote them", async () => {
    const { fake, client } = await connected();
    const held = fake.hold("set_password");
    const call = rejection(client.execute("set_password", { protocol: "vnc", password: "hunter2" }));
    (await held).refuse("GenericError", "bad password 'hunter2'");
    const error = await call;
    expect((error as QmpCommandError).desc).toBe("bad password '[redacted]'");
    expect(JSON.stringify((error as QmpCommandError).toOperatorJSON())).not.toContain("hunter2");
  });
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
