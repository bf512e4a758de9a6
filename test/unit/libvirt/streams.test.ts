import { once } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { afterEach, describe, expect, it } from "vitest";
import type {
  LibvirtConnection,
  LibvirtConnectionOptions,
  LibvirtStream,
  LibvirtStreamOptions,
} from "../../../src/libvirt/rpc/index.js";
import { encodeError } from "../../../src/libvirt/rpc/codec.js";
import { FRAME_STATUS, FRAME_TYPE } from "../../../src/libvirt/rpc/frame.js";
import type { Frame } from "../../../src/libvirt/rpc/frame.js";
import { FakePeer, connectTo, rejection } from "./support/fake-peer.js";

const VOL = { pool: "p", name: "v", key: "k" };
const ARGS = { vol: VOL, offset: 0n, length: 0n, flags: 0 };
const DOM = { name: "d", uuid: "6695eb01-f6a4-8304-79aa-97f2502e193f", id: 1 };
const { ok, error, continue: more } = FRAME_STATUS;
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function connected(
  options: LibvirtConnectionOptions = {},
): Promise<{ peer: FakePeer; connection: LibvirtConnection }> {
  const peer = new FakePeer();
  for (const name of ["storageVolDownload", "storageVolUpload", "domainOpenConsole"]) peer.on(name, () => ({}));
  peer.on("connectGetHostname", () => ({ hostname: "h" }));
  const connection = await connectTo(peer, {
    ...options,
    timeouts: { closeMs: 20, streamFinishMs: 200, ...options.timeouts },
  });
  cleanups.push(() => connection.close());
  return { peer, connection };
}

interface Opened {
  readonly peer: FakePeer;
  readonly connection: LibvirtConnection;
  readonly stream: LibvirtStream;
  /** Sends a packet. */
  packet(status: number, payload?: Uint8Array, type?: number): void;
  /** The packets that came from the client. */
  packets(): Frame[];
  /** Waits for the packet of this status. */
  came(status: number): Promise<void>;
}

async function opened(
  name: "storageVolDownload" | "storageVolUpload" | "domainOpenConsole",
  options: LibvirtStreamOptions = {},
  connectionOptions: LibvirtConnectionOptions = {},
): Promise<Opened> {
  const { peer, connection } = await connected(connectionOptions);
  const args = name === "domainOpenConsole" ? { dom: DOM, flags: 0 } : ARGS;
  const stream = await connection.openStream(name, args, options);
  stream.on("error", () => undefined);
  const call = await peer.called(name);
  const packets = (): Frame[] =>
    peer.frames.filter((frame) => frame.type === FRAME_TYPE.stream || frame.type === FRAME_TYPE.streamHole);
  return {
    peer, connection, stream, packets,
    packet: (status, payload = Buffer.alloc(0), type = FRAME_TYPE.stream) =>
      peer.send({ procedure: call.procedure, serial: call.serial, type, status }, payload),
    came: (status) => peer.until(() => packets().some((frame) => frame.status === status)),
  }; // prettier-ignore
}

async function collect(stream: Readable): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

function hole(length: bigint): Buffer {
  const payload = Buffer.alloc(12);
  payload.writeBigInt64BE(length);
  return payload;
}

describe("a stream that is read", () => {
  it("ends when the daemon has sent all and has confirmed it, not before", async () => {
    const { stream, packet, came } = await opened("storageVolDownload");
    packet(more, Buffer.from("ab"));
    packet(more, Buffer.from("c"));
    packet(more);
    const all = collect(stream);
    await came(ok);
    expect(stream.readableEnded).toBe(false);
    packet(ok);
    expect((await all).toString()).toBe("abc");
  });

  it("fails with the daemon's error, also at the confirmation", async () => {
    const failure = encodeError({ code: 38, domain: 18, level: 2, int1: 5, int2: 0, message: "Lesefehler" });
    const early = await opened("storageVolDownload");
    early.packet(more, Buffer.from("ab"));
    early.packet(error, failure);
    expect(await rejection(collect(early.stream))).toMatchObject({
      code: "LIBVIRT",
      errno: "EIO",
      procedure: "storageVolDownload",
    });
    const late = await opened("storageVolDownload");
    late.packet(more);
    await late.came(ok);
    late.packet(error, failure);
    expect(await rejection(collect(late.stream))).toMatchObject({ errno: "EIO" });
    expect(await late.connection.call("connectGetHostname")).toEqual({ hostname: "h" });
  });

  it("holds the daemon up when it is not read, but lets replies through", async () => {
    const { peer, connection, stream, packet } = await opened("storageVolDownload", {
      bufferBytes: 64 * 1024,
      maxBufferedBytes: 1024 * 1024,
    });
    const chunk = Buffer.alloc(16 * 1024, 7);
    for (let i = 0; i < 256; i++) packet(more, chunk);
    packet(more);
    await new Promise((resolve) => setImmediate(resolve));
    expect(peer.client.isPaused()).toBe(true);
    const call = connection.call("connectGetHostname");
    expect(peer.client.isPaused()).toBe(false);
    const reading = collect(stream);
    expect(await call).toEqual({ hostname: "h" });
    await peer.until(() => peer.frames.some((frame) => frame.type === FRAME_TYPE.stream && frame.status === ok));
    packet(ok);
    expect((await reading).length).toBe(256 * chunk.length);
    expect(peer.client.isPaused()).toBe(false);
  });

  it("is broken off: the daemon is told, what still comes is dropped, and close waits for its word", async () => {
    const { connection, stream, packet, came } = await opened("storageVolDownload");
    packet(more, Buffer.from("unread"));
    const gone = stream.abort();
    await came(error);
    packet(more, Buffer.from("on its way"));
    expect(stream.closed).toBe(false);
    packet(ok);
    await gone;
    packet(more, Buffer.from("too late"));
    expect(await connection.call("connectGetHostname")).toEqual({ hostname: "h" });
  });

  it("is given up when the daemon does not confirm", async () => {
    const { stream, came } = await opened("storageVolDownload", {}, { timeouts: { streamFinishMs: 20 } });
    const gone = stream.abort();
    await came(error);
    await gone;
    expect(stream.destroyed).toBe(true);
  });

  it("that was opened too late for its caller is broken off at once", async () => {
    const { peer, connection } = await connected();
    peer.on("storageVolDownload", () => undefined);
    const late = rejection(connection.openStream("storageVolDownload", ARGS, { deadlineMs: 20 }));
    const call = await peer.called("storageVolDownload");
    expect(await late).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    peer.reply(call, "storageVolDownload", {});
    await peer.until(() => peer.frames.some((frame) => frame.type === FRAME_TYPE.stream && frame.status === error));
    peer.send(
      { procedure: call.procedure, serial: call.serial, type: FRAME_TYPE.stream, status: more },
      Buffer.from("x"),
    );
    expect(await connection.call("connectGetHostname")).toEqual({ hostname: "h" });
  });

  it("tells holes apart when it is sparse", async () => {
    const { peer, stream, packet, came } = await opened("storageVolDownload", { sparse: true });
    expect(
      (await peer.called("storageVolDownload")).payload.readUInt32BE(
        (await peer.called("storageVolDownload")).payload.length - 4,
      ),
    ).toBe(1);
    packet(more, Buffer.from("ab"));
    packet(more, hole(1n << 40n), FRAME_TYPE.streamHole);
    packet(more);
    const parts: unknown[] = [];
    const reading = (async () => {
      for await (const part of stream) parts.push(part);
    })();
    await came(ok);
    packet(ok);
    await reading;
    expect(parts).toEqual([Buffer.from("ab"), { hole: 1n << 40n }]);
  });
});

describe("a stream that the daemon serves before it has said that it is open", () => {
  async function early(serve: (packet: (status: number, payload?: Uint8Array) => void) => void) {
    const { peer, connection } = await connected();
    peer.on("storageVolDownload", (_, { procedure, serial }) => {
      serve((status, payload = Buffer.alloc(0)) =>
        peer.send({ procedure, serial, type: FRAME_TYPE.stream, status }, payload),
      );
      return {};
    });
    return { peer, stream: await connection.openStream("storageVolDownload", ARGS) };
  }

  it("has all that was sent", async () => {
    const { peer, stream } = await early((packet) => {
      packet(more, Buffer.from("early"));
      packet(more);
    });
    const finish = (frame: Frame): boolean => frame.type === FRAME_TYPE.stream && frame.status === ok;
    await peer.until(() => peer.frames.some(finish));
    const { procedure, serial } = peer.frames.find(finish) as Frame;
    peer.send({ procedure, serial, type: FRAME_TYPE.stream, status: ok });
    expect((await collect(stream)).toString()).toBe("early");
  });

  it("fails with the error that was sent", async () => {
    const failure = encodeError({ code: 38, domain: 18, level: 2, int1: 5, int2: 0 });
    const { stream } = await early((packet) => packet(error, failure));
    expect(await rejection(collect(stream))).toMatchObject({ code: "LIBVIRT", errno: "EIO" });
  });
});

describe("a stream that is written", () => {
  it("is finished when the daemon has confirmed, in packets of libvirt's size", async () => {
    const { stream, packet, packets, came } = await opened("storageVolUpload");
    const written = pipeline(Readable.from([Buffer.alloc(600_000, 1), Buffer.from("end")]), stream);
    let done = false;
    void written.then(() => (done = true));
    await came(ok);
    expect(packets().map((frame) => frame.payload.length)).toEqual([262_120, 262_120, 75_760, 3, 0]);
    expect(done).toBe(false);
    packet(ok);
    await written;
  });

  it("waits while the daemon takes nothing, and gives up when that lasts", async () => {
    const { peer, stream } = await opened(
      "storageVolUpload",
      {},
      { timeouts: { streamStallMs: 50, streamFinishMs: 50 } },
    );
    peer.pause();
    const chunk = Buffer.alloc(256 * 1024);
    const failed = once(stream, "error");
    let accepted = 0;
    while (stream.write(chunk) && accepted < 100) accepted++;
    expect(accepted).toBeLessThan(20);
    expect((await failed)[0]).toMatchObject({ code: "DEADLINE_EXCEEDED" });
  });

  it("takes no more than the call announced, data and holes alike, and breaks the stream off", async () => {
    const { peer, connection } = await connected();
    const args = { vol: VOL, offset: 0n, length: 8n, flags: 1 };
    const stream = await connection.openStream("storageVolUpload", args);
    const failed = once(stream, "error");
    stream.write(Buffer.from("abcd"));
    stream.write({ hole: 4n });
    stream.write(Buffer.from("e"));
    expect((await failed)[0]).toMatchObject({ code: "INVALID_ARGUMENT", field: "length" });
    const packets = (): Frame[] =>
      peer.frames.filter((frame) => frame.type === FRAME_TYPE.stream || frame.type === FRAME_TYPE.streamHole);
    await peer.until(() => packets().some((frame) => frame.status === error));
    expect(packets().map((frame) => [frame.type, frame.payload.length])).toEqual([
      [FRAME_TYPE.stream, 4],
      [FRAME_TYPE.streamHole, 12],
      [FRAME_TYPE.stream, 0],
    ]);
  });

  it("sends holes as holes, and refuses those that are none", async () => {
    const { stream, packets, packet, came } = await opened("storageVolUpload", { sparse: true });
    stream.write({ hole: 5n });
    stream.end(Buffer.from("x"));
    await came(ok);
    expect(packets().map((frame) => [frame.type, frame.payload.toString("hex")])).toEqual([
      [FRAME_TYPE.streamHole, "000000000000000500000000"],
      [FRAME_TYPE.stream, "78"],
      [FRAME_TYPE.stream, ""],
    ]);
    packet(ok);
    const other = await opened("storageVolUpload", { sparse: true });
    const failed = once(other.stream, "error");
    other.stream.write({ hole: -1n });
    expect((await failed)[0]).toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("a console", () => {
  it("ends both ways when either side ends it", async () => {
    const ours = await opened("domainOpenConsole");
    ours.packet(more, Buffer.from("login: "));
    expect(String((await once(ours.stream, "data"))[0])).toBe("login: ");
    ours.stream.end("root\n");
    await ours.came(ok);
    ours.packet(more, Buffer.from("last words"));
    const words = once(ours.stream, "data");
    ours.packet(ok);
    expect(String((await words)[0])).toBe("last words");
    await once(ours.stream, "close");

    const theirs = await opened("domainOpenConsole");
    theirs.stream.resume();
    theirs.packet(more);
    await theirs.came(ok);
    theirs.packet(ok);
    await once(theirs.stream, "close");
    expect(theirs.stream.writableFinished).toBe(true);
  });

  it("fails when the connection does", async () => {
    const { peer, stream } = await opened("domainOpenConsole");
    const failed = once(stream, "error");
    peer.hangUp();
    expect((await failed)[0]).toMatchObject({ code: "LIBVIRT_DISCONNECTED", maybeExecuted: true });
  });
});

describe("a peer that breaks the rules of streams", () => {
  it.each<[string, "storageVolDownload" | "storageVolUpload", (stream: Opened) => void]>([
    ["data over an upload", "storageVolUpload", (stream) => stream.packet(more, Buffer.from("x"))],
    ["an end of data over an upload", "storageVolUpload", (stream) => stream.packet(more)],
    ["a confirmation that nobody asked for", "storageVolDownload", (stream) => stream.packet(ok)],
    [
      "a hole where there are none",
      "storageVolDownload",
      (stream) => stream.packet(more, hole(3n), FRAME_TYPE.streamHole),
    ],
    [
      "data after the end",
      "storageVolDownload",
      (stream) => (stream.packet(more), stream.packet(more, Buffer.from("x"))),
    ],
    ["a packet of status 9", "storageVolDownload", (stream) => stream.packet(9)],
    ["an error that is none", "storageVolDownload", (stream) => stream.packet(error, Buffer.from("x"))],
  ])("sends %s: the connection is closed", async (_, name, misbehave) => {
    const stream = await opened(name);
    misbehave(stream);
    expect(await stream.connection.closed).toMatchObject({ reason: "protocol", error: { code: "LIBVIRT_PROTOCOL" } });
    expect(stream.stream.destroyed).toBe(true);
  });

  it("sends a hole of negative length, or confirms what it has not opened", async () => {
    const negative = await opened("storageVolDownload", { sparse: true });
    negative.packet(more, hole(-1n), FRAME_TYPE.streamHole);
    expect(await negative.connection.closed).toMatchObject({ reason: "protocol" });
    const { peer, connection } = await connected();
    peer.on("storageVolDownload", () => undefined);
    const call = rejection(connection.openStream("storageVolDownload", ARGS));
    const { procedure, serial } = await peer.called("storageVolDownload");
    peer.send({ procedure, serial, type: FRAME_TYPE.stream, status: ok });
    expect(await connection.closed).toMatchObject({ reason: "protocol" });
    expect(await call).toMatchObject({ code: "LIBVIRT_DISCONNECTED" });
  });

  it("sends packets to streams that never were: they are dropped", async () => {
    const { peer, connection } = await connected();
    peer.send({ procedure: 209, serial: 4711, type: FRAME_TYPE.stream, status: more }, Buffer.from("x"));
    expect(await connection.call("connectGetHostname")).toEqual({ hostname: "h" });
  });
});
