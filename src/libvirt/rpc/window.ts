/**
 * The calls of one connection: serials, the window that keeps the daemon reading, deadlines, aborts, and replies that come
 * after their caller has gone.
 */
import { BusyError, DeadlineExceededError, InvalidArgumentError, abortErrorOf, onAbort } from "../../core/index.js";
import type { Clock, TimerHandle } from "../../core/index.js";
import { FifoQueue } from "./fifo-queue.js";
import type { Procedure } from "./procedure.js";

/** How a call that was no longer waited for ended after all. */
export interface LateReply {
  readonly procedure: string;
  readonly serial: number;
  /** Whether the daemon carried it out. */
  readonly succeeded: boolean;
}

/** How long a call is waited for. */
export interface LibvirtCallOptions {
  /** Ends the wait with `AbortedError`. A call that has not left is taken back; one that has is carried out all the same. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds until the wait ends with `DeadlineExceededError`, waiting for its turn included. Default: `timeouts.callMs`. */
  readonly deadlineMs?: number | undefined;
}

/** A call on its way. */
export interface PendingCall {
  readonly serial: number;
  readonly procedure: Procedure;
  readonly payload: Uint8Array;
  /** Descriptors that go with it. */
  readonly fds: readonly number[] | undefined;
  /** `queued`: not sent. `sent`: waited for. `left`: sent, but its caller has been told of an abort or deadline. `done`: settled. */
  readonly state: "queued" | "sent" | "left" | "done";
}

interface Entry extends PendingCall {
  serial: number;
  state: PendingCall["state"];
  readonly order: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly onSent: ((serial: number) => void) | undefined;
  readonly dueAt: number;
  readonly deadlineMs: number;
  forgetSignal: () => void;
}

/** How a call ended. */
export type CallOutcome = { readonly value: unknown } | { readonly error: Error };

export interface AddCallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly deadlineMs: number;
  readonly fds?: readonly number[] | undefined;
  /** Told of the serial right before the call leaves. */
  readonly onSent?: ((serial: number) => void) | undefined;
}

export interface CallWindowOptions {
  readonly clock: Clock;
  /**
   * How many calls may be unanswered at once. libvirt's daemons take 5 (`max_client_requests`) and read nothing more until
   * one is answered. The last place is kept for procedures of high priority, which daemons answer even when all else
   * hangs: so a full window of slow calls holds up neither those nor the pings.
   */
  readonly size: number;
  /** How many may wait for their turn. */
  readonly maxQueued: number;
  /** Puts a call on the wire. */
  readonly transmit: (call: PendingCall) => void;
}

export class CallWindow {
  readonly #options: CallWindowOptions;
  readonly #clock: Clock;
  /** Sent and not answered, by serial. */
  readonly #unanswered = new Map<number, Entry>();
  readonly #queues = { high: new FifoQueue<Entry>(), low: new FifoQueue<Entry>() };
  /** Unanswered calls of low priority. */
  #low = 0;
  #queued = 0;
  #held = true;
  #order = 0;
  /** Callers that wait. */
  #waiting = 0;
  #nextSerial = 1;
  #timer: TimerHandle | undefined;
  #timerDueAt = Infinity;
  #unref = false;

  constructor(options: CallWindowOptions) {
    this.#options = options;
    this.#clock = options.clock;
  }

  /** Calls that were sent and not answered. */
  get unanswered(): number {
    return this.#unanswered.size;
  }

  /** Calls that wait for their turn. */
  get queued(): number {
    return this.#queued;
  }

  /** Whether the daemon may have stopped reading until it has answered one. */
  get full(): boolean {
    return this.#unanswered.size >= this.#options.size;
  }

  /** The unanswered call of this serial. */
  find(serial: number): PendingCall | undefined {
    return this.#unanswered.get(serial);
  }

  /**
   * Sends a call when its turn comes and resolves with the value of its reply.
   * @throws DeadlineExceededError, AbortedError, BusyError, InvalidArgumentError, and what the other methods reject it with
   */
  add(procedure: Procedure, payload: Uint8Array, options: AddCallOptions): Promise<unknown> {
    const { signal, deadlineMs, fds, onSent } = options;
    if (signal?.aborted === true) return Promise.reject(abortErrorOf(signal, procedure.name));
    if (!(deadlineMs > 0 && Number.isFinite(deadlineMs))) {
      const expected = "a finite number of milliseconds above 0";
      return Promise.reject(new InvalidArgumentError({ field: "deadlineMs", expected, value: deadlineMs }));
    }
    if (this.#queued >= this.#options.maxQueued)
      return Promise.reject(new BusyError("too many calls wait for this daemon"));
    return new Promise((resolve, reject) => {
      const dueAt = this.#clock.monotonic() + deadlineMs;
      const entry: Entry = {
        procedure, payload, fds, resolve, reject, onSent, dueAt, deadlineMs,
        serial: 0,
        state: "queued",
        order: this.#order++,
        forgetSignal: () => undefined,
      }; // prettier-ignore
      this.#waiting++;
      this.#queued++;
      this.#queues[procedure.priority].push(entry);
      if (signal !== undefined)
        entry.forgetSignal = onAbort(signal, () => this.#leave(entry, abortErrorOf(signal, procedure.name)));
      if (dueAt < this.#timerDueAt) this.#arm(dueAt);
      this.#advance();
    });
  }

  /**
   * Settles the call of this serial.
   * @returns the call in its last state, `left` when nobody waited any more; undefined when no unanswered call has this serial
   */
  reply(serial: number, outcome: CallOutcome): PendingCall["state"] | undefined {
    const entry = this.#unanswered.get(serial);
    if (entry === undefined) return undefined;
    const { state } = entry;
    this.#release(entry);
    if (state === "sent") {
      if ("error" in outcome) entry.reject(outcome.error);
      else entry.resolve(outcome.value);
    }
    this.#advance();
    return state;
  }

  /** Nothing leaves any more, until {@link CallWindow.open}. */
  hold(): void {
    this.#held = true;
  }

  /** Calls may leave. */
  open(): void {
    this.#held = false;
    this.#advance();
  }

  /** Rejects every call that was sent: its connection is gone. Those that wait for their turn go on waiting. */
  failSent(makeError: (call: PendingCall) => Error): void {
    const sent = [...this.#unanswered.values()];
    this.#unanswered.clear();
    this.#low = 0;
    for (const entry of sent) {
      if (entry.state === "left") continue;
      this.#forgetCaller(entry);
      entry.state = "done";
      entry.reject(makeError(entry));
    }
  }

  /** Rejects everything that waits for its turn. */
  failQueued(makeError: (call: PendingCall) => Error): void {
    const waiting = [...this.#queues.high.drain(), ...this.#queues.low.drain()].sort((a, b) => a.order - b.order);
    for (const entry of waiting) {
      if (entry.state !== "queued") continue;
      this.#queued--;
      this.#forgetCaller(entry);
      entry.state = "done";
      entry.reject(makeError(entry));
    }
  }

  /** Whether the timer of the deadlines keeps the process alive. */
  setUnref(unref: boolean): void {
    this.#unref = unref;
    if (this.#timer !== undefined) this.#arm(this.#timerDueAt);
  }

  /** Sends what fits into the window: in order, but for calls of low priority that would take the last place. */
  #advance(): void {
    while (!this.#held && this.#unanswered.size < this.#options.size) {
      const entry = this.#next();
      if (entry === undefined) return;
      this.#queued--;
      this.#send(entry);
    }
  }

  #next(): Entry | undefined {
    const { high, low } = this.#queues;
    const isStale = (entry: Entry): boolean => entry.state !== "queued";
    const firstHigh = high.peek(isStale);
    const firstLow = low.peek(isStale);
    const lowMay = firstLow !== undefined && this.#low < Math.max(1, this.#options.size - 1);
    if (lowMay && (firstHigh === undefined || firstLow.order < firstHigh.order)) return low.shift();
    return firstHigh === undefined ? undefined : high.shift();
  }

  #send(entry: Entry): void {
    entry.state = "sent";
    entry.serial = this.#takeSerial();
    this.#unanswered.set(entry.serial, entry);
    if (entry.procedure.priority === "low") this.#low++;
    entry.onSent?.(entry.serial);
    this.#options.transmit(entry);
  }

  #takeSerial(): number {
    const serial = this.#nextSerial;
    this.#nextSerial = serial >= 0xffff_ffff ? 1 : serial + 1;
    return this.#unanswered.has(serial) ? this.#takeSerial() : serial;
  }

  #release(entry: Entry): void {
    this.#unanswered.delete(entry.serial);
    if (entry.procedure.priority === "low") this.#low--;
    if (entry.state !== "sent") return;
    this.#forgetCaller(entry);
    entry.state = "done";
  }

  #forgetCaller(entry: Entry): void {
    entry.forgetSignal();
    if (--this.#waiting === 0) this.#disarm();
  }

  /** The caller stops waiting. What was sent keeps its place in the window until the daemon has answered it. */
  #leave(entry: Entry, error: Error): void {
    if (entry.state !== "queued" && entry.state !== "sent") return;
    const wasSent = entry.state === "sent";
    this.#forgetCaller(entry);
    entry.state = wasSent ? "left" : "done";
    if (!wasSent) {
      this.#queued--;
      this.#queues[entry.procedure.priority].forgetOne((other) => other.state !== "queued");
    }
    entry.reject(error);
  }

  #arm(dueAt: number): void {
    this.#timer?.cancel();
    this.#timerDueAt = dueAt;
    this.#timer = this.#clock.setTimeout(() => this.#onTimer(), Math.max(0, dueAt - this.#clock.monotonic()));
    if (this.#unref) this.#timer.unref?.();
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerDueAt = Infinity;
  }

  /** One timer serves all calls: it stands at the earliest deadline and moves on when it fires. */
  #onTimer(): void {
    this.#disarm();
    const now = this.#clock.monotonic();
    let next = Infinity;
    const look = (entry: Entry): void => {
      if (entry.state !== "queued" && entry.state !== "sent") return;
      if (entry.dueAt <= now) this.#leave(entry, deadlineError(entry));
      else next = Math.min(next, entry.dueAt);
    };
    for (const entry of [...this.#unanswered.values()]) look(entry);
    for (const entry of [...this.#queues.high, ...this.#queues.low]) look(entry);
    if (next < Infinity && next < this.#timerDueAt) this.#arm(next);
  }
}

function deadlineError(entry: PendingCall & { readonly deadlineMs: number }): DeadlineExceededError {
  const operation = entry.state === "queued" ? `${entry.procedure.name} (never sent)` : entry.procedure.name;
  return new DeadlineExceededError({ operation, timeoutMs: entry.deadlineMs });
}
