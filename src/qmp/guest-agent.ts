/** A client of QEMU's guest agent: what a host may ask of a guest from inside. */
import { ClosedError, Deadline, joinSignals, systemClock } from "../core/index.js";
import type { Clock, SecretLike } from "../core/index.js";
import type { QmpWaitOptions } from "./client-options.js";
import type { CommandParameters } from "./command-types.js";
import { isReusable, reach } from "./endpoint.js";
import type { QmpEndpoint } from "./endpoint.js";
import { QmpDisconnectedError, QmpProtocolError, QmpStateError } from "./errors.js";
import type * as Qga from "./generated/qga.gen.js";
import { GuestAgentConnection } from "./guest-agent-connection.js";
import type { UnansweredOutcome } from "./guest-agent-connection.js";
import { GuestAgentCalls } from "./guest-agent-calls.js";
import type { GuestCommandName } from "./guest-agent-calls.js";
import type { GuestProcess } from "./guest-agent-process.js";
import type {
  GuestAgentClientOptions,
  GuestExecOptions,
  GuestExecResult,
  GuestFreezeOptions,
  GuestPasswordOptions,
  GuestReadOptions,
  GuestWriteOptions,
} from "./guest-agent-options.js";
import type { QmpClosure } from "./qmp-event.js";
import type { QmpState } from "./qmp-state.js";
import { DEFAULT_GUEST_AGENT_TIMEOUTS } from "./timeouts.js";
import type { GuestAgentTimeouts } from "./timeouts.js";
import type { QmpTransport } from "./transport.js";

type Arguments<C extends GuestCommandName> = Qga.GuestCommands[C]["arguments"];
type Result<C extends GuestCommandName> = Qga.GuestCommands[C]["result"];

/**
 * One session with the agent of one guest. Commands are executed one at a time, as the agent does; after every deadline or
 * abort the client gets into step with the agent again before it sends the next. Everything the agent says comes from inside
 * the guest and is to be trusted as little as the guest.
 *
 * ```ts
 * await using agent = await GuestAgentClient.open({ path: "/run/guest/agent.sock" });
 * const { stdout } = await agent.exec("/bin/uname", { args: ["-r"] });
 * ```
 */
export class GuestAgentClient implements AsyncDisposable {
  /** Resolves when the session is over, with the reason. Never rejects. */
  readonly closed: Promise<QmpClosure>;
  readonly #endpoint: QmpEndpoint;
  readonly #options: GuestAgentClientOptions;
  readonly #clock: Clock;
  readonly #timeouts: GuestAgentTimeouts;
  readonly #calls: GuestAgentCalls;
  #state: QmpState = "idle";
  #connection: GuestAgentConnection | undefined;
  #abortConnect: AbortController | undefined;
  #closure: QmpClosure | undefined;
  #resolveClosed!: (closure: QmpClosure) => void;
  #info: Qga.GuestAgentInfo | undefined;

  /** Makes a client that is `idle`; nothing is opened before {@link GuestAgentClient.connect}. */
  constructor(endpoint: QmpEndpoint, options: GuestAgentClientOptions = {}) {
    this.#endpoint = endpoint;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#timeouts = { ...DEFAULT_GUEST_AGENT_TIMEOUTS, ...options.timeouts };
    const { instance } = options;
    this.#calls = new GuestAgentCalls(
      (command, args, wait) => this.#call(command, args, wait, this.#timeouts.commandMs) as never,
      { clock: this.#clock, timeouts: this.#timeouts, instance },
    );
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve));
  }

  /** Makes a client and connects it; see {@link GuestAgentClient.connect}. On failure nothing stays open. */
  static async open(
    endpoint: QmpEndpoint,
    options: GuestAgentClientOptions & QmpWaitOptions = {},
  ): Promise<GuestAgentClient> {
    const client = new GuestAgentClient(endpoint, options);
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

  /**
   * Reaches the socket and waits until the agent answers, which takes as long as the guest takes to boot. When this fails,
   * the client is `idle` again and may be connected once more if it was given a path; given a stream, it is `closed`.
   * @throws DeadlineExceededError when the socket or the agent does not come up in time (default `timeouts.connectMs`)
   * @throws QmpDisconnectedError, QmpConnectError, QmpStateError, AbortedError
   */
  async connect(options: QmpWaitOptions = {}): Promise<void> {
    const { instance } = this.#options;
    if (this.#state !== "idle") throw new QmpStateError("connect()", this.#state, ["idle"], { instance });
    this.#state = "connecting";
    const abort = new AbortController();
    this.#abortConnect = abort;
    const { signal, release } = joinSignals([options.signal, abort.signal]);
    try {
      await this.#connect(options.deadlineMs ?? this.#timeouts.connectMs, signal, abort);
      this.#state = "running";
    } catch (error) {
      this.#connection?.session.fail(undefined);
      this.#connection = undefined;
      if (isReusable(this.#endpoint) && !(abort.signal.reason instanceof ClosedError)) this.#state = "idle";
      else this.#finish({ reason: "lost" });
      throw error;
    } finally {
      release();
      this.#abortConnect = undefined;
    }
  }

  /**
   * Executes a command and gives its result. For commands that are not answered when they succeed use
   * {@link GuestAgentClient.shutdown} and {@link GuestAgentClient.suspend}.
   * @throws QmpCommandError when the agent refuses it
   * @throws GuestAgentUnavailableError when the agent does not answer a synchronisation that is due first
   * @throws DeadlineExceededError, AbortedError when the caller's patience ends first; the guest may carry the command out
   * @throws QmpDisconnectedError, QmpProtocolError, QmpStateError
   */
  execute<C extends GuestCommandName>(
    command: C,
    ...rest: CommandParameters<Arguments<C>, QmpWaitOptions>
  ): Promise<Result<C>> {
    return this.#call(command, rest[0], rest[1] ?? {}, this.#timeouts.commandMs) as Promise<Result<C>>;
  }

  /** Resolves when the agent answers. */
  ping(options: QmpWaitOptions = {}): Promise<void> {
    return this.#calls.ping(options);
  }

  /** The agent's version and commands, asked for once. */
  async info(options: QmpWaitOptions = {}): Promise<Qga.GuestAgentInfo> {
    return (this.#info ??= await this.execute("guest-info", {}, options));
  }

  /** Whether the agent has a command and its administrator has not disabled it. */
  async supports(command: GuestCommandName, options: QmpWaitOptions = {}): Promise<boolean> {
    const { supported_commands: commands } = await this.info(options);
    return commands.some(({ name, enabled }) => name === command && enabled);
  }

  /**
   * Asks the guest to power off, halt or reboot. Success is not answered: `accepted` says that the agent went on without an
   * error, `silent` and `disconnected` that it is gone, which is what a guest that goes down does.
   */
  shutdown(
    mode: "powerdown" | "halt" | "reboot" = "powerdown",
    options: QmpWaitOptions = {},
  ): Promise<UnansweredOutcome> {
    return this.#callUnanswered("guest-shutdown", { mode }, options);
  }

  /** Asks the guest to suspend itself; see {@link GuestAgentClient.shutdown} for what the outcomes say. */
  suspend(to: "disk" | "ram" | "hybrid", options: QmpWaitOptions = {}): Promise<UnansweredOutcome> {
    return this.#callUnanswered(`guest-suspend-${to}`, undefined, options);
  }

  /** Sets the password of a user of the guest. It appears in no error, trace or transcript. */
  setUserPassword(username: string, password: SecretLike, options: GuestPasswordOptions = {}): Promise<void> {
    return this.#calls.setUserPassword(username, password, options);
  }

  /** The network interfaces as the guest sees them, with their addresses. */
  networkInterfaces(options: QmpWaitOptions = {}): Promise<readonly Qga.GuestNetworkInterface[]> {
    return this.#calls.networkInterfaces(options);
  }

  /**
   * Runs a program, by its absolute path and without a shell, and gives its output. A caller that gives up (default
   * `timeouts.execMs`) leaves the program running.
   */
  exec(path: string, options: GuestExecOptions = {}): Promise<GuestExecResult> {
    return this.#calls.exec(path, options);
  }

  /**
   * Starts a program of a Unix guest, by its absolute path, and gives its output while it runs. The guest's shell starts it with its output in files of a
   * temporary directory, which are removed at the end; a program that is not there ends with 127. Of the time that `deadlineMs` (default `timeouts.execMs`) gives
   * the program may use all: after it, or on abort, `exited` rejects, the streams are destroyed and the program is left running.
   * @throws HyperviseError with code `GUEST_EXEC_FAILED` when the guest has no temporary directory; QmpCommandError, GuestAgentUnavailableError, DeadlineExceededError, AbortedError
   */
  start(path: string, options: GuestExecOptions = {}): Promise<GuestProcess> {
    return this.#calls.start(path, options);
  }

  /**
   * Reads a file of the guest.
   * @throws OverflowError when it is longer than `maxBytes`; nothing is given then
   */
  readFile(path: string, options: GuestReadOptions = {}): Promise<Buffer> {
    return this.#calls.readFile(path, options);
  }

  /** Writes a file of the guest, which is made, with the agent's owner and mask, if it is not there. */
  writeFile(path: string, data: string | Uint8Array, options: GuestWriteOptions = {}): Promise<void> {
    return this.#calls.writeFile(path, data, options);
  }

  /**
   * Freezes the guest's file systems, runs the work, and thaws them whatever happens: when the work fails, when the caller
   * aborts, when `frozenMs` are over. The signal that the work gets aborts in the last two cases.
   * @throws what the work throws; ConflictError when the guest thawed by itself too early
   * @throws GuestThawError when the file systems may still be frozen; its cause is what the work threw, if it did
   */
  withFrozenFilesystems<T>(work: (signal: AbortSignal) => Promise<T>, options: GuestFreezeOptions = {}): Promise<T> {
    return this.#calls.withFrozenFilesystems(work, options);
  }

  /**
   * Thaws the guest's file systems, as often as it takes, and gives how many were thawed.
   * @throws GuestThawError when they may still be frozen after `timeouts.thawMs`
   */
  thaw(): Promise<number> {
    return this.#calls.thaw();
  }

  /** Ends the session; the agent and what it runs go on. May be called in any state and more than once. */
  async close(): Promise<void> {
    if (this.#state === "connecting")
      this.#abortConnect?.abort(new ClosedError("the client was closed", { instance: this.#options.instance }));
    else if (this.#state === "idle") this.#finish({ reason: "closed" });
    else if (this.#state === "running") {
      this.#state = "disconnecting";
      await this.#connection?.session.close(this.#timeouts.closeMs);
    }
    await this.closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Every wait in it minds the deadline, so that it has wound up when it rejects. */
  async #connect(deadlineMs: number, signal: AbortSignal, abort: AbortController): Promise<void> {
    const { retryMinMs, retryMaxMs } = this.#timeouts;
    const clock = this.#clock;
    const deadline = Deadline.after(deadlineMs, { operation: "reaching the guest agent", clock, signal });
    try {
      const transport = await reach(this.#endpoint, { clock, signal: deadline.signal, retryMinMs, retryMaxMs });
      const connection = this.#makeConnection(transport, abort);
      this.#connection = connection;
      if (this.#options.unref === true) connection.session.unref();
      await connection.connect(deadline);
    } finally {
      deadline.dispose();
    }
  }

  #makeConnection(transport: QmpTransport, abort: AbortController): GuestAgentConnection {
    const { maxMessageBytes, transcript, instance } = this.#options;
    const { syncMs } = this.#timeouts;
    return new GuestAgentConnection({
      transport,
      clock: this.#clock,
      maxMessageBytes,
      transcript,
      instance,
      syncMs,
      ended: (error) => {
        if (this.#state === "connecting") abort.abort(this.#disconnected(undefined, false, error));
        else this.#onEnded(error);
      },
      disconnected: (command) => this.#disconnected(command, false, this.#closure?.error),
    });
  }

  #call(command: string, args: unknown, options: QmpWaitOptions, defaultMs: number): Promise<unknown> {
    const connection = this.#ready(command);
    if (connection instanceof Error) return Promise.reject(connection);
    return connection.execute(command, args, { signal: options.signal, deadlineMs: options.deadlineMs ?? defaultMs });
  }

  #callUnanswered(command: string, args: unknown, options: QmpWaitOptions): Promise<UnansweredOutcome> {
    const connection = this.#ready(command);
    if (connection instanceof Error) return Promise.reject(connection);
    const { signal, deadlineMs = this.#timeouts.noReplyMs } = options;
    return connection.executeUnanswered(command, args, { signal, deadlineMs });
  }

  #ready(command: string): GuestAgentConnection | Error {
    if (this.#state === "running" && this.#connection !== undefined) return this.#connection;
    if (this.#closure !== undefined) return this.#disconnected(command, false, this.#closure.error);
    return new QmpStateError(command, this.#state, ["running"], { instance: this.#options.instance });
  }

  #onEnded(error: Error | undefined): void {
    if (this.#closure !== undefined) return;
    const lost = this.#state === "running";
    this.#state = "disconnecting";
    if (!lost) this.#finish({ reason: "closed" });
    else if (error instanceof QmpProtocolError) this.#finish({ reason: "protocol", error });
    else this.#finish({ reason: "lost", error: this.#disconnected(undefined, false, error) });
  }

  #finish(closure: QmpClosure): void {
    this.#closure = closure;
    this.#state = "closed";
    this.#connection?.session.rejectAll(({ command }, sent) => this.#disconnected(command, sent, closure.error));
    this.#resolveClosed(closure);
  }

  #disconnected(command: string | undefined, maybeExecuted: boolean, cause: unknown): QmpDisconnectedError {
    const { instance } = this.#options;
    return new QmpDisconnectedError("the connection to the guest agent has ended", {
      command,
      maybeExecuted,
      cause,
      instance,
    });
  }
}
