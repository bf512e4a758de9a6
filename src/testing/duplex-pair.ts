/** Two streams in memory, each of which reads what is written to the other: a socketpair without a system call. */
import { Duplex } from "node:stream";

/** Makes a pair. Ending or destroying one ends the other. */
export function duplexPair(): readonly [Duplex, Duplex] {
  const a: PairedDuplex = new PairedDuplex(() => b);
  const b: PairedDuplex = new PairedDuplex(() => a);
  return [a, b];
}

class PairedDuplex extends Duplex {
  readonly #peer: () => PairedDuplex;
  #resume: (() => void) | undefined;

  constructor(peer: () => PairedDuplex) {
    super({ allowHalfOpen: false });
    this.#peer = peer;
  }

  override _read(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const peer = this.#peer();
    if (peer.destroyed || peer.readableEnded)
      return done(Object.assign(new Error("the other end is closed"), { code: "EPIPE" }));
    // Delivered in another turn of the event loop, as a socket would.
    setImmediate(() => {
      if (peer.destroyed || peer.push(chunk)) done();
      else peer.#resume = done;
    });
  }

  override _final(done: (error?: Error | null) => void): void {
    setImmediate(() => {
      const peer = this.#peer();
      if (!peer.destroyed) peer.push(null);
      done();
    });
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const peer = this.#peer();
    setImmediate(() => {
      const resume = this.#resume;
      this.#resume = undefined;
      resume?.();
      if (!peer.destroyed && !peer.readableEnded) peer.push(null);
    });
    done(error);
  }
}
