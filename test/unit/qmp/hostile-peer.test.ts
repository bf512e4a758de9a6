import { afterEach, describe, expect, it } from "vitest";
import { QmpClient, QmpDisconnectedError } from "../../../src/qmp/index.js";
import type { QmpClientOptions } from "../../../src/qmp/index.js";
import { FakeQmpServer } from "../../../src/testing/fake-qmp-server.js";
import { until } from "./until.js";

const MIB = 1024 * 1024;
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function connected(options: QmpClientOptions = {}) {
  const fake = await new FakeQmpServer().listen();
  cleanups.push(() => fake.close());
  const client = await QmpClient.open({ path: fake.path }, options);
  cleanups.push(() => client.close());
  return { fake, client };
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("resolved"),
    (error: unknown) => error as Error,
  );
}

describe("a peer that breaks the protocol", () => {
  it.each<[string, string | Uint8Array, string]>([
    ["text", "what do you want?\n", "not-json"],
    ["binary data", new Uint8Array([0, 1, 2, 3, 0xff, 0xfe, 10]), "not-json"],
    ["invalid UTF-8", Buffer.concat([Buffer.from('{"a":'), Buffer.from([0xc3, 0x28]), Buffer.from("}\n")]), "not-json"],
    ["an array", "[]\n", "not-a-message"],
    ["an empty object", "{}\n", "not-a-message"],
    ["an event without a name", '{"event":7}\n', "not-a-message"],
    ["an event that has the name of one of the client's own", '{"event":"disconnected","data":{}}\n', "not-a-message"],
    ["a second greeting", '{"QMP":{}}\n', "not-a-message"],
    ["a reply without an id", '{"return":{}}\n', "bad-reply"],
    ["an error that is no object", '{"error":"no","id":1}\n', "bad-reply"],
    [
      "an error without an id, whose command can't be known",
      '{"error":{"class":"GenericError","desc":"JSON parse error"}}\n',
      "rejected-input",
    ],
    ["a message of millions of brackets", `${"[".repeat(2 * MIB)}\n`, "too-complex"],
  ])("sends %s: the session ends with an error and nothing else happens", async (_, bytes, fault) => {
    const { fake, client } = await connected();
    const held = fake.hold("hang");
    const call = rejection(client.executeUntyped("hang"));
    await held;
    fake.sendRaw(bytes);
    expect(await client.closed).toMatchObject({ reason: "protocol", error: { code: "QMP_PROTOCOL", fault } });
    const error = await call;
    expect(error).toBeInstanceOf(QmpDisconnectedError);
    expect(error).toMatchObject({ maybeExecuted: true, cause: { fault } });
    await gone(fake);
  });

  it("sends a line without end: it is cut off at the bound, and memory stays there", async () => {
    const { fake, client } = await connected({ maxMessageBytes: 4 * MIB });
    const before = process.memoryUsage().rss;
    const megabyte = "x".repeat(MIB);
    for (let i = 0; i < 200 && client.state === "running"; i++) {
      fake.sendRaw(megabyte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await client.closed).toMatchObject({ reason: "protocol", error: { fault: "too-long" } });
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * MIB);
  });

  it("nests brackets as deep as one message may: the process is unharmed", async () => {
    const { fake, client } = await connected();
    const deep = `{"event":"STOP","data":{"a":${"[".repeat(400_000)}${"]".repeat(400_000)}}}\n`;
    const events = client.events();
    fake.sendRaw(deep);
    expect(await client.execute("query-status")).toMatchObject({ running: true });
    expect((await events.next()).value).toMatchObject({ event: "STOP" });
  });

  it("answers under ids that were never given, or given twice: nobody gets another's reply", async () => {
    const { fake, client } = await connected();
    const held = fake.hold("query-name");
    const call = client.executeUntyped("query-name");
    const command = await held;
    command.drop();
    const id = command.id as number;
    for (const wrong of [id + 1, id - 1, 0, -1, "x", null, {}, [], true, `${id}`, 1e300, 2n ** 64n - 1n]) {
      fake.send({ return: "wrong", id: wrong });
      fake.send({ error: { class: "GenericError", desc: "wrong" }, id: wrong });
    }
    fake.send({ return: "right", id });
    expect(await call).toBe("right");
    fake.send({ return: "again", id });
    fake.send({ error: { class: "GenericError", desc: "again" }, id });
    expect(await client.execute("query-status")).toMatchObject({ running: true });
  });

  it("floods events: readers lose the oldest, commands are answered, memory stays bounded", async () => {
    const { fake, client } = await connected();
    const reader = client.events({ capacity: 100 });
    const before = process.memoryUsage().heapUsed;
    fake.flood("RTC_CHANGE", 200_000, { offset: 1, "qom-path": "x".repeat(100) });
    expect(await client.execute("query-status")).toMatchObject({ running: true });
    expect(reader.queued).toBeLessThanOrEqual(101);
    expect((await reader.next()).value).toMatchObject({ event: "overflow" });
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(150 * MIB);
  });

  it("sends events with data and timestamps of wrong types: they become harmless", async () => {
    const { fake, client } = await connected();
    const events = client.events();
    for (const event of [
      { event: "STOP", data: 5, timestamp: "now" },
      { event: "STOP", data: [1], timestamp: { seconds: "a", microseconds: {} } },
      { event: "STOP", data: null },
    ]) {
      fake.send(event);
      expect((await events.next()).value).toEqual({
        event: "STOP",
        data: {},
        timestamp: { seconds: -1, microseconds: -1 },
      });
    }
  });

  it("sends members named __proto__: no object is polluted", async () => {
    const { fake, client } = await connected();
    fake.on("evil", () => JSON.parse('{"__proto__":{"polluted":1},"big":12345678901234567890}') as unknown);
    await client.executeUntyped("evil");
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  it("hangs up in the middle of a reply", async () => {
    const { fake, client } = await connected();
    const held = fake.hold("query-name");
    const call = rejection(client.executeUntyped("query-name"));
    await held;
    fake.sendRaw('{"return": {"na');
    fake.hangUp();
    expect(await call).toMatchObject({ code: "QMP_DISCONNECTED", maybeExecuted: true });
  });

  it("sends garbage in the same bytes as the end of the negotiation", async () => {
    const fake = await new FakeQmpServer({ handlers: { qmp_capabilities: () => ({}) } }).listen();
    cleanups.push(() => fake.close());
    const held = fake.hold("qmp_capabilities");
    const opening = rejection(QmpClient.open({ path: fake.path }));
    const { id } = await held;
    fake.sendRaw(`{"return":{},"id":${String(id)}}\ngarbage\n`);
    expect(await opening).toMatchObject({ code: "QMP_PROTOCOL" });
    await gone(fake);
  });
});

/** Waits until the client has hung up. */
async function gone(fake: FakeQmpServer): Promise<void> {
  await until(() => fake.connections === 0);
}
