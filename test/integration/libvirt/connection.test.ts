/** Connections to a real daemon: reading and writing, calls in numbers, events, limits, and a daemon that hangs or dies. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { LibvirtConnection, LibvirtDisconnectedError } from "../../../src/libvirt/rpc/index.js";
import type { LibvirtConnectionEvent, LibvirtConnectionOptions, LibvirtError } from "../../../src/libvirt/rpc/index.js";
import { startLibvirtd } from "../../lab/libvirtd.js";
import type { LabLibvirtd } from "../../lab/libvirtd.js";

const KIB = 1024;
const STRING_LIMIT = 4 * KIB * KIB;
const cleanups: (() => Promise<unknown>)[] = [];
let daemon: LabLibvirtd;

beforeAll(async () => {
  daemon = await startLibvirtd({ listen: true });
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

afterAll(() => daemon.remove());

async function connected(options: LibvirtConnectionOptions = {}, uri = daemon.uri("test")): Promise<LibvirtConnection> {
  const connection = await LibvirtConnection.open(uri, options);
  cleanups.push(() => connection.close());
  return connection;
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("resolved"),
    (error: unknown) => error as Error,
  );
}

/** A call of low priority: no more than four of them are on their way at once. */
const SLOW = "connectGetCapabilities";

/** Runs a task while the daemon is stopped. */
async function frozen(task: () => Promise<void>): Promise<void> {
  await daemon.kill("SIGSTOP");
  try {
    await task();
  } finally {
    await daemon.kill("SIGCONT");
  }
}

function testDomain(name: string, description = ""): string {
  return `<domain type='test'><name>${name}</name><memory>8192</memory><os><type>hvm</type></os><description>${description}</description></domain>`;
}

describe("a connection to a daemon", () => {
  it("opens over UNIX and TCP, calls, and closes", async () => {
    for (const uri of [daemon.uri("test"), `test+tcp://127.0.0.1:${daemon.tcpPort}/default`]) {
      const connection = await LibvirtConnection.open(uri);
      expect(await connection.call("connectGetUri")).toEqual({ uri: "test:///default" });
      const { libVer } = await connection.call("connectGetLibVersion");
      expect(libVer).toBeGreaterThanOrEqual(9_000_000n);
      await connection.close();
      expect(connection.closure).toEqual({ reason: "closed" });
      expect(await rejection(connection.call("connectGetUri"))).toMatchObject({ maybeExecuted: false });
    }
  });

  it("refuses changes on the socket for reading", async () => {
    const uri = `test+unix:///default?socket=${daemon.readOnlySocket}`;
    const connection = await connected({ readOnly: true }, uri);
    const { dom } = await connection.call("domainLookupByName", { name: "test" });
    expect(await connection.call("domainGetState", { dom, flags: 0 })).toMatchObject({ state: 1 });
    expect(await rejection(connection.call("domainDestroy", { dom }))).toMatchObject({
      code: "LIBVIRT",
      kind: "accessDenied",
      libvirtCode: 29,
    });
    expect(connection.state).toBe("open");
  });

  it("says what is wrong when there is no daemon, no driver, or no such URI", async () => {
    expect(await rejection(LibvirtConnection.open("test+unix:///default?socket=/nowhere/sock"))).toMatchObject({
      code: "LIBVIRT_CONNECT_FAILED",
      remedy: expect.stringContaining("start") as unknown,
    });
    expect(await rejection(LibvirtConnection.open(daemon.uri("vbox")))).toMatchObject({ code: "LIBVIRT" });
    expect(await rejection(LibvirtConnection.open("qemu://system"))).toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("gives the daemon's refusals with all their numbers, and knows a procedure that the daemon does not have", async () => {
    const connection = await connected();
    expect(await rejection(connection.call("domainLookupByName", { name: "nobody" }))).toMatchObject({
      kind: "domainNotFound",
      libvirtCode: 42,
      domain: 12,
      level: 2,
      retryable: false,
      str1: expect.any(String) as unknown,
    });
    const { net } = await connection.call("networkLookupByName", { name: "default" });
    const args = { network: net, type: 0, uri: undefined, flags: 0 };
    const metadata = (await rejection(connection.call("networkGetMetadata", args))) as LibvirtError;
    // A daemon of 9.7 or later has it, and has no metadata to give.
    if (metadata.kind !== "metadataNotFound")
      expect(metadata).toMatchObject({ kind: "notSupported", unknownProcedure: metadata.libvirtCode === 39 });
  });

  it("carries 10,000 calls that are made at once, none lost, with no more on their way than the daemon takes", async () => {
    const connection = await connected();
    let most = 0;
    const calls = Array.from({ length: 10_000 }, async () => {
      const { hostname } = await connection.call("connectGetHostname");
      most = Math.max(most, connection.inFlight);
      return hostname;
    });
    expect(connection.queued).toBeGreaterThan(9_000);
    const names = await Promise.all(calls);
    expect(new Set(names).size).toBe(1);
    expect(most).toBeLessThanOrEqual(5);
  });

  it("serves 1,000 callers at once, each with what it asked for", async () => {
    const connection = await connected();
    const names = Array.from({ length: 100 }, (_, i) => `many-${i}`);
    const defined = await Promise.all(
      names.map(async (name) => (await connection.call("domainDefineXml", { xml: testDomain(name) })).dom),
    );
    const looked = await Promise.all(
      Array.from({ length: 1_000 }, async (_, i) => {
        const name = names[i % names.length] as string;
        const { dom } = await connection.call("domainLookupByName", { name });
        return dom.name === name;
      }),
    );
    expect(looked).not.toContain(false);
    await Promise.all(defined.map((dom) => connection.call("domainUndefine", { dom })));
  });

  it("carries XML up to the limit of one string, and refuses more before anything is sent", async () => {
    const connection = await connected();
    const room = STRING_LIMIT - Buffer.byteLength(testDomain("large"));
    const { dom } = await connection.call("domainDefineXml", { xml: testDomain("large", "x".repeat(room - 2 * KIB)) });
    const { xml } = await connection.call("domainGetXmlDesc", { dom, flags: 0 });
    expect(xml.length).toBeGreaterThan(STRING_LIMIT - 4 * KIB);
    // As much as fits on the way in does not fit on the way out, and that is no lack of the procedure.
    await connection.call("domainDefineXml", {
      xml: testDomain("large", "x".repeat(room))
        .replace("<name>", `<uuid>${uuidOf(xml)}</uuid><name>`)
        .replace("x".repeat(100), ""),
    });
    const unreadable = await rejection(connection.call("domainGetXmlDesc", { dom, flags: 0 }));
    expect(unreadable).toMatchObject({ libvirtCode: 39, unknownProcedure: false });
    await connection.call("domainUndefine", { dom });

    const error = await rejection(
      connection.call("domainDefineXml", { xml: testDomain("large", "x".repeat(room + 1)) }),
    );
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field: "arguments.xml" });
    expect(connection.state).toBe("open");
  });

  it("takes calls back that have not left, and drops the replies of those that have", async () => {
    const late: string[] = [];
    const connection = await connected({ onLateReply: (reply) => late.push(reply.procedure) });
    await frozen(async () => {
      const abort = new AbortController();
      const sent = Array.from({ length: 5 }, () => rejection(connection.call(SLOW, {}, { deadlineMs: 200 })));
      const waiting = rejection(connection.call(SLOW, {}, { deadlineMs: 100_000, signal: abort.signal }));
      abort.abort(new Error("enough"));
      expect(await waiting).toMatchObject({ code: "ABORTED", cause: { message: "enough" } });
      const errors = await Promise.all(sent);
      for (const error of errors) expect(error).toMatchObject({ code: "DEADLINE_EXCEEDED" });
      // The last place is kept for calls of high priority.
      expect(errors.map((error) => error.message.includes("never sent"))).toEqual([false, false, false, false, true]);
    });
    expect(await connection.call("connectGetUri")).toEqual({ uri: "test:///default" });
    await connection.call(SLOW);
    expect(late).toEqual(Array(4).fill(SLOW));
  });
});

describe("events", () => {
  it("tell all that happens after the subscription, to each reader, over one registration", async () => {
    const connection = await connected();
    const { dom } = await connection.call("domainDefineXml", { xml: testDomain("watched") });
    const { dom: other } = await connection.call("domainDefineXml", { xml: testDomain("other") });
    const abort = new AbortController();
    const first = await connection.events("domain", ["lifecycle"], { object: dom });
    const second = await connection.events("domain", ["lifecycle"], { object: dom, signal: abort.signal });
    await connection.call("domainCreate", { dom: other });
    await connection.call("domainCreate", { dom });
    await connection.call("domainDestroy", { dom });
    for (const reader of [first, second]) {
      const seen = [await reader.next(), await reader.next()];
      expect(seen).toMatchObject([
        { value: { kind: "event", name: "lifecycle", data: { dom: { name: "watched" }, event: 2 } } },
        { value: { data: { dom: { uuid: dom.uuid }, event: 5 } } },
      ]);
    }
    abort.abort();
    expect(await second.next()).toMatchObject({ done: true });
    await connection.call("domainCreate", { dom });
    expect(await first.next()).toMatchObject({ value: { data: { event: 2 } } });
    await first.return();
    await connection.call("domainDestroy", { dom });
    await Promise.all([dom, other].map((domain) => connection.call("domainUndefine", { dom: domain })));
  });

  it("come of networks, storage pools and node devices too, whose numbers are counted apart", async () => {
    const connection = await connected();
    const readers = {
      domain: await connection.events("domain", ["lifecycle", "reboot", "agentLifecycle", "blockJob2", "jobCompleted"]),
      network: await connection.events("network", ["lifecycle"]),
      pool: await connection.events("storagePool", ["lifecycle", "refresh"]),
      device: await connection.events("nodeDevice", ["lifecycle"]),
    };
    const { net } = await connection.call("networkLookupByName", { name: "default" });
    await connection.call("networkDestroy", { net });
    await connection.call("networkCreate", { net });
    const { pool } = await connection.call("storagePoolLookupByName", { name: "default-pool" });
    await connection.call("storagePoolRefresh", { pool, flags: 0 });
    expect(await readers.network.next()).toMatchObject({
      value: { name: "lifecycle", data: { net: { name: "default" }, event: 3 } },
    });
    expect(await readers.network.next()).toMatchObject({ value: { data: { event: 2 } } });
    expect(await readers.pool.next()).toMatchObject({
      value: { name: "refresh", data: { pool: { name: "default-pool" } } },
    });
    expect(readers.domain.queued + readers.device.queued).toBe(0);
    for (const reader of Object.values(readers)) await reader.return();
  });

  it("come of secrets", async () => {
    const connection = await connected({}, daemon.uri("secret"));
    const reader = await connection.events("secret", ["lifecycle", "valueChanged"]);
    const { secret } = await connection.call("secretDefineXml", {
      xml: "<secret ephemeral='yes' private='no'><description>lab</description></secret>",
      flags: 0,
    });
    await connection.call("secretSetValue", { secret, value: Buffer.from("value"), flags: 0 });
    await connection.call("secretUndefine", { secret });
    const { uuid } = secret;
    expect([await reader.next(), await reader.next(), await reader.next()]).toMatchObject([
      { value: { name: "lifecycle", data: { secret: { uuid }, event: 0 } } },
      { value: { name: "valueChanged", data: { secret: { uuid } } } },
      { value: { name: "lifecycle", data: { secret: { uuid }, event: 1 } } },
    ]);
  });

  it("are bounded: a reader that is too slow is told how many it lost, and nobody else is held up", async () => {
    const connection = await connected();
    const { dom } = await connection.call("domainDefineXml", { xml: testDomain("busy") });
    const slow = await connection.events("domain", ["lifecycle"], { object: dom, capacity: 4 });
    const fast = await connection.events("domain", ["lifecycle"], { object: dom });
    for (let i = 0; i < 20; i++) {
      await connection.call("domainCreate", { dom });
      await connection.call("domainDestroy", { dom });
    }
    for (let i = 0; i < 40; i++) expect(await fast.next()).toMatchObject({ value: { kind: "event" } });
    expect(await slow.next()).toEqual({ done: false, value: { kind: "overflow", dropped: 36 } });
    expect(await slow.next()).toMatchObject({ value: { kind: "event" } });
    await connection.call("domainUndefine", { dom });
  });

  it("refuse what libvirt does not have", async () => {
    const connection = await connected();
    const { dom } = await connection.call("domainLookupByName", { name: "test" });
    const wrong = connection.events("domain", ["lifecycle", "nonsense" as "lifecycle"], { object: dom });
    expect(await rejection(wrong)).toMatchObject({ code: "INVALID_ARGUMENT" });
    // The test driver has no events of a monitor, and says so.
    expect(await rejection(connection.monitorEvents({ dom }))).toMatchObject({ code: "LIBVIRT" });
  });
});

describe("a daemon that hangs or dies", () => {
  it("is given up when it does not answer pings, and every caller is told", async () => {
    const connection = await connected({ keepalive: { intervalMs: 50, count: 2 } });
    const reader = await connection.events("domain", ["lifecycle"]);
    await frozen(async () => {
      const call = rejection(connection.call("connectGetHostname"));
      expect(await connection.closed).toMatchObject({ reason: "keepalive", error: { code: "LIBVIRT_KEEPALIVE" } });
      expect(await call).toMatchObject({ code: "LIBVIRT_DISCONNECTED", maybeExecuted: true });
      expect(await rejection(reader.next())).toBeInstanceOf(LibvirtDisconnectedError);
    });
  });

  it("dies in the middle of calls: those that left may have been carried out, those that waited were not", async () => {
    const connection = await connected();
    await daemon.kill("SIGSTOP");
    const calls = Array.from({ length: 20 }, () => rejection(connection.call(SLOW)));
    await daemon.kill("SIGKILL");
    const errors = (await Promise.all(calls)) as LibvirtDisconnectedError[];
    expect(errors.every((error) => error instanceof LibvirtDisconnectedError)).toBe(true);
    expect(errors.map((error) => error.maybeExecuted)).toEqual([
      ...Array<boolean>(4).fill(true),
      ...Array<boolean>(16).fill(false),
    ]);
    expect((await connection.closed).reason).toMatch(/eof|error/);
    await daemon.start();
  });

  it("comes back: the connection is made again, events go on after a gap, and waiting calls go out", async () => {
    const connection = await connected({ reconnect: { minDelayMs: 10, maxDelayMs: 50 } });
    const happened = connection.connectionEvents();
    const reader = await connection.events("domain", ["lifecycle"]);
    await daemon.kill("SIGSTOP");
    const left = rejection(connection.call("connectGetHostname"));
    await daemon.kill("SIGKILL");
    expect(await left).toMatchObject({ maybeExecuted: true });
    expect(await happened.next()).toMatchObject({ value: { kind: "lost" } });
    expect(connection.state).toBe("reconnecting");
    const waiting = connection.call("connectGetUri");
    await daemon.start();
    expect(await waiting).toEqual({ uri: "test:///default" });

    const kinds: LibvirtConnectionEvent["kind"][] = [];
    for await (const event of happened) {
      kinds.push(event.kind);
      if (event.kind === "reconnected") break;
    }
    expect(kinds.at(-1)).toBe("reconnected");
    expect(await reader.next()).toEqual({ done: false, value: { kind: "gap" } });
    const { dom } = await connection.call("domainLookupByName", { name: "test" });
    await connection.call("domainDestroy", { dom });
    expect(await reader.next()).toMatchObject({ value: { kind: "event", data: { event: 5 } } });
  });

  it("does not come back in time: the connection is over, and says why", async () => {
    const connection = await connected({ reconnect: { minDelayMs: 10, maxDelayMs: 20, giveUpAfterMs: 200 } });
    await daemon.kill("SIGKILL");
    await rejection(connection.call("connectGetUri"));
    expect(await connection.closed).toMatchObject({ reason: "error", error: { code: "LIBVIRT_CONNECT_FAILED" } });
    await daemon.start();
  });
});

function uuidOf(xml: string): string {
  return /<uuid>([^<]+)<\/uuid>/.exec(xml)?.[1] ?? "";
}
