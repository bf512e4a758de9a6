/** The streams of one connection: finds the one that a packet is for, and holds the daemon up when they are not read. */
import { decodeError } from "../codec.js";
import { LibvirtProtocolError } from "../errors.js";
import type { Frame } from "../frame.js";
import { PROGRAMS } from "../procedures.js";
import type { Wire } from "../wire.js";
import type { StreamCarrier, StreamChannel } from "./stream-channel.js";

export class StreamTable implements StreamCarrier {
  readonly #wire: Wire;
  readonly #callsPending: () => boolean;
  readonly #channels = new Map<number, StreamChannel>();
  readonly #waitingForDrain = new Set<() => void>();

  /** @param callsPending whether a caller waits for a reply, which comes behind what the streams bring. */
  constructor(wire: Wire, callsPending: () => boolean) {
    this.#wire = wire;
    this.#callsPending = callsPending;
  }

  get size(): number {
    return this.#channels.size;
  }

  add(channel: StreamChannel, serial: number): void {
    this.#channels.set(serial, channel);
    channel.attach(this, serial);
  }

  find(serial: number): StreamChannel | undefined {
    return this.#channels.get(serial);
  }

  /** A packet for a stream that is gone is dropped, as libvirt does. @throws LibvirtProtocolError */
  onPacket(frame: Frame): void {
    const channel = this.#channels.get(frame.serial);
    if (channel === undefined) return;
    const { procedure } = channel;
    if (frame.procedure !== procedure.number || frame.program !== PROGRAMS[procedure.program].number)
      throw new LibvirtProtocolError(`the peer sent a packet of procedure ${frame.procedure} to a stream of another`);
    channel.onPacket(frame);
  }

  /** Calls back when what was sent has left this process. @returns takes that back */
  onceDrained(callback: () => void): () => void {
    this.#waitingForDrain.add(callback);
    return () => void this.#waitingForDrain.delete(callback);
  }

  onDrained(): void {
    const waiting = [...this.#waitingForDrain];
    this.#waitingForDrain.clear();
    for (const callback of waiting) callback();
  }

  /** All streams fail: the connection is gone. */
  failAll(error: Error): void {
    for (const channel of [...this.#channels.values()]) channel.fail(error);
    this.onDrained();
  }

  send(
    channel: StreamChannel,
    payload: Uint8Array,
    what: { readonly status: number; readonly hole?: boolean },
  ): boolean {
    return this.#wire.sendStream(channel.procedure, channel.serial, payload, what);
  }

  forget(channel: StreamChannel): void {
    if (this.#channels.get(channel.serial) === channel) this.#channels.delete(channel.serial);
  }

  decodeError(payload: Buffer): ReturnType<typeof decodeError> {
    return decodeError(payload);
  }

  /**
   * Reading stops when a stream has more unread than its buffer holds: libvirt has no other way to slow one stream down.
   * While replies are awaited it goes on, up to a larger bound: else a reader that waits for a call would wait for itself.
   */
  balance(): void {
    let over = false;
    let farOver = false;
    let pending = this.#callsPending();
    for (const channel of this.#channels.values()) {
      over ||= channel.buffered > channel.bufferBytes;
      farOver ||= channel.buffered > channel.maxBufferedBytes;
      pending ||= channel.confirming;
    }
    if (farOver || (over && !pending)) this.#wire.pause(this);
    else this.#wire.resume(this);
  }
}
