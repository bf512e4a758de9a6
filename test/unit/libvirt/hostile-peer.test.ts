import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { LibvirtDisconnectedError } from "../../../src/libvirt/rpc/index.js";
import type { LibvirtConnection, LibvirtConnectionOptions } from "../../../src/libvirt/rpc/index.js";
import { FRAME_TYPE, encodeFrame } from "../../../src/libvirt/rpc/frame.js";
import { PROGRAMS, procedureNamed } from "../../../src/libvirt/rpc/procedures.js";
import { encodeResult } from "../../../src/libvirt/rpc/codec.js";
import { FakePeer, connectTo, rejection } from "./support/fake-peer.js";

const MIB = 1024 * 1024;
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function connected(
  options: LibvirtConnectionOptions = {},
): Promise<{ peer: FakePeer; connection: LibvirtConnection }> {
  const peer = new FakePeer();
  const connection = await connectTo(peer, { timeouts: { closeMs: 20 }, ...options });
  cleanups.push(() => connection.close());
  return { peer, connection };
}

function u32(...numbers: number[]): Buffer {
  const bytes = Buffer.alloc(4 * numbers.length);
  numbers.forEach((number, i) => bytes.writeUInt32BE(number >>> 0, 4 * i));
  return bytes;
}

const PROGRAM = PROGRAMS.remote.number;
const HOSTNAME = procedureNamed("remote", "connectGetHostname").number;

describe("a peer that breaks the protocol", () => {
  it.each<[string, (peer: FakePeer, serial: number) => void]>([
    ["a length of nothing", (peer) => peer.raw(u32(0))],
    ["a length shorter than a header", (peer) => peer.raw(u32(27))],
    ["a negative length", (peer) => peer.raw(u32(-1))],
    ["a length beyond libvirt's limit", (peer) => peer.raw(u32(33_554_437))],
    ["text", (peer) => peer.raw(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"))],
    ["an unknown program", (peer, serial) => peer.send({ program: 7, procedure: HOSTNAME, serial })],
    ["another version", (peer, serial) => peer.send({ version: 2, procedure: HOSTNAME, serial })],
    ["a reply to nothing", (peer, serial) => peer.send({ procedure: HOSTNAME, serial: serial + 1000 })],
    ["a reply of another procedure", (peer, serial) => peer.send({ procedure: HOSTNAME + 1, serial })],
    [
      "a reply of another program",
      (peer, serial) => peer.send({ program: PROGRAMS.qemu.number, procedure: HOSTNAME, serial }),
    ],
    ["a reply of status continue", (peer, serial) => peer.send({ procedure: HOSTNAME, serial, status: 2 })],
    ["a reply of status 77", (peer, serial) => peer.send({ procedure: HOSTNAME, serial, status: 77 })],
    ["a call", (peer, serial) => peer.send({ procedure: HOSTNAME, serial, type: FRAME_TYPE.call })],
    ["a frame of type 9", (peer, serial) => peer.send({ procedure: HOSTNAME, serial, type: 9 })],
    ["a call as an event", (peer) => peer.send({ procedure: HOSTNAME, serial: 1, type: FRAME_TYPE.message })],
    ["a reply without its result", (peer, serial) => peer.send({ procedure: HOSTNAME, serial })],
    ["a string longer than the reply", (peer, serial) => peer.send({ procedure: HOSTNAME, serial }, u32(1000, 0))],
    ["a string of negative length", (peer, serial) => peer.send({ procedure: HOSTNAME, serial }, u32(-4, 0))],
    [
      "a string beyond its limit",
      (peer, serial) =>
        peer.send({ procedure: HOSTNAME, serial }, Buffer.concat([u32(5 * MIB), Buffer.alloc(5 * MIB)])),
    ],
    ["an error that ends early", (peer, serial) => peer.send({ procedure: HOSTNAME, serial, status: 1 }, u32(1, 2))],
    [
      "more descriptors than there may be",
      (peer, serial) => peer.send({ procedure: HOSTNAME, serial, type: FRAME_TYPE.replyWithFds }, u32(33)),
    ],
    [
      "descriptors without their number",
      (peer, serial) => peer.send({ procedure: HOSTNAME, serial, type: FRAME_TYPE.replyWithFds }),
    ],
    ["a keepalive that is a reply", (peer) => peer.send({ program: 0x6b656570, type: FRAME_TYPE.reply })],
    [
      "the same reply twice",
      (peer, serial) => {
        const frame = encodeFrame(
          { program: PROGRAM, version: 1, procedure: HOSTNAME, type: FRAME_TYPE.reply, serial, status: 0 },
          encodeResult(procedureNamed("remote", "connectGetHostname"), { hostname: "a" }),
        );
        peer.raw(Buffer.concat([frame, frame]));
      },
    ],
  ])("sends %s: the connection is closed with a protocol error, and every call is told", async (_, misbehave) => {
    const { peer, connection } = await connected();
    peer.on("connectGetUri", () => undefined);
    const other = rejection(connection.call("connectGetUri"));
    const call = rejection(connection.call("connectGetHostname"));
    const { serial } = await peer.called("connectGetHostname");
    misbehave(peer, serial);
    const closure = await connection.closed;
    expect(closure).toMatchObject({ reason: "protocol", error: { code: "LIBVIRT_PROTOCOL" } });
    const error = await other;
    expect(error).toBeInstanceOf(LibvirtDisconnectedError);
    expect(error).toMatchObject({ maybeExecuted: true, cause: { code: "LIBVIRT_PROTOCOL" } });
    await call;
    expect(connection.state).toBe("closed");
    expect(connection.inFlight + connection.queued).toBe(0);
  });

  it("announces a large frame and sends nothing, or sends it byte by byte: memory stays where it is", async () => {
    const { peer, connection } = await connected();
    const before = process.memoryUsage().arrayBuffers;
    peer.raw(u32(33_554_436));
    const single = Buffer.alloc(1);
    for (let i = 0; i < 20_000; i++) peer.raw(single);
    await new Promise((resolve) => setImmediate(resolve));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * MIB);
    expect(connection.state).toBe("open");
  });

  it("floods with events that are read slowly: the newest are kept, the rest is counted", async () => {
    const { peer, connection } = await connected();
    peer.on("connectDomainEventCallbackRegisterAny", () => ({ callbackId: 0 }));
    const reader = await connection.events("domain", ["reboot"], { capacity: 100 });
    const dom = { name: "d", uuid: "6695eb01-f6a4-8304-79aa-97f2502e193f", id: 1 };
    for (let i = 0; i < 20_000; i++) peer.event("domainEventCallbackReboot", { callbackId: 0, msg: { dom } });
    peer.on("connectGetHostname", () => ({ hostname: "still here" }));
    expect(await connection.call("connectGetHostname")).toEqual({ hostname: "still here" });
    expect(await reader.next()).toEqual({ done: false, value: { kind: "overflow", dropped: 19_900 } });
    expect(reader.queued).toBe(100);
  });

  it("floods with pings while it reads nothing: one answer waits, not thousands", async () => {
    const { peer, connection } = await connected();
    peer.pause();
    const ping = encodeFrame(
      { program: 0x6b656570, version: 1, procedure: 1, type: FRAME_TYPE.message, serial: 0, status: 0 },
      Buffer.alloc(0),
    );
    for (let i = 0; i < 10_000; i++) peer.raw(ping);
    await new Promise((resolve) => setImmediate(resolve));
    expect(peer.client.writableLength).toBeLessThan(MIB);
    expect(connection.state).toBe("open");
  });

  it("may split what it sends anywhere", async () => {
    const reply = (serial: number): Buffer =>
      encodeFrame(
        { program: PROGRAM, version: 1, procedure: HOSTNAME, type: FRAME_TYPE.reply, serial, status: 0 },
        encodeResult(procedureNamed("remote", "connectGetHostname"), { hostname: "somewhere" }),
      );
    const { peer, connection } = await connected();
    for (let i = 1, length = reply(1).length; i < length; i++) {
      const call = connection.call("connectGetHostname");
      const { serial } = await peer.called("connectGetHostname", i);
      const bytes = reply(serial);
      peer.raw(bytes.subarray(0, i));
      await new Promise((resolve) => setImmediate(resolve));
      peer.raw(bytes.subarray(i));
      expect(await call).toEqual({ hostname: "somewhere" });
    }
  });

  it("may send any bytes at all: the process is unharmed", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 28, maxLength: 400 }), fc.boolean(), async (bytes, framed) => {
        const { peer, connection } = await connected();
        const noise = Buffer.from(bytes);
        if (framed) {
          noise.writeUInt32BE(noise.length, 0);
          noise.writeUInt32BE(PROGRAM, 4);
          noise.writeUInt32BE(1, 8);
        }
        peer.raw(noise);
        await new Promise((resolve) => setImmediate(resolve));
        peer.hangUp();
        expect(["protocol", "eof"]).toContain((await connection.closed).reason);
      }),
      { numRuns: 200 },
    );
  });

  it("sends descriptors with a reply: the call fails, the frames after it are understood", async () => {
    const { peer, connection } = await connected();
    const call = rejection(connection.call("connectGetHostname"));
    const { serial } = await peer.called("connectGetHostname");
    const reply = encodeFrame(
      { program: PROGRAM, version: 1, procedure: HOSTNAME, type: FRAME_TYPE.replyWithFds, serial, status: 0 },
      Buffer.alloc(0),
      2,
    );
    peer.raw(Buffer.concat([reply, Buffer.alloc(2)]));
    expect(await call).toMatchObject({ code: "NOT_SUPPORTED", capability: "fdReceiving" });
    peer.on("connectGetUri", () => ({ uri: "test:///default" }));
    expect(await connection.call("connectGetUri")).toEqual({ uri: "test:///default" });
    const args = { dom: { name: "d", uuid: "6695eb01-f6a4-8304-79aa-97f2502e193f", id: 1 }, idx: 0, flags: 0 };
    expect(await rejection(connection.call("domainOpenGraphicsFd", args))).toMatchObject({ code: "NOT_SUPPORTED" });
  });
});

describe("a peer that does not let one in", () => {
  it("hangs up at any point of the opening: nothing stays open", async () => {
    for (const name of ["authList", "connectSupportsFeature", "connectOpen"]) {
      const peer = new FakePeer();
      peer.on(name, () => {
        peer.hangUp();
        return undefined;
      });
      expect(await rejection(connectTo(peer))).toMatchObject({ code: "LIBVIRT_CONNECT_FAILED" });
      expect(peer.client.destroyed).toBe(true);
    }
  });

  it("never answers: the deadline and the signal end the attempt", async () => {
    const peer = new FakePeer().on("connectOpen", () => undefined);
    expect(await rejection(connectTo(peer, { timeouts: { openMs: 50 } }))).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect(peer.client.destroyed).toBe(true);
    const silent = new FakePeer().on("authList", () => undefined);
    expect(await rejection(connectTo(silent, { signal: AbortSignal.timeout(20) } as object))).toMatchObject({
      code: "ABORTED",
    });
  });

  it("speaks something else: a protocol error", async () => {
    const peer = new FakePeer().on("authList", () => {
      peer.raw(Buffer.from("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"));
      return undefined;
    });
    expect(await rejection(connectTo(peer))).toMatchObject({ code: "LIBVIRT_PROTOCOL" });
  });

  it("refuses by polkit: the error says what helps", async () => {
    const peer = new FakePeer().on("authList", () => ({ types: [2] }));
    peer.on("authPolkit", (_, frame) => {
      peer.refuse(frame, { code: 45, domain: 7, message: "authentication failed" });
      return undefined;
    });
    expect(await rejection(connectTo(peer))).toMatchObject({
      code: "LIBVIRT_AUTHENTICATION_FAILED",
      remedy: expect.stringContaining("polkit") as unknown,
    });
  });

  it("offers only authentication that is not known", async () => {
    const peer = new FakePeer().on("authList", () => ({ types: [9] }));
    expect(await rejection(connectTo(peer))).toMatchObject({ code: "LIBVIRT_AUTHENTICATION_FAILED" });
  });
});
