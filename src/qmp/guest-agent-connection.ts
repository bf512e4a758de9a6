/** A session with the guest agent: one command at a time, and in step with it again after every doubt. */
import { Deadline, DeadlineExceededError, joinSignals, KeyedLock, raceAbort } from "../core/index.js";
import type { Clock, InstanceRef } from "../core/index.js";
import { GuestAgentUnavailableError, QmpProtocolError } from "./errors.js";
import { Session } from "./session.js";
import type { SessionOptions } from "./session.js";
import type { QmpObject } from "./qmp-value.js";

const LOCK = "agent";

export interface GuestAgentConnectionOptions extends Pick<
  SessionOptions,
  "transport" | "maxMessageBytes" | "transcript"
> {
  readonly clock: Clock;
  readonly syncMs: number;
  readonly instance?: InstanceRef | undefined;
  /** The connection is over. */
  readonly ended: (error: Error | undefined) => void;
  /** What a call rejects with that comes after the end. */
  readonly disconnected: (command: string) => Error;
}

export interface GuestAgentCall {
  readonly signal?: AbortSignal | undefined;
  readonly deadlineMs: number;
}

/** How a command without a success reply ended. */
export type UnansweredOutcome = "accepted" | "silent" | "disconnected";

interface Sync {
  readonly id: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * The agent reads and answers one command after another, and what it has read of a half command outlives its client. So
 * after connecting, and whenever a caller has given up on a command, the two sides get into step again: a byte 0xFF makes
 * the agent's parser start anew, and everything up to the byte 0xFF and the number of the synchronisation is dropped.
 */
export class GuestAgentConnection {
  readonly session: Session;
  readonly #options: GuestAgentConnectionOptions;
  readonly #lock = new KeyedLock();
  #inStep = false;
  #sync: Sync | undefined;
  #markerSeen = false;
  #nextSync = 1 + Math.floor(Math.random() * 0x3fff_ffff);
  /** Ends the command under way when the agent says that it could not read it. */
  #current: AbortController | undefined;

  constructor(options: GuestAgentConnectionOptions) {
    this.#options = options;
    const { transport, clock, maxMessageBytes, transcript, instance } = options;
    this.session = new Session(
      { transport, clock, window: Infinity, maxMessageBytes, transcript, instance, guestAgent: true },
      {
        message: () => this.#onDoubt(),
        stray: (message) => this.#onStray(message),
        marker: () => (this.#markerSeen = true),
        garbage: () => this.#onDoubt(),
        ended: (error) => this.#onEnded(error),
        left: () => (this.#inStep = false),
      },
    );
  }

  /** Whether the last synchronisation still holds. */
  get inStep(): boolean {
    return this.#inStep;
  }

  /** Gets into step, in as many attempts as the deadline allows: an agent that is not there yet says nothing. */
  async connect(deadline: Deadline): Promise<void> {
    this.session.start();
    while (!this.#inStep) {
      await this.#synchronise(deadline).catch((error: unknown) => {
        deadline.throwIfExpired();
        if (!(error instanceof GuestAgentUnavailableError)) throw error;
      });
    }
  }

  /** Executes one command when all before it are through. */
  execute(command: string, args: unknown, call: GuestAgentCall): Promise<unknown> {
    return this.#inTurn(command, call, async (deadline) => {
      const abort = new AbortController();
      this.#current = abort;
      const { signal, release } = joinSignals([deadline.signal, abort.signal]);
      try {
        return await this.session.execute(command, args, { signal, deadlineMs: deadline.timeoutMs });
      } finally {
        release();
        this.#current = undefined;
      }
    });
  }

  /**
   * Executes a command whose success is not answered. The agent works in order, so a synchronisation that it answers after
   * the command says that the command did not fail; silence or a hang-up are what a guest that goes down gives.
   */
  executeUnanswered(command: string, args: unknown, call: GuestAgentCall): Promise<UnansweredOutcome> {
    return this.#inTurn(command, call, async (deadline) => {
      const done = new AbortController();
      const { signal, release } = joinSignals([deadline.signal, done.signal]);
      const refusal = this.session.execute(command, args, { signal, deadlineMs: deadline.timeoutMs });
      refusal.catch(() => undefined);
      this.#inStep = false;
      const inStep = this.#synchronise(deadline).then((): UnansweredOutcome => "accepted");
      inStep.catch(() => undefined);
      try {
        return await Promise.race([inStep, refusal.then((): UnansweredOutcome => "accepted")]);
      } catch (error) {
        if (this.session.over) return "disconnected";
        const timeIsOver = error instanceof GuestAgentUnavailableError || error instanceof DeadlineExceededError;
        if (timeIsOver && call.signal?.aborted !== true) return "silent";
        throw error;
      } finally {
        done.abort();
        release();
      }
    });
  }

  /** Waits for the turn, gets into step if need be, and runs the work, all within the deadline of the call. */
  async #inTurn<T>(operation: string, call: GuestAgentCall, work: (deadline: Deadline) => Promise<T>): Promise<T> {
    const deadline = Deadline.after(call.deadlineMs, { operation, clock: this.#options.clock, signal: call.signal });
    const run = async (): Promise<T> => {
      this.#refuseIfOver(operation);
      if (!this.#inStep) await this.#synchronise(deadline);
      this.#refuseIfOver(operation);
      return work(deadline);
    };
    try {
      return await this.#lock.run(LOCK, run, { signal: deadline.signal });
    } finally {
      deadline.dispose();
    }
  }

  async #synchronise(whole: Deadline): Promise<void> {
    const { clock, syncMs, instance } = this.#options;
    const deadline = Deadline.after(Math.min(syncMs, whole.remainingMs), {
      operation: "reaching the guest agent",
      clock,
      signal: whole.signal,
    });
    const id = this.#takeSyncId();
    const answered = new Promise<void>((resolve, reject) => (this.#sync = { id, resolve, reject }));
    this.#markerSeen = false;
    try {
      deadline.throwIfExpired();
      const text = `{"execute":"guest-sync-delimited","arguments":{"id":${id}}}\n`;
      this.session.sendRaw(Buffer.concat([Buffer.of(0xff), Buffer.from(text)]));
      await raceAbort(answered, deadline.signal);
      this.session.dropLeft();
      this.#inStep = true;
    } catch (error) {
      if (!(error instanceof DeadlineExceededError) || whole.signal.aborted) throw error;
      throw new GuestAgentUnavailableError("no guest agent answers", {
        instance,
        cause: error,
        remedy: "install and start qemu-guest-agent in the guest",
      });
    } finally {
      this.#sync = undefined;
      deadline.dispose();
    }
  }

  #refuseIfOver(command: string): void {
    if (this.session.over) throw this.#options.disconnected(command);
  }

  #onEnded(error: Error | undefined): void {
    this.#options.ended(error);
    this.#sync?.reject(this.#options.disconnected("guest-sync-delimited"));
  }

  #takeSyncId(): number {
    const id = this.#nextSync;
    this.#nextSync = id >= 0x7fff_fffe ? 1 : id + 1;
    return id;
  }

  #onStray(message: QmpObject): void {
    const sync = this.#sync;
    if (sync === undefined) return this.#onDoubt();
    if (this.#markerSeen && message["return"] === sync.id) sync.resolve();
    this.#markerSeen = false;
  }

  /** Something came that answers no command: the two sides are out of step, unless they are just getting into it. */
  #onDoubt(): void {
    if (this.#sync !== undefined) {
      this.#markerSeen = false;
      return;
    }
    this.#inStep = false;
    const { instance } = this.#options;
    this.#current?.abort(
      new QmpProtocolError("the guest agent sent what answers no command", {
        fault: "bad-reply",
        instance,
        retryable: true,
      }),
    );
  }
}
