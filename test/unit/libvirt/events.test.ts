import { afterEach, describe, expect, it } from "vitest";
import { EVENT_FAMILIES } from "../../../src/libvirt/rpc/index.js";
import type { LibvirtConnection } from "../../../src/libvirt/rpc/index.js";
import { procedureNamed } from "../../../src/libvirt/rpc/procedures.js";
import { FakePeer, connectTo, rejection } from "./support/fake-peer.js";

const REGISTER = "connectDomainEventCallbackRegisterAny";
const DEREGISTER = "connectDomainEventCallbackDeregisterAny";
const DOM = { name: "d", uuid: "6695eb01-f6a4-8304-79aa-97f2502e193f", id: 1 };
const OTHER = { ...DOM, name: "e", uuid: "00000000-0000-4000-8000-000000000001" };
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function connected(): Promise<{
  peer: FakePeer;
  connection: LibvirtConnection;
  count: (name: string) => number;
}> {
  const peer = new FakePeer();
  let next = 0;
  peer.on(REGISTER, () => ({ callbackId: next++ }));
  peer.on("connectNetworkEventRegisterAny", () => ({ callbackId: 0 }));
  for (const name of [
    DEREGISTER,
    "connectNetworkEventDeregisterAny",
    "connectRegisterCloseCallback",
    "connectUnregisterCloseCallback",
  ])
    peer.on(name, () => ({}));
  const connection = await connectTo(peer, { timeouts: { closeMs: 20 } });
  cleanups.push(() => connection.close());
  return { peer, connection, count: (name) => peer.calls.filter((call) => call === name).length };
}

function lifecycle(callbackId: number, dom = DOM) {
  return { callbackId, msg: { dom, event: 2, detail: 0 } };
}

describe("events", () => {
  it("have names that lead to a message each", () => {
    for (const { events } of Object.values(EVENT_FAMILIES))
      for (const [, message] of Object.values<readonly [number, string]>(events))
        expect(procedureNamed("remote", message).kind).toBe("event");
    expect(Object.keys(EVENT_FAMILIES.domain.events)).toHaveLength(28);
  });

  it("that come before the daemon has said which registration they are of are not lost, nor taken for another's", async () => {
    const { peer, connection } = await connected();
    peer.on(REGISTER, () => {
      peer.event("domainEventCallbackLifecycle", lifecycle(4));
      peer.event("domainEventCallbackLifecycle", lifecycle(5));
      return { callbackId: 5 };
    });
    const reader = await connection.events("domain", ["lifecycle"]);
    peer.event("domainEventCallbackLifecycle", lifecycle(5, OTHER));
    expect(await reader.next()).toEqual({
      done: false,
      value: { kind: "event", name: "lifecycle", data: { dom: DOM, event: 2, detail: 0 } },
    });
    expect(await reader.next()).toMatchObject({ value: { data: { dom: { name: "e" } } } });
  });

  it("of one source are asked for once, however many read them, and given up with the last", async () => {
    const { peer, connection, count } = await connected();
    const readers = await Promise.all(
      Array.from({ length: 10 }, () => connection.events("domain", ["lifecycle"], { object: DOM })),
    );
    const elsewhere = await connection.events("domain", ["lifecycle"], { object: OTHER });
    expect(count(REGISTER)).toBe(2);
    peer.event("domainEventCallbackLifecycle", lifecycle(0));
    for (const reader of readers) expect(await reader.next()).toMatchObject({ value: { data: { event: 2 } } });
    expect(elsewhere.queued).toBe(0);
    for (const reader of readers) await reader.return();
    expect(count(DEREGISTER)).toBe(1);
    await elsewhere[Symbol.asyncDispose]();
    expect(count(DEREGISTER)).toBe(2);
    // The number is free again: what still comes for it is nobody's.
    peer.event("domainEventCallbackLifecycle", lifecycle(0));
    const again = await connection.events("domain", ["lifecycle"], { object: DOM });
    expect([count(REGISTER), again.queued]).toEqual([3, 0]);
  });

  it("of several sources come to one reader in their order, and numbers of other families are other numbers", async () => {
    const { peer, connection } = await connected();
    const reader = await connection.events("domain", ["lifecycle", "reboot"]);
    const networks = await connection.events("network", ["lifecycle"]);
    peer.event("domainEventCallbackReboot", { callbackId: 1, msg: { dom: DOM } });
    peer.event("networkEventLifecycle", { callbackId: 0, net: { name: "n", uuid: DOM.uuid }, event: 3, detail: 0 });
    peer.event("domainEventCallbackLifecycle", lifecycle(0));
    peer.event("domainEventCallbackLifecycle", lifecycle(7));
    expect([await reader.next(), await reader.next()]).toMatchObject([
      { value: { name: "reboot" } },
      { value: { name: "lifecycle" } },
    ]);
    expect(await networks.next()).toMatchObject({ value: { data: { net: { name: "n" } } } });
    expect(reader.queued).toBe(0);
  });

  it("end for a reader whose signal aborts, also while they are asked for", async () => {
    const { peer, connection, count } = await connected();
    const abort = new AbortController();
    const reader = await connection.events("domain", ["lifecycle"], { signal: abort.signal });
    const reading = reader.next();
    abort.abort();
    expect(await reading).toEqual({ done: true, value: undefined });
    await peer.called(DEREGISTER);

    const later = new AbortController();
    peer.on(REGISTER, () => {
      later.abort();
      return { callbackId: 9 };
    });
    expect(await rejection(connection.events("domain", ["lifecycle"], { signal: later.signal }))).toMatchObject({
      code: "ABORTED",
    });
    await peer.called(DEREGISTER, 2);
    expect(count(REGISTER)).toBe(2);
  });

  it("that the daemon refuses fail for all who asked, and may be asked for again", async () => {
    const { peer, connection } = await connected();
    peer.on(REGISTER, (_, frame) => {
      peer.refuse(frame, { code: 3, domain: 12, message: "nein" });
      return undefined;
    });
    const both = [connection.events("domain", ["lifecycle"]), connection.events("domain", ["lifecycle"])];
    for (const one of both) expect(await rejection(one)).toMatchObject({ code: "LIBVIRT", kind: "notSupported" });
    peer.on(REGISTER, () => ({ callbackId: 3 }));
    const reader = await connection.events("domain", ["lifecycle"]);
    peer.event("domainEventCallbackLifecycle", lifecycle(3));
    expect(await reader.next()).toMatchObject({ done: false });
  });

  it("tell the end of the daemon's own connection", async () => {
    const { peer, connection } = await connected();
    const reader = await connection.closeEvents();
    peer.event("connectEventConnectionClosed", { reason: 2 });
    expect(await reader.next()).toEqual({ done: false, value: { kind: "event", name: "closed", data: { reason: 2 } } });
    await reader.return();
    await peer.called("connectUnregisterCloseCallback");
  });

  it("end with the connection: silently when it is closed here, with its error when it is lost", async () => {
    const closing = await connected();
    const calm = await closing.connection.events("domain", ["lifecycle"]);
    await closing.connection.close();
    expect(await calm.next()).toEqual({ done: true, value: undefined });
    const losing = await connected();
    const reader = await losing.connection.events("domain", ["lifecycle"]);
    losing.peer.hangUp();
    expect(await rejection(reader.next())).toMatchObject({ code: "LIBVIRT_DISCONNECTED" });
    expect(await reader.next()).toMatchObject({ done: true });
  });
});
