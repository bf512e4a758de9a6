/**
 * The calls of one connection: serials, the window that keeps the daemon reading, deadlines, aborts, and replies that come
 * after their caller has gone.
 */
import {
  BusyError,
  DeadlineExceededError,
  InvalidArgumentError,
  abortErrorOf,
  asError,
  onAbort,
} from "../../core/index.js";
import type { Clock, TimerHandle } from "../../core/index.js";
import { CallLanes } from "./call-lanes.js";
import { LibvirtConnectError } from "./errors.js";
import { FifoQueue } from "./fifo-queue.js";
import type { Procedure } from "./procedure.js";
import type { AddCallOptions, CallBeside, CallOutcome, CallWindowOptions, PendingCall } from "./window-types.js";

export type * from "./window-types.js";

interface Entry extends PendingCall {
  serial: number;
  state: PendingCall["state"];
  readonly order: number;
  readonly lane: string | undefined;
  /** Whether its lane has let it through. */
  through: boolean;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly onSent: ((serial: number) => void) | undefined;
  readonly beside: CallBeside | undefined;
  readonly signal: AbortSignal | undefined;
  readonly dueAt: number;
  readonly deadlineMs: number;
  forgetSignal: () => void;
}

/** So long nothing of low priority leaves or is answered before calls that wait go beside. */
const CROWDED_MS = 1_000;
/** Calls beside at once: each that is not answered has one of the daemon's workers, of which there are 20 unless it is told otherwise. */
const MAX_BESIDE = 8;

export class CallWindow {
  readonly #options: CallWindowOptions;
  readonly #clock: Clock;
  /** Sent and not answered, by serial. */
  readonly #unanswered = new Map<number, Entry>();
  readonly #queues = { high: new FifoQueue<Entry>(), low: new FifoQueue<Entry>() };
  readonly #lanes = new CallLanes<Entry>(isStale);
  /** Unanswered calls of low priority. */
  #low = 0;
  /** When the last of them left or was answered. */
  #lowMovedAt = 0;
  #beside = 0;
  #crowdTimer: TimerHandle | undefined;
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
    const { signal, deadlineMs, fds, onSent, beside } = options;
    const lane = procedure.priority === "low" ? options.lane : undefined;
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
        procedure, payload, fds, resolve, reject, onSent, beside, signal, dueAt, deadlineMs, lane,
        serial: 0,
        state: "queued",
        through: false,
        order: this.#order++,
        forgetSignal: () => undefined,
      }; // prettier-ignore
      this.#waiting++;
      this.#queued++;
      entry.through = this.#lanes.enter(entry);
      if (entry.through) this.#queues[procedure.priority].push(entry);
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
      this.#freeLane(entry);
      if (entry.state === "left") continue;
      this.#forgetCaller(entry);
      entry.state = "done";
      entry.reject(makeError(entry));
    }
  }

  /** Rejects everything that waits for its turn. */
  failQueued(makeError: (call: PendingCall) => Error): void {
    const held = this.#lanes.drain();
    const queued = [...this.#queues.high.drain(), ...this.#queues.low.drain()];
    for (const entry of queued) if (entry.state === "queued") this.#lanes.leave(entry, false);
    for (const entry of [...queued, ...held].sort((a, b) => a.order - b.order)) {
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
      if (entry === undefined) break;
      this.#queued--;
      this.#send(entry);
    }
    this.#watchCrowd();
  }

  #watchCrowd(): void {
    if (!this.#isCrowded) {
      this.#crowdTimer?.cancel();
      this.#crowdTimer = undefined;
      return;
    }
    if (this.#crowdTimer !== undefined) return;
    const wait = this.#lowMovedAt + CROWDED_MS - this.#clock.monotonic();
    this.#crowdTimer = this.#clock.setTimeout(() => this.#onCrowdTimer(), Math.max(1, wait));
    if (this.#unref) this.#crowdTimer.unref?.();
  }

  /** Whether one waits that may go beside. */
  get #isCrowded(): boolean {
    if (this.#held || this.#beside >= MAX_BESIDE || this.#low < this.#lowPlaces) return false;
    return this.#queues.low.peek(isStale)?.beside !== undefined;
  }

  #onCrowdTimer(): void {
    this.#crowdTimer = undefined;
    const still = this.#clock.monotonic() - this.#lowMovedAt >= CROWDED_MS;
    while (still && this.#isCrowded) void this.#sendBeside(this.#queues.low.shift() as Entry);
    this.#watchCrowd();
  }

  async #sendBeside(entry: Entry): Promise<void> {
    const { beside, signal, dueAt } = entry;
    if (beside === undefined) return;
    entry.state = "sent";
    this.#queued--;
    this.#beside++;
    let outcome: CallOutcome;
    try {
      outcome = { value: await beside({ signal, deadlineMs: Math.max(1, dueAt - this.#clock.monotonic()) }) };
    } catch (error) {
      outcome = { error: asError(error) };
    }
    this.#beside--;
    // There is no way beside: it waits on.
    if ("error" in outcome && outcome.error instanceof LibvirtConnectError && entry.state === "sent") {
      entry.state = "queued";
      this.#queued++;
      this.#queues.low.push(entry);
      this.#lowMovedAt = this.#clock.monotonic();
      return this.#advance();
    }
    this.#freeLane(entry);
    if (entry.state === "sent") {
      this.#forgetCaller(entry);
      entry.state = "done";
      if ("error" in outcome) entry.reject(outcome.error);
      else entry.resolve(outcome.value);
    }
    this.#advance();
  }

  get #lowPlaces(): number {
    return Math.max(1, this.#options.size - 1);
  }

  #next(): Entry | undefined {
    const { high, low } = this.#queues;
    const firstHigh = high.peek(isStale);
    const firstLow = low.peek(isStale);
    const lowMay = firstLow !== undefined && this.#low < this.#lowPlaces;
    if (lowMay && (firstHigh === undefined || firstLow.order < firstHigh.order)) return low.shift();
    return firstHigh === undefined ? undefined : high.shift();
  }

  #send(entry: Entry): void {
    entry.state = "sent";
    entry.serial = this.#takeSerial();
    this.#unanswered.set(entry.serial, entry);
    if (entry.procedure.priority === "low") this.#moveLow(1);
    entry.onSent?.(entry.serial);
    this.#options.transmit(entry);
  }

  #moveLow(by: 1 | -1): void {
    this.#low += by;
    this.#lowMovedAt = this.#clock.monotonic();
  }

  #takeSerial(): number {
    const serial = this.#nextSerial;
    this.#nextSerial = serial >= 0xffff_ffff ? 1 : serial + 1;
    return this.#unanswered.has(serial) ? this.#takeSerial() : serial;
  }

  #release(entry: Entry): void {
    this.#unanswered.delete(entry.serial);
    if (entry.procedure.priority === "low") this.#moveLow(-1);
    this.#freeLane(entry);
    if (entry.state !== "sent") return;
    this.#forgetCaller(entry);
    entry.state = "done";
  }

  /** The next of its lane may go on. */
  #freeLane(entry: Entry): void {
    for (const next of this.#lanes.leave(entry, entry.state === "left")) {
      next.through = true;
      this.#queues.low.push(next);
    }
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
    if (wasSent) this.#lanes.noteLeft(entry);
    else {
      this.#queued--;
      if (entry.through) {
        this.#queues[entry.procedure.priority].forgetOne(isStale);
        this.#freeLane(entry);
      } else this.#lanes.forgetOne(entry);
    }
    entry.reject(error);
    this.#advance();
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
    for (const entry of [...this.#queues.high, ...this.#queues.low, ...this.#lanes.waiting()]) look(entry);
    if (next < Infinity && next < this.#timerDueAt) this.#arm(next);
  }
}

function isStale(entry: Entry): boolean {
  return entry.state !== "queued";
}

function deadlineError(entry: PendingCall & { readonly deadlineMs: number }): DeadlineExceededError {
  const operation = entry.state === "queued" ? `${entry.procedure.name} (never sent)` : entry.procedure.name;
  return new DeadlineExceededError({ operation, timeoutMs: entry.deadlineMs });
}
