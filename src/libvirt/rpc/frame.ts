/** libvirt's frames: a length, a header of six numbers, and a payload, on the way out and on the way in. */
import { LibvirtProtocolError } from "./errors.js";

/** What a frame is. */
export const FRAME_TYPE = {
  call: 0,
  reply: 1,
  message: 2,
  stream: 3,
  callWithFds: 4,
  replyWithFds: 5,
  streamHole: 6,
} as const;

/** How a reply, or a packet of a stream, is meant. */
export const FRAME_STATUS = { ok: 0, error: 1, continue: 2 } as const;

/** Of which program, procedure and call a frame is. */
export interface FrameHeader {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  readonly type: number;
  /** Chosen by the client; 1 on events, 0 on keepalive. */
  readonly serial: number;
  readonly status: number;
}

/** A frame that has come. The payload stays as it is. */
export interface Frame extends FrameHeader {
  readonly payload: Buffer;
  /** How many descriptors came with it; a plain read loses them. */
  readonly fdCount: number;
}

const LENGTH_BYTES = 4;
/** Length and header. */
export const FRAME_OVERHEAD = 28;
/** The longest frame that libvirt takes, its length field included. */
export const MAX_FRAME_BYTES = 33_554_436;
/** The longest payload that fits into one. */
export const MAX_PAYLOAD_BYTES = MAX_FRAME_BYTES - FRAME_OVERHEAD;
/** The most descriptors that libvirt sends or takes with one frame. */
export const MAX_FRAME_FDS = 32;

/**
 * The bytes of a frame, in one piece.
 * @param fdCount for frames that descriptors follow: how many.
 */
export function encodeFrame(header: FrameHeader, payload: Uint8Array, fdCount?: number): Buffer {
  const extra = fdCount === undefined ? 0 : 4;
  const length = FRAME_OVERHEAD + extra + payload.length;
  const frame = Buffer.allocUnsafe(length);
  frame.writeUInt32BE(length, 0);
  frame.writeUInt32BE(header.program, 4);
  frame.writeUInt32BE(header.version, 8);
  frame.writeInt32BE(header.procedure, 12);
  frame.writeInt32BE(header.type, 16);
  frame.writeUInt32BE(header.serial, 20);
  frame.writeInt32BE(header.status, 24);
  if (fdCount !== undefined) frame.writeUInt32BE(fdCount, FRAME_OVERHEAD);
  frame.set(payload, FRAME_OVERHEAD + extra);
  return frame;
}

const EMPTY = Buffer.alloc(0);

/**
 * Cuts a stream of bytes into frames. A length is looked at before anything is kept, and memory is taken for at most twice of
 * what has come: a peer that announces a large frame costs nothing until it sends it.
 */
export class FrameDecoder {
  readonly #onFrame: (frame: Frame) => void;
  readonly #maxBytes: number;
  /** What has come of the frame under way: the first {@link FrameDecoder.buffered} bytes of it. */
  #pending = EMPTY;
  #buffered = 0;
  /** Length of the frame under way; 0 while its first four bytes are not there. */
  #expected = 0;
  /** Bytes to throw away: each stands for a descriptor that a plain read does not receive. */
  #skip = 0;
  #stopped = false;

  /** @param maxBytes the longest frame to take; at most libvirt's own {@link MAX_FRAME_BYTES}. */
  constructor(onFrame: (frame: Frame) => void, maxBytes = MAX_FRAME_BYTES) {
    this.#onFrame = onFrame;
    this.#maxBytes = Math.min(maxBytes, MAX_FRAME_BYTES);
  }

  /** Bytes of a frame that is not complete. */
  get buffered(): number {
    return this.#buffered;
  }

  /** No frame is handed out any more. */
  stop(): void {
    this.#stopped = true;
    this.#pending = EMPTY;
    this.#buffered = 0;
  }

  /** Takes the next bytes and hands out each frame that they complete. @throws LibvirtProtocolError and stops there. */
  push(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0 && !this.#stopped) rest = this.#take(rest);
  }

  /** Takes what belongs to one frame and gives back the rest. */
  #take(bytes: Buffer): Buffer {
    if (this.#skip > 0) {
      const skipped = Math.min(this.#skip, bytes.length);
      this.#skip -= skipped;
      return bytes.subarray(skipped);
    }
    if (this.#expected === 0) {
      const missing = LENGTH_BYTES - this.#buffered;
      if (bytes.length < missing) return this.#keep(bytes, bytes.length);
      if (this.#buffered === 0) this.#expected = this.#checkLength(bytes.readUInt32BE(0));
      else {
        const rest = this.#keep(bytes, missing);
        this.#expected = this.#checkLength(this.#pending.readUInt32BE(0));
        return rest;
      }
    }
    const missing = this.#expected - this.#buffered;
    if (bytes.length < missing) return this.#keep(bytes, bytes.length);
    if (this.#buffered === 0) {
      this.#deliver(bytes.subarray(0, missing));
      return bytes.subarray(missing);
    }
    const rest = this.#keep(bytes, missing);
    const frame = this.#pending.subarray(0, this.#buffered);
    this.#pending = EMPTY;
    this.#buffered = 0;
    this.#deliver(frame);
    return rest;
  }

  #keep(bytes: Buffer, count: number): Buffer {
    const needed = this.#buffered + count;
    if (needed > this.#pending.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(this.#expected, 2 * needed), LENGTH_BYTES));
      this.#pending.copy(grown, 0, 0, this.#buffered);
      this.#pending = grown;
    }
    bytes.copy(this.#pending, this.#buffered, 0, count);
    this.#buffered = needed;
    return bytes.subarray(count);
  }

  #checkLength(length: number): number {
    if (length >= FRAME_OVERHEAD && length <= this.#maxBytes) return length;
    this.stop();
    throw new LibvirtProtocolError(`the peer announced a frame of ${length} bytes`, {
      detail: `frames have from ${FRAME_OVERHEAD} to ${this.#maxBytes} bytes`,
    });
  }

  #deliver(bytes: Buffer): void {
    this.#expected = 0;
    const type = bytes.readInt32BE(16);
    const withFds = type === FRAME_TYPE.callWithFds || type === FRAME_TYPE.replyWithFds;
    const fdCount = withFds ? this.#fdCountOf(bytes) : 0;
    this.#skip = fdCount;
    this.#onFrame({
      program: bytes.readUInt32BE(4),
      version: bytes.readUInt32BE(8),
      procedure: bytes.readInt32BE(12),
      type,
      serial: bytes.readUInt32BE(20),
      status: bytes.readInt32BE(24),
      payload: bytes.subarray(withFds ? FRAME_OVERHEAD + 4 : FRAME_OVERHEAD),
      fdCount,
    });
  }

  #fdCountOf(bytes: Buffer): number {
    const count = bytes.length < FRAME_OVERHEAD + 4 ? -1 : bytes.readUInt32BE(FRAME_OVERHEAD);
    if (count >= 0 && count <= MAX_FRAME_FDS) return count;
    this.stop();
    throw new LibvirtProtocolError(
      count < 0 ? "the peer sent a frame too short for its descriptors" : `the peer announced ${count} descriptors`,
    );
  }
}
