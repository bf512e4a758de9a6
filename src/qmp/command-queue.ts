/**
 * The commands of one session: ids, the window that keeps QEMU reading, deadlines, aborts, and replies that come after
 * their caller has gone.
 */
import { BusyError, DeadlineExceededError, InvalidArgumentError, abortErrorOf } from "../core/index.js";
import type { Clock, InstanceRef, TimerHandle } from "../core/index.js";

/** How a command that was no longer waited for ended after all. */
export interface LateReply {
  readonly command: string;
  readonly id: number;
  /** Absent when the command succeeded. */
  readonly error?: { readonly class: string; readonly desc: string };
}

export interface CommandOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds until the call rejects. */
  readonly deadlineMs: number;
  /** Sent as `exec-oob`, outside the window and the order of the others. */
  readonly oob?: boolean | undefined;
  /** Descriptors that go with the command. */
  readonly fds?: readonly number[] | undefined;
}

/** A command on its way. */
export interface PendingCommand {
  readonly id: number;
  readonly command: string;
  readonly args: unknown;
  readonly text: string;
  readonly oob: boolean;
  readonly fds: readonly number[] | undefined;
  /** `queued`: not sent. `sent`: waited for. `left`: sent, but its caller has been told of an abort or deadline. `done`: settled. */
  readonly state: "queued" | "sent" | "left" | "done";
  /** Aborts when the caller stops waiting; only for commands with descriptors. */
  readonly abandoned: AbortSignal | undefined;
}

interface Entry extends PendingCommand {
  state: PendingCommand["state"];
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly dueAt: number;
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: (() => void) | undefined;
  readonly controller: AbortController | undefined;
}

export interface CommandQueueOptions {
  readonly clock: Clock;
  /** How many in-band commands may be unanswered at once; the others wait their turn. */
  readonly window: number;
  /** How many may wait. */
  readonly maxQueued: number;
  /** How many out-of-band commands may be unanswered at once. */
  readonly maxOob: number;
  /** The instance that errors name. */
  readonly instance?: InstanceRef | undefined;
  /** Puts a command on the wire. */
  readonly transmit: (command: PendingCommand) => void;
  /** The caller of a command that was sent has stopped waiting. */
  readonly onLeft?: (command: PendingCommand) => void;
}

export class CommandQueue {
  readonly #options: CommandQueueOptions;
  readonly #clock: Clock;
  /** Sent and not answered, by id. */
  readonly #unanswered = new Map<number, Entry>();
  #queue: Entry[] = [];
  #head = 0;
  #staleQueued = 0;
  #inBand = 0;
  #outOfBand = 0;
  #fdsOut = false;
  /** Callers that wait. */
  #waiting = 0;
  #nextId = 1 + Math.floor(Math.random() * 0x1fff_ffff);
  #timer: TimerHandle | undefined;
  #timerDueAt = Infinity;
  #stopped = false;

  constructor(options: CommandQueueOptions) {
    this.#options = options;
    this.#clock = options.clock;
  }

  /** Sent commands without a reply. */
  get unanswered(): number {
    return this.#unanswered.size;
  }

  /** Commands that wait for their turn. */
  get queued(): number {
    return this.#queue.length - this.#head - this.#staleQueued;
  }

  /** Every command that was sent and not answered. */
  pending(): Iterable<PendingCommand> {
    return this.#unanswered.values();
  }

  /** The unanswered command of this id. */
  find(id: unknown): PendingCommand | undefined {
    return this.#unanswered.get(id as number);
  }

  /**
   * Sends a command when its turn comes and resolves with the value of its reply.
   * @param head its JSON up to its id
   * @throws DeadlineExceededError, AbortedError, BusyError, and what {@link CommandQueue.reply} and {@link CommandQueue.stop} give
   */
  add(command: string, args: unknown, head: string, options: CommandOptions): Promise<unknown> {
    const { signal, deadlineMs, oob = false, fds } = options;
    if (signal?.aborted === true) return Promise.reject(abortErrorOf(signal, command));
    if (!(deadlineMs > 0 && Number.isFinite(deadlineMs))) {
      const expected = "a finite number of milliseconds above 0";
      return Promise.reject(new InvalidArgumentError({ field: "deadlineMs", expected, value: deadlineMs }));
    }
    if (oob ? this.#outOfBand >= this.#options.maxOob : this.queued >= this.#options.maxQueued) {
      return Promise.reject(
        new BusyError("too many commands wait for this peer", { instance: this.#options.instance }),
      );
    }
    return new Promise((resolve, reject) => {
      const id = this.#takeId();
      const text = `${head}${id}}\n`;
      const onAbort = signal === undefined ? undefined : (): void => this.#leave(entry, abortErrorOf(signal, command));
      const controller = fds === undefined ? undefined : new AbortController();
      const dueAt = this.#clock.monotonic() + deadlineMs;
      const entry: Entry = {
        id, command, args, text, oob, fds, resolve, reject, dueAt, deadlineMs, signal, onAbort, controller,
        state: "queued",
        abandoned: controller?.signal,
      }; // prettier-ignore
      if (onAbort !== undefined) signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting++;
      if (dueAt < this.#timerDueAt) this.#arm(dueAt);
      if (oob) this.#send(entry);
      else {
        this.#queue.push(entry);
        this.#advance();
      }
    });
  }

  /**
   * Settles the command of this id: with a value, or with the error that `makeError` gives for it.
   * @returns the command, in state `left` when nobody waited any more; undefined when no unanswered command has this id
   */
  reply(
    id: unknown,
    outcome: { readonly value: unknown } | { readonly makeError: (command: PendingCommand) => Error },
  ): PendingCommand | undefined {
    const entry = this.#unanswered.get(id as number);
    if (entry === undefined) return undefined;
    const waited = entry.state === "sent";
    this.#release(entry);
    if (waited) {
      if ("value" in outcome) entry.resolve(outcome.value);
      else entry.reject(outcome.makeError(entry));
    }
    this.#advance();
    return entry;
  }

  /** Takes back a command that could not be put on the wire. */
  failTransmit(command: PendingCommand, error: Error): void {
    const entry = this.#unanswered.get(command.id);
    if (entry === undefined) return;
    const waited = entry.state === "sent";
    this.#release(entry);
    if (waited) entry.reject(error);
    this.#advance();
  }

  /** Frees the places of commands that nobody waits for: for an owner that knows that no reply to them can come any more. */
  dropLeft(): void {
    for (const entry of [...this.#unanswered.values()]) if (entry.state === "left") this.#release(entry);
    this.#advance();
  }

  /** Rejects everything with what `makeError` says of each command; nothing is sent any more. */
  stop(makeError: (command: PendingCommand, wasSent: boolean) => Error): void {
    this.#stopped = true;
    const waiting = this.#queue.slice(this.#head).filter((entry) => entry.state === "queued");
    const sent = [...this.#unanswered.values()];
    this.#queue = [];
    this.#head = 0;
    this.#staleQueued = 0;
    this.#unanswered.clear();
    for (const entry of [...sent, ...waiting]) {
      if (entry.state === "left") continue;
      const wasSent = entry.state === "sent";
      this.#forgetCaller(entry);
      entry.state = "done";
      const error = makeError(entry, wasSent);
      entry.reject(error);
      entry.controller?.abort(error);
    }
  }

  #takeId(): number {
    const id = this.#nextId;
    this.#nextId = id >= 0x3fff_ffff ? 1 : id + 1;
    return this.#unanswered.has(id) ? this.#takeId() : id;
  }

  /** Sends what fits into the window, in order. */
  #advance(): void {
    while (!this.#stopped && this.#head < this.#queue.length && this.#inBand < this.#options.window) {
      const entry = this.#queue[this.#head] as Entry;
      if (entry.state === "queued" && entry.fds !== undefined && this.#fdsOut) return;
      this.#head++;
      if (entry.state === "queued") this.#send(entry);
      else this.#staleQueued--;
    }
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#queue.length) this.#compact();
  }

  #send(entry: Entry): void {
    entry.state = "sent";
    this.#unanswered.set(entry.id, entry);
    if (entry.oob) this.#outOfBand++;
    else this.#inBand++;
    if (entry.fds !== undefined) this.#fdsOut = true;
    this.#options.transmit(entry);
  }

  #release(entry: Entry): void {
    this.#unanswered.delete(entry.id);
    if (entry.oob) this.#outOfBand--;
    else this.#inBand--;
    if (entry.fds !== undefined) this.#fdsOut = false;
    if (entry.state === "left") return;
    this.#forgetCaller(entry);
    entry.state = "done";
  }

  #forgetCaller(entry: Entry): void {
    if (entry.onAbort !== undefined) entry.signal?.removeEventListener("abort", entry.onAbort);
    if (--this.#waiting === 0) this.#disarm();
  }

  /** The caller stops waiting. What was sent keeps its place in the window until QEMU has answered it. */
  #leave(entry: Entry, error: Error): void {
    if (entry.state !== "queued" && entry.state !== "sent") return;
    this.#forgetCaller(entry);
    const wasSent = entry.state === "sent";
    entry.state = wasSent ? "left" : "done";
    if (!wasSent) {
      this.#staleQueued++;
      if (this.#staleQueued > 64 && this.#staleQueued > this.queued) this.#compact();
    }
    entry.reject(error);
    entry.controller?.abort(error);
    if (wasSent) this.#options.onLeft?.(entry);
  }

  #compact(): void {
    this.#queue = this.#queue.slice(this.#head).filter((entry) => entry.state === "queued");
    this.#head = 0;
    this.#staleQueued = 0;
  }

  #arm(dueAt: number): void {
    this.#timer?.cancel();
    this.#timerDueAt = dueAt;
    this.#timer = this.#clock.setTimeout(() => this.#onTimer(), Math.max(0, dueAt - this.#clock.monotonic()));
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerDueAt = Infinity;
  }

  /** One timer serves all commands: it stands at the earliest deadline and moves on when it fires. */
  #onTimer(): void {
    this.#disarm();
    const now = this.#clock.monotonic();
    let next = Infinity;
    const look = (entry: Entry): void => {
      if (entry.state !== "queued" && entry.state !== "sent") return;
      if (entry.dueAt <= now) this.#leave(entry, this.#deadlineError(entry));
      else next = Math.min(next, entry.dueAt);
    };
    for (const entry of [...this.#unanswered.values()]) look(entry);
    for (const entry of this.#queue.slice(this.#head)) look(entry);
    if (next < Infinity && !this.#stopped) this.#arm(next);
  }

  #deadlineError(entry: Entry): DeadlineExceededError {
    const operation = entry.state === "queued" ? `${entry.command} (never sent)` : entry.command;
    return new DeadlineExceededError({ operation, timeoutMs: entry.deadlineMs, instance: this.#options.instance });
  }
}
