/** The fake daemon at the level of the wire: what handlers answer, what is held, what goes wrong. */
import { afterEach, describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import { LibvirtConnection } from "../../../src/libvirt/rpc/index.js";
import type { LibvirtConnectionOptions } from "../../../src/libvirt/rpc/index.js";
import {
  FakeLibvirtError,
  FakeLibvirtServer,
  NO_LIBVIRT_REPLY,
  REPLY_DAMAGES,
  cutReply,
} from "../../../src/testing/index.js";
import type { FakeLibvirtServerOptions } from "../../../src/testing/index.js";

const DOM = { name: "web", uuid: "3f0c1a52-9f86-4d1c-8d3b-5b9a6a0f7c11", id: 3 };
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(options: FakeLibvirtServerOptions = {}): Promise<FakeLibvirtServer> {
  const server = await FakeLibvirtServer.create(options);
  cleanups.push(() => server.close());
  return server;
}

async function connect(server: FakeLibvirtServer, options: LibvirtConnectionOptions = {}): Promise<LibvirtConnection> {
  const connection = await LibvirtConnection.open("test:///default", { connect: server.connector, ...options });
  cleanups.push(() => connection.close());
  return connection;
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("resolved"),
    (error: unknown) => error as Error,
  );
}

describe("calls", () => {
  it("are answered by handlers with typed arguments, over memory and over a UNIX socket", async () => {
    const server = await serve({ handlers: { domainLookupByName: ({ name }) => ({ dom: { ...DOM, name } }) } });
    await server.listen();
    for (const connection of [await connect(server), await LibvirtConnection.open(server.uri)]) {
      expect(await connection.call("domainLookupByName", { name: "web" })).toEqual({ dom: DOM });
      await connection.close();
    }
    expect(server.callsOf("domainLookupByName").map(({ args, client }) => [args.name, client.uri])).toEqual([
      ["web", "test:///default"],
      ["web", "test:///default"],
    ]);
    expect(server.clients).toEqual([]);
  });

  it("are refused with the code and the domain that a handler throws, or as what the driver lacks", async () => {
    const server = await serve();
    const connection = await connect(server);
    server.on("domainCreate", () => {
      throw new FakeLibvirtError({ code: 38, domain: 10, message: "no", int1: 16 });
    });
    expect(await rejection(connection.call("domainCreate", { dom: DOM }))).toMatchObject({
      libvirtCode: 38, domain: 10, kind: "system", errno: "EBUSY",
    }); // prettier-ignore
    expect(await rejection(connection.call("domainDestroy", { dom: DOM }))).toMatchObject({ kind: "notSupported" });
    expect(() => server.on("nonsense" as "domainCreate", () => ({}))).toThrow(/procedure/);
  });

  it("are refused when they can't be answered so: the test is told why", async () => {
    const server = await serve({ handlers: { connectGetHostname: () => ({ hostname: 5 as unknown as string }) } });
    const connection = await connect(server);
    expect(await rejection(connection.call("connectGetHostname"))).toMatchObject({
      libvirtCode: 1,
      detail: expect.stringContaining("result.hostname") as unknown,
    });
  });

  it("can be held, answered in any order, refused, released, and left alone", async () => {
    const server = await serve({ handlers: { connectGetHostname: () => ({ hostname: "own" }) } });
    const connection = await connect(server);
    const holding = Array.from({ length: 4 }, () => server.hold("connectGetHostname"));
    const calls = holding.map(() =>
      connection.call("connectGetHostname", {}, { deadlineMs: 60_000 }).catch((error: unknown) => error),
    );
    const held = await Promise.all(holding);
    held[3]?.release();
    held[1]?.refuse({ code: 9, domain: 10 });
    held[0]?.reply({ hostname: "first" });
    held[2]?.drop();
    expect(await calls[3]).toEqual({ hostname: "own" });
    expect(await calls[1]).toMatchObject({ libvirtCode: 9 });
    expect(await calls[0]).toEqual({ hostname: "first" });
    expect(connection.inFlight).toBe(1);
    server.hangUp();
    expect(await calls[2]).toMatchObject({ maybeExecuted: true });
  });

  it("are read no further than a daemon does: five unanswered at once", async () => {
    const server = await serve({ handlers: { connectGetHostname: () => NO_LIBVIRT_REPLY } });
    const connection = await connect(server, { maxInFlight: 100 });
    const calls = Array.from({ length: 9 }, () => rejection(connection.call("connectGetHostname")));
    await server.called("connectGetHostname", 5);
    await new Promise((resolve) => setImmediate(resolve));
    expect(server.callsOf("connectGetHostname")).toHaveLength(5);
    expect(server.clients[0]?.unanswered).toBe(5);
    server.hangUp();
    await Promise.all(calls);
  });

  it("come after authentication and opening, as at a daemon", async () => {
    const server = await serve({ authentication: "polkit" });
    await connect(server);
    expect(server.received.map(({ name }) => name)).toEqual([
      "authList",
      "authPolkit",
      "connectSupportsFeature",
      "connectOpen",
    ]);
    server.faults.refuse("authPolkit", { code: 45, domain: 7 });
    expect(await rejection(connect(server))).toMatchObject({ code: "LIBVIRT_AUTHENTICATION_FAILED" });
  });
});

describe("faults", () => {
  it("strike the nth call, before or after its effect, as often as asked", async () => {
    let effects = 0;
    const handlers = { domainCreate: () => (effects++, {}) };
    const server = await serve({ handlers });
    const connection = await connect(server);
    const create = (): Promise<unknown> =>
      connection.call("domainCreate", { dom: DOM }).then(
        () => "done",
        (error: { libvirtCode: number }) => error.libvirtCode,
      );
    const fault = server.faults.refuse("domainCreate", { code: 9, domain: 10 }, { nth: 2 });
    expect([await create(), await create(), await create(), effects, fault.hits]).toEqual(["done", 9, "done", 2, 1]);
    server.faults.refuse("domainCreate", { code: 38, domain: 10 }, { at: "after", times: 1 });
    expect([await create(), await create(), effects]).toEqual([38, "done", 4]);
    const only = { when: (args: unknown) => (args as { dom: { name: string } }).dom.name === "other" };
    server.faults.refuse("*", { code: 1, domain: 10 }, only);
    expect(await create()).toBe("done");
    server.faults.hangUp("domainCreate", { at: "after" });
    expect(await rejection(connection.call("domainCreate", { dom: DOM }))).toMatchObject({ maybeExecuted: true });
    expect(effects).toBe(6);
  });

  it("delay by the server's clock, and keep silent", async () => {
    const clock = new VirtualClock();
    const server = await serve({ clock, handlers: { connectGetHostname: () => ({ hostname: "h" }) } });
    const connection = await connect(server);
    server.faults.delay("connectGetHostname", 5_000, { nth: 1 });
    let answered = false;
    const call = connection.call("connectGetHostname").then(() => (answered = true));
    await server.called("connectSupportsFeature");
    await new Promise((resolve) => setImmediate(resolve));
    await clock.tick(4_999);
    expect(answered).toBe(false);
    await clock.tick(1);
    await call;
    server.faults.silence("connectGetHostname");
    expect(await rejection(connection.call("connectGetHostname", {}, { deadlineMs: 20 }))).toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
  });

  it("damage replies in every usual way; the client takes none of them for an answer", async () => {
    for (const [name, damage] of Object.entries(REPLY_DAMAGES)) {
      const server = await serve({ handlers: { connectGetHostname: () => ({ hostname: "h" }) } });
      const connection = await connect(server);
      server.faults.damage("connectGetHostname", damage);
      const answer = connection.call("connectGetHostname", {}, { deadlineMs: 1_000 });
      if (name === "twice") expect(await answer).toEqual({ hostname: "h" });
      else expect(await rejection(answer), name).toMatchObject({ code: "LIBVIRT_DISCONNECTED" });
      expect((await connection.closed).error, name).toMatchObject({ code: "LIBVIRT_PROTOCOL" });
    }
  });

  it("cut a reply at every byte", async () => {
    const server = await serve({ handlers: { connectGetHostname: () => ({ hostname: "h" }) } });
    for (let bytes = 0; bytes < 36; bytes++) {
      const connection = await connect(server);
      const fault = server.faults.damage("connectGetHostname", cutReply(bytes));
      expect(await rejection(connection.call("connectGetHostname")), String(bytes)).toMatchObject({
        code: "LIBVIRT_DISCONNECTED",
        maybeExecuted: true,
      });
      fault.remove();
    }
  });
});

describe("events", () => {
  it("reach those who asked for them, of every family, under the number that they got", async () => {
    const server = await serve();
    const connection = await connect(server);
    const other = { ...DOM, uuid: DOM.uuid.replace("3f", "4f") };
    const life = await connection.events("domain", ["lifecycle", "blockJob2", "pmSuspend"], { object: DOM });
    const nets = await connection.events("network", ["lifecycle"]);
    const devices = await connection.events("nodeDevice", ["update"]);
    const monitor = await connection.monitorEvents({ event: "DEV.*", regex: true });
    const closing = await connection.closeEvents();
    server.emit("domain", "lifecycle", { dom: other, event: 2, detail: 0 });
    server.emit("domain", "lifecycle", { dom: DOM, event: 5, detail: 1 });
    server.emit("domain", "pmSuspend", { dom: DOM, reason: 0 });
    server.emit("domain", "blockJob2", { dom: DOM, dst: "vda", type: 2, status: 3 });
    server.emit("network", "lifecycle", { net: { name: "n", uuid: DOM.uuid }, event: 2, detail: 0 });
    server.emit("nodeDevice", "update", { dev: { name: "pci" } });
    server.emitMonitorEvent({ dom: DOM, event: "RESET" });
    server.emitMonitorEvent({ dom: DOM, event: "DEVICE_DELETED", details: "{}" });
    server.emitConnectionClosed(2);
    expect(await life.next()).toMatchObject({ value: { name: "lifecycle", data: { event: 5, detail: 1 } } });
    expect(await life.next()).toMatchObject({ value: { name: "pmSuspend", data: { dom: DOM, reason: 0 } } });
    expect(await life.next()).toMatchObject({ value: { name: "blockJob2", data: { dst: "vda" } } });
    expect(await nets.next()).toMatchObject({ value: { data: { net: { name: "n" } } } });
    expect(await devices.next()).toMatchObject({ value: { data: { dev: { name: "pci" } } } });
    expect(await monitor.next()).toMatchObject({ value: { data: { event: "DEVICE_DELETED" } } });
    expect(await closing.next()).toMatchObject({ value: { data: { reason: 2 } } });
    expect(server.clients[0]?.registrations).toBe(6);
    for (const reader of [life, nets, devices, monitor, closing]) await reader.return();
    expect(server.clients[0]?.registrations).toBe(0);
  });
});

describe("streams", () => {
  it("carry data and holes both ways, and end or fail as the handler says", async () => {
    const server = await serve();
    const connection = await connect(server);
    const vol = { pool: "p", name: "v", key: "/p/v" };
    let uploaded: Buffer | undefined;
    server.on("storageVolUpload", (_, { stream }) => {
      const all = stream?.readAll().then((bytes) => (uploaded = bytes));
      stream?.onFinish(() => all);
      return {};
    });
    server.on("storageVolDownload", (_, { stream }) => {
      void stream?.write(Buffer.alloc(600_000, 7)).then(() => stream.end());
      return {};
    });
    const args = { vol, offset: 0n, length: 0n, flags: 0 };
    const upload = await connection.openStream("storageVolUpload", args);
    upload.end(Buffer.alloc(500_000, 1));
    await new Promise((resolve) => upload.once("close", resolve));
    expect(uploaded?.length).toBe(500_000);
    let bytes = 0;
    for await (const chunk of await connection.openStream("storageVolDownload", args))
      bytes += (chunk as Buffer).length;
    expect(bytes).toBe(600_000);
    server.on("storageVolDownload", (_, { stream }) => {
      void stream?.fail({ code: 38, domain: 18, int1: 5 });
      return {};
    });
    const failing = await connection.openStream("storageVolDownload", args);
    const error = await rejection(
      (async () => {
        for await (const _ of failing);
      })(),
    );
    expect(error).toMatchObject({ libvirtCode: 38, domain: 18 });
  });
});

describe("a daemon that hangs", () => {
  it("neither reads nor speaks while it is frozen, and goes on where it was", async () => {
    const clock = new VirtualClock();
    const server = await serve({ handlers: { connectGetHostname: () => ({ hostname: "h" }) } });
    const connection = await connect(server, { clock, keepalive: { intervalMs: 1_000, count: 2 } });
    server.freeze();
    const late = connection.call("connectGetHostname");
    await clock.tick(1_500);
    server.thaw();
    expect(await late).toEqual({ hostname: "h" });
    server.freeze();
    await clock.tick(10_000);
    expect(await connection.closed).toMatchObject({ reason: "keepalive" });
  });

  it("pings clients, and gives up those that do not answer", async () => {
    const clock = new VirtualClock();
    const server = await serve({ clock, keepalive: { intervalMs: 1_000, count: 2 } });
    const connection = await connect(server);
    for (let i = 0; i < 5; i++) await clock.tick(1_000);
    expect(connection.state).toBe("open");
  });

  it("can have its bytes come one by one", async () => {
    const server = await serve({
      chunks: "bytes",
      handlers: { connectGetHostname: () => ({ hostname: "a long name" }) },
    });
    const connection = await connect(server);
    expect(await connection.call("connectGetHostname")).toEqual({ hostname: "a long name" });
  });
});
