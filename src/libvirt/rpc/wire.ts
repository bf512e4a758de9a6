/** One conversation over one transport: frames out, frames in and sorted by what they are, pings answered, one end. */
import { NotSupportedError, asError, traceMessage } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import type { LibvirtClosure } from "./close-reason.js";
import { LibvirtKeepaliveError, LibvirtProtocolError } from "./errors.js";
import { FRAME_STATUS, FRAME_TYPE, FrameDecoder, MAX_PAYLOAD_BYTES, encodeFrame } from "./frame.js";
import type { Frame } from "./frame.js";
import { Keepalive } from "./keepalive.js";
import type { KeepaliveOptions, Silence } from "./keepalive.js";
import { PROGRAMS, procedureNumbered } from "./procedures.js";
import type { Procedure, ProgramName } from "./procedure.js";
import type { LibvirtTransport } from "./transports/transport.js";
import type { PendingCall } from "./window.js";

/** What a wire hands to its owner. Handlers may throw `LibvirtProtocolError` to end the conversation. */
export interface WireHandlers {
  reply(frame: Frame): void;
  event(procedure: Procedure, payload: Buffer): void;
  /** A packet of a stream: data, a hole, its end or its failure. */
  stream(frame: Frame): void;
  /** What was sent has left this process, after `send` had said that it should pause. */
  drained(): void;
  /** It is over; nothing is sent or delivered after this. Called once. */
  ended(closure: LibvirtClosure): void;
}

export interface WireOptions {
  readonly transport: LibvirtTransport;
  readonly clock: Clock;
  readonly keepalive?: KeepaliveOptions | undefined;
  readonly maxFrameBytes?: number | undefined;
  /** Whether so many calls are unanswered that the daemon may have stopped reading. */
  readonly windowFull: () => boolean;
}

const KEEPALIVE_PROGRAM = 0x6b656570;
const PING = 1;
const PONG = 2;
const EMPTY = Buffer.alloc(0);

const PROGRAM_NAMES: ReadonlyMap<number, ProgramName> = new Map(
  Object.entries(PROGRAMS).map(([name, { number }]) => [number, name as ProgramName]),
);

export class Wire {
  readonly #transport: LibvirtTransport;
  readonly #handlers: WireHandlers;
  readonly #options: WireOptions;
  readonly #decoder: FrameDecoder;
  readonly #keepalive: Keepalive;
  readonly #pausers = new Set<object>();
  #pongOwed = false;
  #over = false;

  constructor(options: WireOptions, handlers: WireHandlers) {
    this.#options = options;
    this.#transport = options.transport;
    this.#handlers = handlers;
    this.#decoder = new FrameDecoder((frame) => this.#onFrame(frame), options.maxFrameBytes);
    this.#keepalive = new Keepalive(
      {
        clock: options.clock,
        meaning: () => this.#meaningOfSilence(),
        ping: () => this.#sendKeepalive(PING),
        dead: (silentMs) => this.#onDead(silentMs),
      },
      options.keepalive,
    );
  }

  get description(): string {
    return this.#transport.description;
  }

  get over(): boolean {
    return this.#over;
  }

  get canSendFds(): boolean {
    return this.#transport.sendWithFds !== undefined;
  }

  start(): void {
    this.#transport.start({
      data: (chunk) => this.#onData(chunk),
      drained: () => this.#onDrained(),
      ended: (error) => this.#end(error === undefined ? { reason: "eof" } : { reason: "error", error }),
    });
  }

  /** Pings from now on: the daemon has said that it answers. */
  startKeepalive(): void {
    if (!this.#over) this.#keepalive.start();
  }

  /** Puts a call on the wire. */
  sendCall(call: PendingCall): void {
    if (!this.#over) this.#transport.send(frameOfCall(call, FRAME_TYPE.call));
  }

  /**
   * Puts a call with descriptors on the wire.
   * @throws NotSupportedError where the transport can't carry them, and what else keeps them from leaving
   */
  async sendCallWithFds(call: PendingCall, fds: readonly number[], timeoutMs: number): Promise<void> {
    if (this.#transport.sendWithFds === undefined)
      throw new NotSupportedError({ capability: "fdPassing", message: "descriptors pass only over a UNIX socket" });
    await this.#transport.sendWithFds(frameOfCall(call, FRAME_TYPE.callWithFds), fds, { timeoutMs });
  }

  /** Puts a packet of a stream on the wire; false when the sender should pause until `drained`. */
  sendStream(
    procedure: Procedure,
    serial: number,
    payload: Uint8Array,
    what: { readonly status: number; readonly hole?: boolean },
  ): boolean {
    if (this.#over) return true;
    const type = what.hole === true ? FRAME_TYPE.streamHole : FRAME_TYPE.stream;
    const header = { ...headerOf(procedure, serial), type, status: what.status };
    return this.#transport.send(encodeFrame(header, payload));
  }

  /** Stops reading until {@link Wire.resume} was called for the same holder. */
  pause(holder: object): void {
    if (this.#pausers.size === 0 && !this.#over) this.#transport.pause();
    this.#pausers.add(holder);
  }

  resume(holder: object): void {
    if (this.#pausers.delete(holder) && this.#pausers.size === 0 && !this.#over) this.#transport.resume();
  }

  /** Ends the conversation from this side. Calls {@link WireHandlers.ended} at once. */
  fail(closure: LibvirtClosure): void {
    if (this.#over) return;
    this.#end(closure);
    void this.#transport.close(0);
  }

  /** Ends the conversation in an orderly way: what was sent leaves this process first, within `graceMs`. */
  async close(graceMs: number): Promise<void> {
    if (this.#over) return;
    this.#end({ reason: "closed" });
    await this.#transport.close(graceMs);
  }

  setUnref(unref: boolean): void {
    this.#keepalive.setUnref(unref);
    if (unref) this.#transport.unref?.();
    else this.#transport.ref?.();
  }

  #onData(chunk: Buffer): void {
    if (this.#over) return;
    this.#keepalive.heard();
    try {
      this.#decoder.push(chunk);
    } catch (error) {
      this.#onBadData(asError(error));
    }
  }

  #onBadData(error: Error): void {
    traceMessage("hypervise:libvirt:protocol-error", () => ({ peer: this.description, message: error.message }));
    this.fail({ reason: error instanceof LibvirtProtocolError ? "protocol" : "error", error });
  }

  #onFrame(frame: Frame): void {
    if (this.#over) return;
    if (frame.program === KEEPALIVE_PROGRAM) return this.#onKeepalive(frame);
    const program = PROGRAM_NAMES.get(frame.program);
    if (program === undefined || frame.version !== PROGRAMS[program].version)
      throw new LibvirtProtocolError(`the peer sent a frame of program ${frame.program}, version ${frame.version}`);
    switch (frame.type) {
      case FRAME_TYPE.reply:
      case FRAME_TYPE.replyWithFds:
        return this.#handlers.reply(frame);
      case FRAME_TYPE.message:
        return this.#onMessage(program, frame);
      case FRAME_TYPE.stream:
      case FRAME_TYPE.streamHole:
        return this.#handlers.stream(frame);
      default:
        throw new LibvirtProtocolError(`the peer sent a frame of type ${frame.type}`);
    }
  }

  #onMessage(program: ProgramName, frame: Frame): void {
    const procedure = procedureNumbered(program, frame.procedure);
    if (frame.status !== FRAME_STATUS.ok || (procedure !== undefined && procedure.kind !== "event"))
      throw new LibvirtProtocolError(`the peer sent procedure ${frame.procedure} as an event`);
    // A daemon that is newer than this client has events of which it knows nothing.
    if (procedure !== undefined) this.#handlers.event(procedure, frame.payload);
  }

  #onKeepalive(frame: Frame): void {
    if (frame.type !== FRAME_TYPE.message)
      throw new LibvirtProtocolError(`the peer sent a keepalive frame of type ${frame.type}`);
    if (frame.procedure !== PING) return;
    // While nothing leaves, one answer is as good as many.
    if (this.#transport.blocked) this.#pongOwed = true;
    else this.#sendKeepalive(PONG);
  }

  #sendKeepalive(procedure: number): void {
    if (this.#over || (procedure === PING && this.#transport.blocked)) return;
    const header = { program: KEEPALIVE_PROGRAM, version: 1, procedure, serial: 0, status: FRAME_STATUS.ok };
    this.#transport.send(encodeFrame({ ...header, type: FRAME_TYPE.message }, EMPTY));
  }

  #onDrained(): void {
    if (this.#over) return;
    if (this.#pongOwed) {
      this.#pongOwed = false;
      this.#sendKeepalive(PONG);
    }
    this.#handlers.drained();
  }

  #meaningOfSilence(): Silence {
    if (this.#pausers.size > 0) return "deaf";
    return this.#options.windowFull() || this.#transport.blocked ? "busy" : "silent";
  }

  #onDead(silentMs: number): void {
    const error = new LibvirtKeepaliveError({ maybeExecuted: true, silentMs, detail: this.description });
    this.fail({ reason: "keepalive", error });
  }

  #end(closure: LibvirtClosure): void {
    if (this.#over) return;
    this.#over = true;
    this.#keepalive.stop();
    this.#decoder.stop();
    this.#handlers.ended(closure);
  }
}

/** Whether a call's arguments fit into a frame. */
export function fitsFrame(payload: Uint8Array): boolean {
  return payload.length <= MAX_PAYLOAD_BYTES - 4;
}

function frameOfCall(call: PendingCall, type: number): Buffer {
  const header = { ...headerOf(call.procedure, call.serial), type, status: FRAME_STATUS.ok };
  return encodeFrame(header, call.payload, type === FRAME_TYPE.callWithFds ? (call.fds ?? []).length : undefined);
}

function headerOf(procedure: Procedure, serial: number) {
  const { number: program, version } = PROGRAMS[procedure.program];
  return { program, version, procedure: procedure.number, serial };
}
