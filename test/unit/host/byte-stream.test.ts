import { Duplex } from "node:stream";
import { describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import { ByteStream } from "../../../src/host/index.js";
import type { ByteSink } from "../../../src/host/index.js";

/** A stream whose writes wait until they are let through. */
class SlowStream extends Duplex {
  readonly written: string[] = [];
  readonly #waiting: (() => void)[] = [];

  constructor() {
    super({ highWaterMark: 4 });
  }

  override _read(): void {
    // What is to be read is pushed by the test.
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.written.push(chunk.toString());
    this.#waiting.push(done);
  }

  /** Takes what was written so far, and all that comes up thereby. */
  async takeWritten(): Promise<void> {
    for (let done = this.#waiting.shift(); done !== undefined; done = this.#waiting.shift()) {
      done();
      await new Promise(setImmediate);
    }
  }
}

function listen(): ByteSink & { readonly told: string[] } {
  const told: string[] = [];
  return {
    told,
    data: (chunk) => told.push(chunk.toString()),
    drained: () => told.push("drained"),
    ended: (error) => told.push(error === undefined ? "ended" : `ended: ${error.message}`),
  };
}

describe("a stream with one owner", () => {
  it("gives what comes, and its end once, whatever ended it", async () => {
    const stream = new SlowStream();
    const bytes = new ByteStream(stream);
    const sink = listen();
    bytes.start(sink);
    stream.push("ab");
    await new Promise(setImmediate);
    stream.destroy(new Error("gone"));
    await new Promise(setImmediate);
    expect(sink.told).toEqual(["ab", "ended: gone"]);
    expect(bytes.ended).toBe(true);
    expect(bytes.send("x")).toBe(true);
    await bytes.close(10);
    expect(sink.told).toHaveLength(2);
  });

  it("tells an end that came before anybody listened, with what explains it", async () => {
    const stream = new SlowStream();
    const bytes = new ByteStream(stream, { explain: () => Promise.resolve(new Error("no such host")) });
    stream.destroy();
    const sink = listen();
    bytes.start(sink);
    await new Promise(setImmediate);
    expect(sink.told).toEqual(["ended: no such host"]);
  });

  it("says when it is full and when it has drained, and gathers what is sent in one turn", async () => {
    const stream = new SlowStream();
    const bytes = new ByteStream(stream, { gather: true });
    const sink = listen();
    bytes.start(sink);
    expect(bytes.send("a")).toBe(true);
    expect(bytes.send("bcdef")).toBe(false);
    expect(stream.written).toEqual([]);
    expect(bytes.blocked).toBe(true);
    await new Promise(setImmediate);
    await stream.takeWritten();
    expect(stream.written.join("")).toBe("abcdef");
    expect(sink.told).toEqual(["drained"]);
    expect(bytes.blocked).toBe(false);
  });

  it("lets nothing come between what is sent exclusively, and one such task run at a time", async () => {
    const stream = new SlowStream();
    const bytes = new ByteStream(stream);
    bytes.start(listen());
    bytes.send("1");
    const task = bytes.exclusively(async (write) => {
      await bytes.flushed();
      write(Buffer.from("2"));
    });
    expect(bytes.send("3")).toBe(false);
    await expect(bytes.exclusively(() => Promise.resolve())).rejects.toMatchObject({ code: "BUSY" });
    const abort = new AbortController();
    const waiting = bytes.flushed(abort.signal);
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
    await stream.takeWritten();
    await task;
    await stream.takeWritten();
    expect(stream.written.filter((text) => text !== "")).toEqual(["1", "2", "3"]);
  });

  it("closes when all has left, or when its grace is over", async () => {
    const clock = new VirtualClock();
    const [left, stuck] = [new SlowStream(), new SlowStream()];
    const bytes = new ByteStream(left, { clock });
    bytes.start(listen());
    bytes.send("x");
    const closing = bytes.close(1_000);
    await left.takeWritten();
    await closing;
    expect(left.destroyed).toBe(true);

    const other = new ByteStream(stuck, { clock });
    other.start(listen());
    other.send("x");
    const late = other.close(1_000);
    expect(stuck.destroyed).toBe(false);
    await clock.tick(1_000);
    await late;
    expect(stuck.destroyed).toBe(true);
  });
});
