/** One physical connection: its wire, its streams, and the window of calls that is attached to it. */
import { NotSupportedError, asError, traceMessage } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import type { LibvirtClosure } from "./close-reason.js";
import { decodeError, decodeResult } from "./codec.js";
import { LibvirtDisconnectedError, LibvirtError, LibvirtProtocolError } from "./errors.js";
import { FRAME_STATUS } from "./frame.js";
import type { Frame } from "./frame.js";
import type { KeepaliveOptions } from "./keepalive.js";
import type { Procedure } from "./procedure.js";
import { PROGRAMS } from "./procedures.js";
import { StreamTable } from "./streams/stream-table.js";
import type { LibvirtTransport } from "./transports/transport.js";
import type { CallOutcome, CallWindow, LateReply, PendingCall } from "./window.js";
import { Wire } from "./wire.js";

export interface SessionOptions {
  readonly transport: LibvirtTransport;
  readonly clock: Clock;
  readonly keepalive?: KeepaliveOptions | undefined;
  readonly maxFrameBytes?: number | undefined;
  readonly sendFdsMs: number;
}

/** Whom a session tells. */
export interface SessionOwner {
  event(procedure: Procedure, payload: Buffer): void;
  late(reply: LateReply): void;
  /** It is over. Its streams, and the calls that were sent, have failed already. */
  ended(closure: LibvirtClosure): void;
}

export class Session {
  readonly streams: StreamTable;
  readonly #options: SessionOptions;
  readonly #owner: SessionOwner;
  readonly #wire: Wire;
  #window: CallWindow | undefined;
  #closure: LibvirtClosure | undefined;
  /** Calls with descriptors go out one after the other. */
  #fdTurn: Promise<void> = Promise.resolve();

  constructor(options: SessionOptions, owner: SessionOwner) {
    this.#options = options;
    this.#owner = owner;
    const { transport, clock, keepalive, maxFrameBytes } = options;
    this.#wire = new Wire(
      { transport, clock, keepalive, maxFrameBytes, windowFull: () => this.#window?.full === true },
      {
        reply: (frame) => this.#onReply(frame),
        event: (procedure, payload) => owner.event(procedure, payload),
        stream: (frame) => this.streams.onPacket(frame),
        drained: () => this.streams.onDrained(),
        ended: (closure) => this.#onEnded(closure),
      },
    );
    this.streams = new StreamTable(this.#wire, () => (this.#window?.unanswered ?? 0) > 0);
  }

  get description(): string {
    return this.#wire.description;
  }

  /** Why it is over; undefined while it is not. */
  get closure(): LibvirtClosure | undefined {
    return this.#closure;
  }

  start(): void {
    this.#wire.start();
  }

  startKeepalive(): void {
    this.#wire.startKeepalive();
  }

  /** From now on replies are for the calls of this window. Those of the one before must have been answered. */
  attach(window: CallWindow): void {
    this.#window = window;
  }

  /** Puts a call on the wire. */
  transmit(call: PendingCall): void {
    if (call.fds === undefined) this.#wire.sendCall(call);
    else {
      const { fds } = call;
      this.#fdTurn = this.#fdTurn.then(() => this.#transmitWithFds(call, fds));
    }
    // Streams that held the connection up while nobody waited for a reply must not hold this reply up.
    this.streams.balance();
  }

  setUnref(unref: boolean): void {
    this.#wire.setUnref(unref);
  }

  fail(closure: LibvirtClosure): void {
    this.#wire.fail(closure);
  }

  close(graceMs: number): Promise<void> {
    return this.#wire.close(graceMs);
  }

  async #transmitWithFds(call: PendingCall, fds: readonly number[]): Promise<void> {
    try {
      await this.#wire.sendCallWithFds(call, fds, this.#options.sendFdsMs);
    } catch (error) {
      // Nothing of it has left, or the connection is gone and has taken the call with it.
      this.#window?.reply(call.serial, { error: asError(error) });
    }
  }

  #onReply(frame: Frame): void {
    const window = this.#window;
    const call = window?.find(frame.serial);
    if (window === undefined || call === undefined)
      throw new LibvirtProtocolError(
        `the peer replied to call ${frame.serial}, which was not made or was answered before`,
      );
    const { procedure } = call;
    if (frame.procedure !== procedure.number || frame.program !== PROGRAMS[procedure.program].number)
      throw new LibvirtProtocolError(
        `the peer replied to ${procedure.name} as if it were procedure ${frame.procedure}`,
      );
    const outcome = readOutcome(call, frame);
    const channel = this.streams.find(frame.serial);
    const failed = "error" in outcome;
    if (channel !== undefined) {
      if (failed) channel.fail(outcome.error);
      else if (channel.state === "aborting" || call.state === "left") {
        channel.abort();
        channel.abortLate();
      } else channel.opened();
    }
    window.reply(frame.serial, outcome);
    if (call.state !== "left") return;
    const late: LateReply = { procedure: procedure.name, serial: frame.serial, succeeded: !failed };
    traceMessage("hypervise:libvirt:late-reply", () => ({ peer: this.description, ...late }));
    this.#owner.late(late);
  }

  #onEnded(closure: LibvirtClosure): void {
    this.#closure = closure;
    const cause = closure.error;
    this.streams.failAll(disconnected({ maybeExecuted: true, cause }));
    this.#window?.failSent(({ procedure }) => disconnected({ procedure: procedure.name, maybeExecuted: true, cause }));
    this.#owner.ended(closure);
  }
}

/** The error of a call whose connection has ended. */
export function disconnected(details: {
  readonly procedure?: string;
  readonly maybeExecuted: boolean;
  readonly cause?: unknown;
}): LibvirtDisconnectedError {
  return new LibvirtDisconnectedError("the connection to libvirt has ended", details);
}

function readOutcome({ procedure, state }: PendingCall, frame: Frame): CallOutcome {
  switch (frame.status) {
    case FRAME_STATUS.ok:
      if (frame.fdCount > 0) return { error: fdsLost(procedure) };
      return { value: state === "left" ? undefined : decodeResult(procedure, frame.payload) };
    case FRAME_STATUS.error:
      return { error: new LibvirtError(decodeError(frame.payload), { procedure: procedure.name }) };
    default:
      throw new LibvirtProtocolError(`the peer replied to ${procedure.name} with status ${frame.status}`);
  }
}

function fdsLost(procedure: Procedure): NotSupportedError {
  return new NotSupportedError({
    capability: "fdReceiving",
    message: `${procedure.name} was answered with descriptors, which can't be received here`,
  });
}
