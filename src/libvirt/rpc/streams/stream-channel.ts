/** One stream of the protocol: packets both ways between its opening call and its confirmed end. */
import type { RemoteError } from "../remote-error.js";
import { LibvirtError, LibvirtProtocolError } from "../errors.js";
import { FRAME_STATUS, FRAME_TYPE } from "../frame.js";
import type { Frame } from "../frame.js";
import type { Procedure } from "../procedure.js";

/** A run of zeros that is not sent as such. */
export interface StreamHole {
  /** Its length in bytes. */
  readonly hole: bigint;
}

/** What flows over a sparse stream. */
export type StreamPart = Buffer | StreamHole;

/** What a channel needs of its connection. */
export interface StreamCarrier {
  send(
    channel: StreamChannel,
    payload: Uint8Array,
    what: { readonly status: number; readonly hole?: boolean },
  ): boolean;
  /** What waits unread has become more or less, or the channel has begun or ceased to wait for the daemon. */
  balance(): void;
  /** The stream is over; packets for it are dropped from now on. */
  forget(channel: StreamChannel): void;
  decodeError(payload: Buffer): RemoteError;
}

/** Whom a channel tells. */
export interface StreamListener {
  /** Something can be read, or nothing will come any more. */
  readable(): void;
  /** The stream has failed, whoever broke it. */
  failed(error: Error): void;
}

/**
 * - `opening`: the call is under way; the daemon may send already. `open`: data may flow both ways.
 * - `finishing`, `aborting`: this side has ended the stream and the daemon has not confirmed it.
 * - `closed`: neither side sends any more.
 */
export type StreamState = "opening" | "open" | "finishing" | "aborting" | "closed";

/** The most data that libvirt itself puts into one packet. */
export const MAX_STREAM_PACKET = 262_120;
const EMPTY = Buffer.alloc(0);
/** What an item in the queue costs beside its bytes: a peer may send a million packets of one byte. */
const PART_OVERHEAD = 256;

export class StreamChannel {
  readonly procedure: Procedure;
  readonly sparse: boolean;
  /** How much may wait unread before the connection is held up. */
  readonly bufferBytes: number;
  readonly maxBufferedBytes: number;
  #serial = 0;
  #state: StreamState = "opening";
  #carrier: StreamCarrier | undefined;
  #listener: StreamListener | undefined;
  #parts: StreamPart[] = [];
  #head = 0;
  #buffered = 0;
  #eof = false;
  #failure: Error | undefined;
  #resolveClosed!: () => void;
  /** Resolves when the stream is over, confirmed or failed. */
  readonly closed: Promise<void>;

  constructor(
    procedure: Procedure,
    options: { readonly sparse: boolean; readonly bufferBytes: number; readonly maxBufferedBytes: number },
  ) {
    this.procedure = procedure;
    this.sparse = options.sparse;
    this.bufferBytes = options.bufferBytes;
    this.maxBufferedBytes = Math.max(options.bufferBytes, options.maxBufferedBytes);
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve));
  }

  get serial(): number {
    return this.#serial;
  }

  get state(): StreamState {
    return this.#state;
  }

  /** Bytes that wait to be read, with what keeping them costs. */
  get buffered(): number {
    return this.#buffered;
  }

  /** Whether the daemon has something to confirm. */
  get confirming(): boolean {
    return this.#state === "finishing" || this.#state === "aborting";
  }

  /** Whether nothing more will come than what waits to be read. */
  get ended(): boolean {
    return this.#eof || this.#state === "closed" || this.#state === "aborting";
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Whether all has been read and the daemon has confirmed the end. */
  get exhausted(): boolean {
    return this.#state === "closed" && this.#head === this.#parts.length;
  }

  listen(listener: StreamListener): void {
    this.#listener = listener;
  }

  /** The opening call leaves. */
  attach(carrier: StreamCarrier, serial: number): void {
    this.#carrier = carrier;
    this.#serial = serial;
  }

  /** The daemon has opened the stream. It may have sent data, or all of it, before it said so. */
  opened(): void {
    if (this.#state !== "opening") return;
    this.#state = "open";
    if (this.#eof) this.finish();
  }

  /** Takes the next part that waits; undefined when none does. */
  read(): StreamPart | undefined {
    if (this.#head === this.#parts.length) return undefined;
    const part = this.#parts[this.#head] as StreamPart;
    this.#head++;
    this.#buffered -= costOf(part);
    if (this.#head === this.#parts.length) {
      this.#parts = [];
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#parts.length) {
      this.#parts = this.#parts.slice(this.#head);
      this.#head = 0;
    }
    this.#carrier?.balance();
    return part;
  }

  /** Sends data, in packets of the size that libvirt uses; false when the sender should pause. */
  write(data: Uint8Array): boolean {
    let go = true;
    for (let offset = 0; offset < data.length && this.#state === "open"; offset += MAX_STREAM_PACKET)
      go = this.#send(data.subarray(offset, offset + MAX_STREAM_PACKET), { status: FRAME_STATUS.continue });
    return go;
  }

  writeHole(length: bigint): boolean {
    if (this.#state !== "open") return true;
    const payload = Buffer.alloc(12);
    payload.writeBigInt64BE(length, 0);
    return this.#send(payload, { status: FRAME_STATUS.continue, hole: true });
  }

  /** Says that nothing more is to come from this side and asks the daemon to confirm. */
  finish(): void {
    if (this.#state !== "open") return;
    this.#state = "finishing";
    this.#send(EMPTY, { status: FRAME_STATUS.ok });
    this.#carrier?.balance();
  }

  /** Breaks the stream off. What waits unread is dropped, and so is what still comes. */
  abort(): void {
    this.#drop();
    if (this.#state === "closed" || this.#state === "aborting") return;
    // A call that has not been answered yet is answered by `refused` or `opened`; see the connection.
    const tell = this.#state === "open" || this.#state === "finishing";
    this.#state = "aborting";
    if (tell) this.#send(EMPTY, { status: FRAME_STATUS.error });
    this.#carrier?.balance();
  }

  /** The daemon has opened a stream that was aborted meanwhile. */
  abortLate(): void {
    if (this.#state === "aborting") this.#send(EMPTY, { status: FRAME_STATUS.error });
  }

  /** The stream is over: its call was refused, or its connection is gone. */
  fail(error: Error): void {
    if (this.#state === "closed") return;
    const wanted = this.#state !== "aborting";
    this.#close();
    if (!wanted) return;
    this.#failure = error;
    this.#drop();
    this.#listener?.failed(error);
  }

  /** @throws LibvirtProtocolError for what can't come now */
  onPacket(frame: Frame): void {
    const hole = frame.type === FRAME_TYPE.streamHole;
    switch (frame.status) {
      case FRAME_STATUS.continue:
        if (this.#state === "aborting") return;
        if (hole) return this.#onHole(frame.payload);
        return frame.payload.length === 0 ? this.#onEnd() : this.#onPart(frame.payload);
      case FRAME_STATUS.ok:
        if (!this.confirming || hole) throw this.#bad("a confirmation of what was not asked");
        return this.#onConfirmed();
      case FRAME_STATUS.error:
        return this.#onError(frame.payload);
      default:
        throw this.#bad(`a packet of status ${frame.status}`);
    }
  }

  #onPart(part: StreamPart): void {
    if (this.procedure.stream === "write") throw this.#bad("data over a stream that is only written");
    if (this.#eof) throw this.#bad("data after the end");
    this.#parts.push(part);
    this.#buffered += costOf(part);
    this.#carrier?.balance();
    this.#listener?.readable();
  }

  #onHole(payload: Buffer): void {
    if (!this.sparse) throw this.#bad("a hole although holes were not asked for");
    const length = payload.length < 12 ? -1n : payload.readBigInt64BE(0);
    if (length < 0n) throw this.#bad("a hole of no length");
    this.#onPart({ hole: length });
  }

  /** The daemon has sent all. It is told so, and its confirmation says whether all was well. */
  #onEnd(): void {
    if (this.procedure.stream === "write") throw this.#bad("an end of data over a stream that is only written");
    this.#eof = true;
    this.finish();
  }

  #onConfirmed(): void {
    this.#eof = true;
    const wanted = this.#state !== "aborting";
    this.#close();
    if (wanted) this.#listener?.readable();
  }

  #onError(payload: Buffer): void {
    if (this.#state === "aborting") return this.#close();
    const carrier = this.#carrier;
    if (carrier === undefined) return;
    this.fail(new LibvirtError(carrier.decodeError(payload), { procedure: this.procedure.name }));
  }

  #send(payload: Uint8Array, what: { readonly status: number; readonly hole?: boolean }): boolean {
    return this.#carrier?.send(this, payload, what) ?? true;
  }

  #close(): void {
    this.#state = "closed";
    this.#carrier?.forget(this);
    this.#carrier?.balance();
    this.#resolveClosed();
  }

  #drop(): void {
    this.#parts = [];
    this.#head = 0;
    this.#buffered = 0;
    this.#carrier?.balance();
  }

  #bad(what: string): LibvirtProtocolError {
    return new LibvirtProtocolError(`the peer sent ${what} (${this.procedure.name})`);
  }
}

function costOf(part: StreamPart): number {
  return PART_OVERHEAD + (Buffer.isBuffer(part) ? part.length : 0);
}
