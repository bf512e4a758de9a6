import { afterEach, describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import {
  LibvirtConnection,
  LibvirtError,
  isLibvirtError,
  libvirtErrno,
  libvirtErrorKind,
} from "../../../src/libvirt/rpc/index.js";
import type { LibvirtConnectionEvent, LibvirtConnectionOptions } from "../../../src/libvirt/rpc/index.js";
import { FakePeer, connectTo, rejection } from "./support/fake-peer.js";

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A connection whose next peers are these; where there is none, nobody listens. */
async function withPeers(
  peers: (FakePeer | undefined)[],
  options: LibvirtConnectionOptions = {},
): Promise<LibvirtConnection> {
  const connection = await LibvirtConnection.open("test:///default", {
    connect: () => {
      const peer = peers.shift();
      if (peer === undefined) throw Object.assign(new Error("nobody listens"), { code: "ECONNREFUSED" });
      return peer.client;
    },
    reconnect: { minDelayMs: 5, maxDelayMs: 10 },
    timeouts: { closeMs: 20 },
    ...options,
  });
  cleanups.push(() => connection.close());
  return connection;
}

describe("a connection that is made again", () => {
  it("tells which calls may have been carried out, sends those that waited, and asks for its events anew", async () => {
    const [first, second] = [new FakePeer(), new FakePeer()];
    for (const peer of [first, second]) peer.on("connectDomainEventCallbackRegisterAny", () => ({ callbackId: 3 }));
    first.on("connectGetHostname", () => undefined);
    second.on("connectGetHostname", () => ({ hostname: "second" }));
    const connection = await withPeers([first, undefined, second], { maxInFlight: 1 });
    const happened = connection.connectionEvents();
    const reader = await connection.events("domain", ["reboot"]);
    const left = rejection(connection.call("connectGetHostname"));
    const waiting = connection.call("connectGetHostname");
    await first.called("connectGetHostname");
    first.hangUp();
    expect(await left).toMatchObject({
      code: "LIBVIRT_DISCONNECTED",
      maybeExecuted: true,
      procedure: "connectGetHostname",
    });
    expect(await waiting).toEqual({ hostname: "second" });
    const kinds: LibvirtConnectionEvent["kind"][] = [];
    for await (const { kind } of happened) {
      kinds.push(kind);
      if (kind === "reconnected") break;
    }
    expect(kinds).toEqual(["lost", "retrying", "reconnected"]);
    expect(second.calls.slice(0, 5)).toEqual([
      "authList",
      "connectSupportsFeature",
      "connectOpen",
      "connectDomainEventCallbackRegisterAny",
      "connectGetHostname",
    ]);
    expect(await reader.next()).toMatchObject({ value: { kind: "gap" } });
    const dom = { name: "d", uuid: "6695eb01-f6a4-8304-79aa-97f2502e193f", id: 1 };
    second.event("domainEventCallbackReboot", { callbackId: 3, msg: { dom } });
    expect(await reader.next()).toMatchObject({ value: { kind: "event", data: { dom: { name: "d" } } } });
  });

  it("ends the readers of what is not there any more, and only those", async () => {
    const [first, second] = [new FakePeer(), new FakePeer()];
    first.on("connectDomainEventCallbackRegisterAny", () => ({ callbackId: 0 }));
    first.on("connectNetworkEventRegisterAny", () => ({ callbackId: 0 }));
    second.on("connectNetworkEventRegisterAny", () => ({ callbackId: 0 }));
    second.on("connectDomainEventCallbackRegisterAny", (_, frame) => {
      second.refuse(frame, { code: 42, domain: 12 });
      return undefined;
    });
    const connection = await withPeers([first, second]);
    const domain = await connection.events("domain", ["lifecycle"], {
      object: { name: "d", uuid: "6695eb01-f6a4-8304-79aa-97f2502e193f", id: 1 },
    });
    const network = await connection.events("network", ["lifecycle"]);
    first.hangUp();
    expect(await rejection(domain.next())).toMatchObject({ kind: "domainNotFound" });
    expect(await network.next()).toMatchObject({ value: { kind: "gap" } });
  });

  it("is closed while it is being made again", async () => {
    const first = new FakePeer();
    const connection = await withPeers([first], { reconnect: { minDelayMs: 60_000 } });
    const happened = connection.connectionEvents();
    first.hangUp();
    expect(await happened.next()).toMatchObject({ value: { kind: "lost" } });
    expect(await happened.next()).toMatchObject({ value: { kind: "retrying", attempt: 1 } });
    const waiting = rejection(connection.call("connectGetHostname"));
    await connection.close();
    expect(connection.closure).toEqual({ reason: "closed" });
    expect(await waiting).toMatchObject({ maybeExecuted: false });
    expect(await happened.next()).toMatchObject({ value: { kind: "closed" } });
    expect(await happened.next()).toMatchObject({ done: true });
  });

  it("is not made again when the peer broke the protocol, nor when it was not asked for", async () => {
    const first = new FakePeer();
    const connection = await withPeers([first, new FakePeer()]);
    first.raw(Buffer.alloc(4));
    expect(await connection.closed).toMatchObject({ reason: "protocol" });
    const peer = new FakePeer();
    const plain = await connectTo(peer);
    peer.hangUp();
    expect(await plain.closed).toEqual({ reason: "eof" });
  });
});

describe("keepalive of a connection", () => {
  it("counts no silence while the daemon has as many calls as it takes, and finds a dead one once it has not", async () => {
    const clock = new VirtualClock();
    const peer = new FakePeer().on("connectGetHostname", () => undefined);
    const connection = await connectTo(peer, {
      clock,
      keepalive: { intervalMs: 1000, count: 2, stalledMs: 60_000 },
      maxInFlight: 2,
    });
    const calls = [1, 2].map(() => rejection(connection.call("connectGetHostname", {}, { deadlineMs: 1_000_000 })));
    const frame = await peer.called("connectGetHostname", 2);
    await clock.tick(30_000);
    expect(connection.state).toBe("open");
    peer.reply(frame, "connectGetHostname", { hostname: "h" });
    await calls[1];
    await clock.tick(4000);
    expect(await connection.closed).toMatchObject({
      reason: "keepalive",
      error: { silentMs: expect.any(Number) as unknown },
    });
    expect(await calls[0]).toMatchObject({ maybeExecuted: true });
    expect(clock.pending).toBe(0);
  });

  it("answers the daemon's pings", async () => {
    const peer = new FakePeer();
    const connection = await connectTo(peer);
    cleanups.push(() => connection.close());
    peer.send({ program: 0x6b656570, procedure: 1, type: 2 });
    await peer.until(() => peer.frames.some((frame) => frame.program === 0x6b656570 && frame.procedure === 2));
  });
});

describe("errors of the daemon", () => {
  const kindOf = (code: number, domain = 10) => libvirtErrorKind({ code, domain });

  it("have their kind by code and domain alone", () => {
    expect([42, 55, 68, 86, 87, 99, 66, 81, 27, 84, 45, 78, 43, 50, 53, 62].map((code) => kindOf(code))).toEqual([
      "domainNotFound", "invalidState", "timeout", "agentUnresponsive", "busy", "deviceNotFound", "secretNotFound", "migration",
      "invalidDefinition", "notSupported", "authentication", "cancelled", "networkNotFound", "storageVolumeNotFound",
      "nodeDeviceNotFound", "nwFilterNotFound",
    ]); // prettier-ignore
    expect([kindOf(1), kindOf(1, 7), kindOf(38, 13), kindOf(38)]).toEqual([
      "internal",
      "connectionLost",
      "connectionLost",
      "system",
    ]);
    expect(libvirtErrorKind({ code: 8, domain: 10 }, { detaching: true })).toBe("deviceNotFound");
    expect(kindOf(9999)).toBe("other");
  });

  it("have the errno of a system error, and say whether trying again may help", () => {
    expect([
      libvirtErrno({ code: 38, int1: 28 }),
      libvirtErrno({ code: 38, int1: 9999 }),
      libvirtErrno({ code: 1, int1: 28 }),
    ]).toEqual(["ENOSPC", expect.anything(), undefined]);
    const make = (code: number, int1 = 0) =>
      new LibvirtError({ code, domain: 10, level: 2, int1, int2: 0, message: "geheim" }, { procedure: "domainCreate" });
    expect([make(87).retryable, make(38, 16).retryable, make(38, 28).retryable, make(42).retryable]).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect(make(42)).toMatchObject({
      code: "LIBVIRT",
      message: "libvirt refused domainCreate: noDomain",
      detail: "geheim",
    });
    expect(JSON.stringify(make(42))).not.toContain("geheim");
    expect(isLibvirtError(make(42), "domainNotFound")).toBe(true);
  });

  it("tell a procedure that the daemon does not have, in whatever language, from one that it refuses", async () => {
    const peer = new FakePeer();
    const connection = await connectTo(peer);
    cleanups.push(() => connection.close());
    peer.on("connectGetHostname", (_, frame) => {
      peer.refuse(frame, { code: 39, domain: 7, message: `unbekannte Prozedur: ${frame.procedure}` });
      return undefined;
    });
    expect(await rejection(connection.call("connectGetHostname"))).toMatchObject({
      kind: "notSupported",
      unknownProcedure: true,
    });
    peer.on("connectGetUri", (_, frame) => {
      peer.refuse(frame, { code: 39, domain: 7, message: "Nutzlast zu groß" });
      return undefined;
    });
    expect(await rejection(connection.call("connectGetUri"))).toMatchObject({
      libvirtCode: 39,
      unknownProcedure: false,
    });
  });
});
