/** A client of QEMU's machine protocol: one session with one monitor. */
import {
  ClosedError,
  Deadline,
  EventHub,
  InvalidArgumentError,
  NotSupportedError,
  systemClock,
  withDeadline,
  joinSignals,
} from "../core/index.js";
import type { Clock, EventSubscription } from "../core/index.js";
import type { QmpClientOptions, QmpEventOptions, QmpExecuteOptions, QmpWaitOptions } from "./client-options.js";
import type { CommandParameters } from "./command-types.js";
import { isReusable } from "./endpoint.js";
import type { QmpEndpoint } from "./endpoint.js";
import { QmpConnectError, QmpDisconnectedError, QmpProtocolError, QmpStateError } from "./errors.js";
import type { QmpDisconnectedDetails, QmpExitInfo } from "./errors.js";
import { EventWaits } from "./event-waits.js";
import type { Commands } from "./generated/qapi.gen.js";
import type { QmpGreeting } from "./greeting.js";
import { openConnection } from "./open-connection.js";
import type { QmpConnection } from "./open-connection.js";
import type { QmpClosure, QmpEvent, QmpEventName, QmpEventOf, QmpStreamEvent } from "./qmp-event.js";
import type { QmpState } from "./qmp-state.js";
import type { QmpValue } from "./qmp-value.js";
import { DEFAULT_QMP_TIMEOUTS } from "./timeouts.js";
import type { QmpTimeouts } from "./timeouts.js";

/** The commands that QEMU's schema names. */
export type QmpCommandName = keyof Commands & string;

/** What a command takes. */
export type QmpArguments<C extends QmpCommandName> = Commands[C]["arguments"];

/** What a command gives. */
export type QmpResult<C extends QmpCommandName> = Commands[C]["result"];

/** The most descriptors that QEMU takes with one message. */
const MAX_FDS = 16;

/**
 * One session with one QMP monitor.
 *
 * ```ts
 * await using qmp = await QmpClient.open({ path: "/run/guest/qmp.sock" });
 * const { status } = await qmp.execute("query-status");
 * const gone = qmp.waitFor("DEVICE_DELETED", (event) => event.data.device === "nic0");
 * await qmp.execute("device_del", { id: "nic0" });
 * await gone;
 * ```
 *
 * Commands may be called at any time and in any number; they are sent in order. A call that ends by its signal or deadline
 * does not take the command back: QEMU carries it out if it was sent, and its late reply is matched by id and dropped.
 */
export class QmpClient implements AsyncDisposable {
  /** Resolves when the session is over, with the reason. Never rejects. */
  readonly closed: Promise<QmpClosure>;
  readonly #endpoint: QmpEndpoint;
  readonly #options: QmpClientOptions;
  readonly #clock: Clock;
  readonly #timeouts: QmpTimeouts;
  readonly #hub: EventHub<QmpStreamEvent<string>>;
  readonly #waits: EventWaits;
  #state: QmpState = "idle";
  #connection: QmpConnection | undefined;
  #abortConnect: AbortController | undefined;
  #quitting = false;
  #unref: boolean;
  #closure: QmpClosure | undefined;
  #exit: QmpExitInfo | undefined;
  #resolveClosed!: (closure: QmpClosure) => void;

  /** Makes a client that is `idle`; nothing is opened before {@link QmpClient.connect}. */
  constructor(endpoint: QmpEndpoint, options: QmpClientOptions = {}) {
    this.#endpoint = endpoint;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#unref = options.unref ?? false;
    this.#timeouts = { ...DEFAULT_QMP_TIMEOUTS, ...options.timeouts };
    this.#hub = new EventHub<QmpStreamEvent<string>>({
      overflow: (dropped) => ({ event: "overflow", data: { dropped } }),
    });
    this.#waits = new EventWaits(this.#clock);
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve));
  }

  /** Makes a client and connects it; see {@link QmpClient.connect}. On failure nothing stays open. */
  static async open(endpoint: QmpEndpoint, options: QmpClientOptions & QmpWaitOptions = {}): Promise<QmpClient> {
    const client = new QmpClient(endpoint, options);
    try {
      await client.connect(options);
      return client;
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  get state(): QmpState {
    return this.#state;
  }

  /** What QEMU said of itself; undefined before it did. */
  get greeting(): QmpGreeting | undefined {
    return this.#connection?.greeting;
  }

  /** The capabilities in force, such as `oob`. */
  get capabilities(): readonly string[] {
    return this.#connection?.capabilities ?? [];
  }

  /** Why the session ended; undefined until it has. */
  get closure(): QmpClosure | undefined {
    return this.#closure;
  }

  /**
   * Reaches the monitor, waits for its greeting and negotiates. A socket that is not there yet, refuses, or is full is tried
   * again until the deadline (default `timeouts.connectMs`). When this fails, the client is `idle` again and may be connected
   * once more if it was given a path; given a stream, it is `closed`.
   * @throws DeadlineExceededError when the socket does not come up, or QEMU does not greet within `timeouts.greetingMs`
   * @throws QmpConnectError when the peer hangs up, refuses the capabilities, or the path can't be opened
   * @throws QmpProtocolError when the peer speaks something else
   * @throws AbortedError, QmpStateError
   */
  async connect(options: QmpWaitOptions = {}): Promise<QmpGreeting> {
    if (this.#state !== "idle")
      throw new QmpStateError("connect()", this.#state, ["idle"], { instance: this.#options.instance });
    this.#state = "connecting";
    const abort = new AbortController();
    this.#abortConnect = abort;
    const { signal, release } = joinSignals([options.signal, abort.signal]);
    try {
      const connection = await this.#connect(options.deadlineMs ?? this.#timeouts.connectMs, signal);
      this.#connection = connection;
      this.#state = "running";
      if (this.#unref) connection.session.unref();
      if (connection.session.over) void this.#onEnded(undefined);
      return connection.greeting;
    } catch (error) {
      if (abort.signal.aborted) this.#finish({ reason: "closed" }, undefined);
      else if (isReusable(this.#endpoint)) this.#state = "idle";
      else this.#finish({ reason: error instanceof QmpProtocolError ? "protocol" : "lost" }, undefined);
      throw await this.#explain(error);
    } finally {
      release();
      this.#abortConnect = undefined;
    }
  }

  /** Adds how QEMU ended, which it often tells only on its standard error. */
  async #explain(error: unknown): Promise<unknown> {
    if (!(error instanceof QmpConnectError) || error.phase === "socket") return error;
    const exit = await this.#askExitInfo();
    const { phase, cause, detail } = error;
    return exit === undefined
      ? error
      : new QmpConnectError(error.message, { phase, cause, detail, exit, instance: this.#options.instance });
  }

  /** Every wait in it minds the deadline, so that it has wound up when it rejects. */
  async #connect(deadlineMs: number, signal: AbortSignal): Promise<QmpConnection> {
    const clock = this.#clock;
    const deadline = Deadline.after(deadlineMs, { operation: "connecting to the monitor", clock, signal });
    try {
      return await openConnection(
        this.#endpoint,
        { client: this.#options, clock, timeouts: this.#timeouts, deadline },
        {
          event: (event) => this.#onEvent(event),
          late: (reply) => this.#options.onLateReply?.(reply),
          ended: (error) => void this.#onEnded(error),
        },
      );
    } finally {
      deadline.dispose();
    }
  }

  /**
   * Executes a command and gives its result.
   * @throws QmpCommandError when QEMU refuses it; the session goes on
   * @throws QmpDisconnectedError when the session ends first; its `maybeExecuted` says whether QEMU may have got the command
   * @throws DeadlineExceededError, AbortedError when the caller's patience ends first; QEMU may still carry the command out
   * @throws InvalidArgumentError for arguments that JSON or QEMU can't carry; NotSupportedError for `oob` not negotiated
   * @throws QmpStateError before `connect()` has succeeded
   */
  execute<C extends QmpCommandName>(
    command: C,
    ...rest: CommandParameters<QmpArguments<C>, QmpExecuteOptions>
  ): Promise<QmpResult<C>> {
    return this.#execute(command, rest[0], rest[1] ?? {}, undefined);
  }

  /** Like {@link QmpClient.execute}, for commands that the types don't know. */
  executeUntyped(command: string, args?: object, options: QmpExecuteOptions = {}): Promise<QmpValue> {
    return this.#execute(command, args, options, undefined) as Promise<QmpValue>;
  }

  /**
   * Executes a command with file descriptors in the same message, such as `getfd` or `add-fd`. One such command is under way
   * at a time, since QEMU keeps only the descriptors that came last; others wait. The descriptors must stay open until the
   * promise settles. QEMU has copies of its own, which this side may close its descriptors after.
   * @throws NotSupportedError when the connection can't carry descriptors; what {@link QmpClient.execute} throws
   */
  executeWithFds<C extends QmpCommandName>(
    command: C,
    args: QmpArguments<C>,
    fds: readonly number[],
    options: QmpWaitOptions = {},
  ): Promise<QmpResult<C>> {
    return this.#execute(command, args, options, fds);
  }

  /**
   * Reads events from now on, also before `connect()`. Nothing that comes after this call is missed, except when the reader
   * falls behind its capacity, which an `overflow` event tells. The last event is `disconnected`.
   */
  events<N extends string = QmpEventName>(options: QmpEventOptions<N> = {}): EventSubscription<QmpStreamEvent<N>> {
    const { predicate, signal, capacity } = options;
    const names = options.names === undefined ? undefined : new Set<string>(options.names);
    const filter = (event: QmpStreamEvent<string>): boolean => {
      if (event.event === "disconnected" || event.event === "overflow") return true;
      if (names !== undefined && !names.has(event.event)) return false;
      return predicate === undefined || predicate(event as QmpEventOf<N>);
    };
    const needsFilter = names !== undefined || predicate !== undefined;
    const initial: QmpStreamEvent<string>[] =
      this.#closure === undefined ? [] : [{ event: "disconnected", data: this.#closure }];
    const subscription = this.#hub.subscribe({ signal, capacity, initial, ...(needsFilter ? { filter } : {}) });
    return subscription as EventSubscription<unknown> as EventSubscription<QmpStreamEvent<N>>;
  }

  /**
   * Waits for an event. Call it before the command that causes the event: it listens from the moment of the call. A wait that
   * nobody awaits any more does no harm when it fails.
   * @throws DeadlineExceededError (default `timeouts.eventMs`), AbortedError; QmpDisconnectedError when the session ends first
   */
  waitFor<N extends QmpEventName>(
    event: N,
    predicate?: (event: QmpEvent<N>) => boolean,
    options?: QmpWaitOptions,
  ): Promise<QmpEvent<N>>;
  waitFor(event: string, predicate?: (event: QmpEvent) => boolean, options?: QmpWaitOptions): Promise<QmpEvent>;
  waitFor(event: string, predicate?: (event: never) => boolean, options: QmpWaitOptions = {}): Promise<QmpEvent> {
    const { signal, deadlineMs = this.#timeouts.eventMs } = options;
    if (this.#closure !== undefined) return Promise.reject(this.#disconnected({ maybeExecuted: false }));
    return this.#waits.add(event, predicate as ((event: QmpEvent) => boolean) | undefined, { signal, deadlineMs });
  }

  /** Asks QEMU to exit and waits until it has hung up. QEMU may do so without a reply. */
  async quit(options: QmpWaitOptions = {}): Promise<QmpClosure> {
    const { signal, deadlineMs = this.#timeouts.commandMs } = options;
    const deadline = Deadline.after(deadlineMs, { operation: "quit", clock: this.#clock, signal });
    this.#quitting = true;
    try {
      await this.execute("quit", undefined, { signal: deadline.signal, deadlineMs });
      return await deadline.race(this.closed);
    } catch (error) {
      if (error instanceof QmpDisconnectedError && error.maybeExecuted) return await deadline.race(this.closed);
      throw error;
    } finally {
      deadline.dispose();
    }
  }

  /**
   * Ends the session. Commands already handed to QEMU may be carried out; their calls reject with `QmpDisconnectedError`.
   * QEMU itself goes on. May be called in any state and more than once.
   */
  async close(): Promise<void> {
    if (this.#state === "connecting")
      this.#abortConnect?.abort(new ClosedError("the client was closed", { instance: this.#options.instance }));
    else if (this.#state === "idle") this.#finish({ reason: "closed" }, undefined);
    else if (this.#state === "running") {
      this.#state = "disconnecting";
      await this.#connection?.session.close(this.#timeouts.closeMs);
    }
    await this.closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Keeps the process alive while the connection is open, which is the default. */
  ref(): void {
    this.#unref = false;
    this.#connection?.session.ref();
  }

  /** Lets the process exit although the connection is open. */
  unref(): void {
    this.#unref = true;
    this.#connection?.session.unref();
  }

  #execute(
    command: string,
    args: unknown,
    options: QmpExecuteOptions,
    fds: readonly number[] | undefined,
  ): Promise<unknown> {
    const { signal, deadlineMs = this.#timeouts.commandMs, oob } = options;
    const connection = this.#connection;
    if (this.#state !== "running" || connection === undefined) return Promise.reject(this.#notRunning(command));
    if (oob === true && !connection.capabilities.includes("oob")) {
      return Promise.reject(
        new NotSupportedError({ capability: "oob", message: "the monitor does not execute out of band" }),
      );
    }
    const refusal = fds === undefined ? undefined : checkFds(fds, connection);
    if (refusal !== undefined) return Promise.reject(refusal);
    return connection.session.execute(command, args, { signal, deadlineMs, oob, fds });
  }

  #notRunning(call: string): Error {
    const { instance } = this.#options;
    if (this.#state !== "disconnecting" && this.#state !== "closed")
      return new QmpStateError(call, this.#state, ["running"], { instance });
    return this.#disconnected({ command: call, maybeExecuted: false });
  }

  #onEvent(event: QmpEvent): void {
    this.#waits.offer(event);
    this.#hub.publish(event);
  }

  /** The one place where a session that was running ends, whoever ended it. */
  async #onEnded(error: Error | undefined): Promise<void> {
    const lost = this.#state === "running";
    this.#state = "disconnecting";
    const exit = lost ? await this.#askExitInfo() : undefined;
    if (!lost) this.#finish({ reason: "closed" }, undefined);
    else if (this.#quitting) this.#finish({ reason: "quit" }, exit);
    else if (error instanceof QmpProtocolError) this.#finish({ reason: "protocol", error }, exit);
    else
      this.#finish({ reason: "lost", error: this.#disconnected({ maybeExecuted: false, exit, cause: error }) }, exit);
  }

  async #askExitInfo(): Promise<QmpExitInfo | undefined> {
    const { exitInfo } = this.#options;
    if (exitInfo === undefined) return undefined;
    const options = { operation: "asking how QEMU ended", clock: this.#clock };
    const asked = async (): Promise<QmpExitInfo | undefined> => exitInfo();
    return withDeadline(this.#timeouts.exitInfoMs, options, asked).catch(() => undefined);
  }

  #finish(closure: QmpClosure, exit: QmpExitInfo | undefined): void {
    this.#closure = closure;
    this.#exit = exit;
    this.#state = "closed";
    this.#connection?.session.rejectAll(({ command }, maybeExecuted) => this.#disconnected({ command, maybeExecuted }));
    this.#waits.rejectAll(this.#disconnected({ maybeExecuted: false }));
    this.#hub.publish({ event: "disconnected", data: closure });
    this.#hub.close();
    this.#resolveClosed(closure);
  }

  #disconnected(details: QmpDisconnectedDetails): QmpDisconnectedError {
    const { instance } = this.#options;
    const closure = this.#closure;
    const message =
      closure?.reason === "closed" ? "the connection to QEMU was closed" : "the connection to QEMU was lost";
    return new QmpDisconnectedError(message, { instance, exit: this.#exit, cause: closure?.error, ...details });
  }
}

function checkFds(fds: readonly number[], connection: QmpConnection): Error | undefined {
  if (!connection.canPassFds) {
    return new NotSupportedError({
      capability: "fdPassing",
      message: "descriptors pass only over a UNIX socket opened by its path",
    });
  }
  const fine = fds.length >= 1 && fds.length <= MAX_FDS && fds.every((fd) => Number.isInteger(fd) && fd >= 0);
  return fine
    ? undefined
    : new InvalidArgumentError({ field: "fds", expected: `1 to ${MAX_FDS} descriptors`, value: fds });
}
