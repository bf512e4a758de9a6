/** The daemon's end of a stream. */
import type { StreamHole, StreamPart } from "../../libvirt/rpc/index.js";
import { FakeLibvirtError } from "./fake-libvirt-error.js";
import type { FakeLibvirtErrorDetails } from "./fake-libvirt-error.js";

/** Puts a packet of the stream on the wire; resolves when the client's side has taken it. */
export type SendStreamPacket = (packet: {
  readonly type: "data" | "hole";
  readonly status: "ok" | "error" | "continue";
  readonly payload: Uint8Array;
}) => Promise<void>;

/** Where a packet of the client's comes in. */
export interface StreamPacket {
  readonly hole: boolean;
  readonly status: number;
  readonly payload: Buffer;
}

/** As much as libvirt sends in one packet. */
const MAX_PACKET = 262_120;
const STATUS = { ok: 0, error: 1, continue: 2 } as const;
const EMPTY = Buffer.alloc(0);

/**
 * Reads what the client writes, by iterating; the iteration ends when the client finishes or breaks off. Writes what the
 * client reads. When the client finishes, it gets its confirmation, or the error of {@link FakeLibvirtStream.onFinish}.
 */
export class FakeLibvirtStream {
  readonly #send: SendStreamPacket;
  readonly #encodeError: (error: FakeLibvirtError) => Buffer;
  readonly #parts: StreamPart[] = [];
  readonly #readers: (() => void)[] = [];
  /** The client sends nothing more. */
  #received = false;
  #state: "opening" | "open" | "finished" | "aborted" | "failed" | "lost" = "opening";
  #open!: () => void;
  readonly #opened: Promise<void>;
  #resolveClosed!: (how: "finished" | "aborted" | "failed" | "lost") => void;
  #finish: () => unknown = () => undefined;
  /** Resolves with how the stream ended. */
  readonly closed: Promise<"finished" | "aborted" | "failed" | "lost">;

  constructor(send: SendStreamPacket, encodeError: (error: FakeLibvirtError) => Buffer) {
    this.#send = send;
    this.#encodeError = encodeError;
    this.#opened = new Promise((resolve) => (this.#open = resolve));
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve));
  }

  /** Whether the client still reads and writes. */
  get live(): boolean {
    return this.#state === "opening" || this.#state === "open";
  }

  /** Sends bytes, in packets of the size that libvirt uses. Resolves when the client has taken them, or is gone. */
  async write(data: Uint8Array): Promise<void> {
    for (let offset = 0; offset < data.length; offset += MAX_PACKET)
      await this.#put("data", "continue", data.subarray(offset, offset + MAX_PACKET));
  }

  /** Sends a run of zeros as such; only to clients that asked for them. */
  async writeHole(length: bigint): Promise<void> {
    const payload = Buffer.alloc(12);
    payload.writeBigInt64BE(length, 0);
    await this.#put("hole", "continue", payload);
  }

  /** Says that all was sent; the client then finishes. */
  async end(): Promise<void> {
    await this.#put("data", "continue", EMPTY);
  }

  /** Breaks the stream off with an error. */
  async fail(details: FakeLibvirtErrorDetails): Promise<void> {
    const payload = this.#encodeError(new FakeLibvirtError(details));
    await this.#put("data", "error", payload);
    this.#end("failed");
  }

  /** Called when the client finishes, before it is told so; what it throws is told instead. */
  onFinish(finish: () => unknown): void {
    this.#finish = finish;
  }

  /** Everything that the client writes, to the end. Holes are zeros. */
  async readAll(): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const part of this) parts.push(Buffer.isBuffer(part) ? part : Buffer.alloc(Number(part.hole)));
    return Buffer.concat(parts);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<StreamPart, void, undefined> {
    for (;;) {
      const part = this.#parts.shift();
      if (part !== undefined) yield part;
      else if (this.#received || !this.live) return;
      else await new Promise<void>((resolve) => this.#readers.push(resolve));
    }
  }

  /** The call was answered. @internal */
  opened(): void {
    if (this.#state === "opening") this.#state = "open";
    this.#open();
  }

  /** The call was refused, or the client is gone. @internal */
  lost(): void {
    if (this.live) this.#end("lost");
    this.#open();
  }

  /** A packet has come. @internal */
  async receive({ hole, status, payload }: StreamPacket): Promise<void> {
    if (!this.live) return;
    switch (status) {
      case STATUS.continue:
        this.#parts.push(hole ? readHole(payload) : payload);
        return this.#wake();
      case STATUS.error:
        await this.#put("data", "ok", EMPTY);
        return this.#end("aborted");
      default:
        return this.#confirm();
    }
  }

  async #confirm(): Promise<void> {
    this.#received = true;
    this.#wake();
    try {
      await this.#finish();
    } catch (error) {
      const refusal =
        error instanceof FakeLibvirtError ? error.remote : { code: 1, domain: 38, message: String(error) };
      return this.fail(refusal);
    }
    await this.#put("data", "ok", EMPTY);
    this.#end("finished");
  }

  async #put(type: "data" | "hole", status: keyof typeof STATUS, payload: Uint8Array): Promise<void> {
    await this.#opened;
    if (this.live) await this.#send({ type, status, payload });
  }

  #end(how: "finished" | "aborted" | "failed" | "lost"): void {
    this.#state = how;
    this.#resolveClosed(how);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#readers.splice(0)) wake();
  }
}

function readHole(payload: Buffer): StreamHole {
  return { hole: payload.length < 8 ? 0n : payload.readBigInt64BE(0) };
}
