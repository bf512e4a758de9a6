/** The other end of a connection, in memory: answers as it is told, and sends whatever bytes it is given. */
import { Duplex } from "node:stream";
import { decodeArguments, encodeError, encodeResult } from "../../../../src/libvirt/rpc/codec.js";
import { LibvirtConnection } from "../../../../src/libvirt/rpc/index.js";
import type { LibvirtConnectionOptions } from "../../../../src/libvirt/rpc/index.js";
import { FRAME_STATUS, FRAME_TYPE, FrameDecoder, encodeFrame } from "../../../../src/libvirt/rpc/frame.js";
import type { Frame, FrameHeader } from "../../../../src/libvirt/rpc/frame.js";
import { PROGRAMS, procedureNamed, procedureNumbered } from "../../../../src/libvirt/rpc/procedures.js";
import type { RemoteError } from "../../../../src/libvirt/rpc/remote-error.js";

/** Two streams of which each reads what the other writes. */
export function streamPair(): [Duplex, Duplex] {
  const ends: Duplex[] = [];
  const waiting: (((error?: Error | null) => void) | undefined)[] = [];
  const release = (index: number): void => {
    const callback = waiting[index];
    waiting[index] = undefined;
    callback?.();
  };
  const make = (own: number, other: number): Duplex =>
    new Duplex({
      read: () => release(own),
      write(chunk: Buffer, _encoding, callback) {
        const peer = ends[other];
        if (peer === undefined || peer.destroyed) return callback();
        // Pushing may call read() at once.
        waiting[other] = callback;
        if (peer.push(chunk)) release(other);
      },
      final(callback) {
        ends[other]?.push(null);
        callback();
      },
      destroy(error, callback) {
        const peer = ends[other];
        if (peer !== undefined && !peer.destroyed && !peer.readableEnded) peer.push(null);
        release(own);
        callback(error);
      },
    });
  ends.push(make(0, 1), make(1, 0));
  return ends as [Duplex, Duplex];
}

export type Responder = (args: unknown, frame: Frame) => unknown;

const DOMAIN_ERROR: RemoteError = { code: 1, domain: 0, level: 2, int1: 0, int2: 0 };

export class FakePeer {
  readonly client: Duplex;
  /** Every frame that came. */
  readonly frames: Frame[] = [];
  /** Names of the calls that came. */
  readonly calls: string[] = [];
  readonly #end: Duplex;
  readonly #responders = new Map<string, Responder>();
  readonly #watchers = new Set<() => void>();

  constructor() {
    [this.client, this.#end] = streamPair();
    const decoder = new FrameDecoder((frame) => this.#onFrame(frame));
    this.#end.on("data", (chunk: Buffer) => decoder.push(chunk));
    this.#end.on("error", () => undefined);
    this.on("authList", () => ({ types: [0] }));
    this.on("connectSupportsFeature", () => ({ supported: 1 }));
    this.on("connectOpen", () => ({}));
    this.on("connectClose", () => ({}));
  }

  /** Answers calls of this name; `undefined` leaves them without an answer, a `RemoteError` in `error` refuses. */
  on(name: string, responder: Responder): this {
    this.#responders.set(name, responder);
    return this;
  }

  raw(bytes: Uint8Array): void {
    this.#end.write(bytes);
  }

  send(header: Partial<FrameHeader>, payload: Uint8Array = Buffer.alloc(0)): void {
    const { number: program, version } = PROGRAMS.remote;
    this.raw(
      encodeFrame({ program, version, procedure: 1, type: FRAME_TYPE.reply, serial: 0, status: 0, ...header }, payload),
    );
  }

  reply(frame: Frame, name: string, result: unknown): void {
    this.send({ ...headerOf(frame), type: FRAME_TYPE.reply }, encodeResult(procedureNamed("remote", name), result));
  }

  refuse(frame: Frame, error: Partial<RemoteError>): void {
    const payload = encodeError({ ...DOMAIN_ERROR, ...error });
    this.send({ ...headerOf(frame), type: FRAME_TYPE.reply, status: FRAME_STATUS.error }, payload);
  }

  event(name: string, payload: unknown): void {
    const procedure = procedureNamed("remote", name);
    this.send({ procedure: procedure.number, type: FRAME_TYPE.message, serial: 1 }, encodeResult(procedure, payload));
  }

  hangUp(): void {
    this.#end.destroy();
  }

  get gone(): boolean {
    return this.#end.destroyed || this.#end.readableEnded;
  }

  /** Stops taking what the client sends. */
  pause(): void {
    this.#end.pause();
  }

  /** The frame of the n-th call of this name, when it comes. */
  async called(name: string, count = 1): Promise<Frame> {
    const { number } = procedureNamed("remote", name);
    const matches = (): Frame[] =>
      this.frames.filter(
        (frame) =>
          frame.procedure === number && (frame.type === FRAME_TYPE.call || frame.type === FRAME_TYPE.callWithFds),
      );
    await this.until(() => matches().length >= count);
    return matches()[count - 1] as Frame;
  }

  /** Resolves when the condition holds; looked at with each frame. */
  async until(condition: () => boolean): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (!condition()) return;
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
    });
  }

  #onFrame(frame: Frame): void {
    this.frames.push(frame);
    if (frame.type === FRAME_TYPE.call && frame.program === PROGRAMS.remote.number) this.#onCall(frame);
    for (const look of [...this.#watchers]) look();
  }

  #onCall(frame: Frame): void {
    const procedure = procedureNumbered("remote", frame.procedure);
    if (procedure === undefined)
      return this.refuse(frame, { code: 39, domain: 7, message: `unbekannte Prozedur: ${frame.procedure}` });
    this.calls.push(procedure.name);
    const result = this.#responders.get(procedure.name)?.(decodeArguments(procedure, frame.payload), frame);
    if (result !== undefined) this.reply(frame, procedure.name, result);
  }
}

function headerOf({ program, version, procedure, serial }: Frame) {
  return { program, version, procedure, serial };
}

/** A connection to a peer that answers the opening calls. */
export async function connectTo(peer: FakePeer, options: LibvirtConnectionOptions = {}): Promise<LibvirtConnection> {
  return LibvirtConnection.open("test:///default", { connect: () => peer.client, ...options });
}

export async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("resolved"),
    (error: unknown) => error as Error,
  );
}
