/** A guest in memory: its process, its monitor, and the view of it that QEMU's events keep up to date. */
import type { Socket } from "node:net";
import { ClosedError, DeadlineExceededError, abortErrorOf, onAbort, withDeadline } from "../core/index.js";
import type { Clock, InstanceRef } from "../core/index.js";
import { GuestCrashedError } from "../driver/index.js";
import { sendWithFds, socketFd } from "../host/index.js";
import { QmpClient, QmpDisconnectedError, streamTransport } from "../qmp/index.js";
import type {
  QmpArguments,
  QmpClientOptions,
  QmpCommandName,
  QmpEndpoint,
  QmpEvent,
  QmpExecuteOptions,
  QmpResult,
  QmpWaitOptions,
} from "../qmp/index.js";
import { UNLAUNCHED, interpret, interpretEnd, needsStatus, powerStateOf, withRequest } from "./events.js";
import type { GuestView, Report, Request } from "./events.js";
import type { RunningProcess } from "./process.js";
import type { KvmTimeouts } from "./timeouts.js";

/** What a session tells its guest, in order. Neither may throw. */
export interface SessionListener {
  report(report: Report): void;
  /** Events were lost, or the monitor was away for a while: read anew what they would have told. Does not reject. */
  resync(): Promise<void>;
  /** The process is gone; the last call. */
  ended(end: ReturnType<typeof interpretEnd>): void;
}

export interface SessionOptions {
  readonly instance: InstanceRef;
  readonly process: RunningProcess;
  /** The monitor's socket, for those who come later than its start. */
  readonly monitorPath: string;
  readonly biosResets: boolean;
  readonly clock: Clock;
  readonly timeouts: KvmTimeouts;
  readonly view?: GuestView;
  readonly listener: SessionListener;
}

/** Events that may wait while one is looked into. */
const EVENT_CAPACITY = 65_536;
/** A monitor that does not greet is waited for as long as its process lives. */
const FOREVER_MS = 2_147_483_647;
const LAST_EVENTS_MS = 1_000;
/** How often QEMU is asked whether it is done with a migration. */
const FINISHING_MS = 5;

export class GuestSession {
  readonly process: RunningProcess;
  readonly #options: SessionOptions;
  #view: GuestView;
  #client: QmpClient | undefined;
  #pump: Promise<void> = Promise.resolve();
  /** True while QEMU owes the answer to a question whose asker has given up. */
  #silent = false;
  #released = false;
  readonly #waiters = new Set<() => void>();
  readonly #watchers = new Set<(event: QmpEvent | undefined) => void>();
  readonly #release = new AbortController();

  constructor(options: SessionOptions) {
    this.#options = options;
    this.process = options.process;
    this.#view = options.view ?? UNLAUNCHED;
    void this.process.ended.then(() => this.#onEnded());
  }

  get view(): GuestView {
    return this.#view;
  }

  /** True while QEMU is connected and owes no answer. */
  get answers(): boolean {
    return this.#client?.state === "running" && !this.#silent;
  }

  /** Connects over a socketpair that QEMU was started with. @throws what `QmpClient.connect` throws */
  async connectStream(stream: Socket, options: QmpWaitOptions): Promise<void> {
    const { clock } = this.#options;
    const fdPassing = {
      socketFd: () => (stream.destroyed ? undefined : socketFd(stream)),
      load: () =>
        Promise.resolve((fd: number, data: Buffer, fds: readonly number[], signal: AbortSignal) =>
          sendWithFds(fd, data, fds, { signal, clock }),
        ),
    };
    await this.#connect({ transport: streamTransport(stream, { description: "monitor", clock, fdPassing }) }, options);
  }

  /** Connects by path, and again whenever the connection is lost while the process lives. Never rejects; resolves when first connected, or over. */
  async keepConnected(): Promise<void> {
    while (!this.process.over && !this.#released) {
      try {
        await this.#connect(
          { path: this.#options.monitorPath },
          { deadlineMs: FOREVER_MS, signal: this.#release.signal },
        );
        await this.#options.listener.resync();
        return;
      } catch {
        await this.#waitEnded(this.#options.timeouts.exitMs);
      }
    }
  }

  /**
   * Executes a command, waiting for the monitor if it is not connected yet.
   * @throws QmpCommandError; GuestCrashedError when QEMU ends first; ClosedError; DeadlineExceededError, AbortedError
   */
  async execute<C extends QmpCommandName>(
    command: C,
    args?: QmpArguments<C>,
    options: QmpExecuteOptions & { readonly fds?: readonly number[] } = {},
  ): Promise<QmpResult<C>> {
    const { signal, deadlineMs = this.#options.timeouts.commandMs, fds, oob } = options;
    const wait = { operation: `the command ${command}`, clock: this.#options.clock, signal };
    try {
      return await withDeadline(deadlineMs, wait, async (deadline) => {
        const client = await this.#connected(deadline.signal);
        const limits = { signal: deadline.signal, deadlineMs, oob };
        if (fds !== undefined) return client.executeWithFds(command, args as QmpArguments<C>, fds, limits);
        return await client.executeUntyped(command, args, limits);
      });
    } catch (error) {
      throw await this.#explain(error);
    }
  }

  /** The monitor's client, once it is connected, for events and jobs; it is another one after the monitor was away. @throws GuestCrashedError, DeadlineExceededError, AbortedError */
  async client(options: QmpWaitOptions = {}): Promise<QmpClient> {
    const { signal, deadlineMs = this.#options.timeouts.commandMs } = options;
    const wait = { operation: "reaching QEMU", clock: this.#options.clock, signal };
    return withDeadline(deadlineMs, wait, (deadline) => this.#connected(deadline.signal));
  }

  /** Notes that we ask for something, so that its outcome is told apart from what others do. Taken back when the asking fails. */
  async requesting<T>(request: Request, ask: () => Promise<T>): Promise<T> {
    this.#view = withRequest(this.#view, request, true);
    try {
      return await ask();
    } catch (error) {
      this.#view = withRequest(this.#view, request, false);
      throw error;
    }
  }

  /** Notes or takes back a request whose outcome may come much later. */
  note(request: Request, pending: boolean): void {
    this.#view = withRequest(this.#view, request, pending);
  }

  /** From now on, QEMU stops and resumes the vCPUs as part of saving or migrating the guest, which is no news of it; or no longer. */
  setMoving(moving: boolean): void {
    this.#view = { ...this.#view, moving };
  }

  /**
   * Calls back with every event of QEMU, in order, after the view has taken it; with `undefined` when events may have been missed, and when the process has ended.
   * The returned function ends that.
   */
  watch(callback: (event: QmpEvent | undefined) => void): () => void {
    this.#watchers.add(callback);
    return () => this.#watchers.delete(callback);
  }

  /** From now on a `RESUME` is not the guest's start. */
  markLaunched(): void {
    this.#view = { ...this.#view, launched: true };
  }

  /** Takes over what `query-status` says, and reports a change that no event has told, if `report` says so. */
  observe(status: string, report: boolean): void {
    const state = powerStateOf(status);
    if (state === this.#view.state) return;
    const transition = state === "running" ? "resumed" : state === "paused" ? "paused" : "crashed";
    this.#view = { ...this.#view, state };
    if (report)
      this.#options.listener.report({
        type: "lifecycle",
        transition,
        cause: state === "crashed" ? "crash" : "external",
        detail: status,
      });
    this.#wake();
  }

  /** Resolves once the view is as wanted; at once if it is. @throws DeadlineExceededError, AbortedError, GuestCrashedError */
  async until(wanted: (view: GuestView) => boolean, operation: string, options: QmpWaitOptions = {}): Promise<void> {
    const { signal, deadlineMs = this.#options.timeouts.commandMs } = options;
    await withDeadline(deadlineMs, { operation, clock: this.#options.clock, signal }, (deadline) =>
      this.#watch(wanted, deadline.signal),
    );
  }

  /** QEMU's run state, or undefined when it does not answer within the query limit or still owes an earlier answer. */
  async runState(options: QmpWaitOptions = {}): Promise<string | undefined> {
    if (!this.answers) return undefined;
    const limit = this.#options.timeouts.queryMs;
    const deadlineMs = Math.min(options.deadlineMs ?? limit, limit);
    try {
      const client = this.#client as QmpClient;
      const { status } = await client.execute("query-status", {}, { signal: options.signal, deadlineMs });
      return status;
    } catch (error) {
      if (error instanceof DeadlineExceededError || options.signal?.aborted === true) this.#silent = true;
      if (options.signal?.aborted === true) throw error;
      return undefined;
    }
  }

  /**
   * QEMU's run state after a migration. QEMU tells that one has ended a moment before it takes commands for what comes next, and tells nothing of that moment.
   * @throws DeadlineExceededError, GuestCrashedError
   */
  async stateAfterMigration(): Promise<string> {
    const { clock, timeouts } = this.#options;
    const wait = { operation: "waiting until a migration is over", clock };
    return withDeadline(timeouts.cancelMs, wait, async ({ signal }) => {
      for (;;) {
        const { status } = await this.execute("query-status", {}, { signal });
        if (status !== "finish-migrate") return status;
        await clock.sleep(FINISHING_MS, { signal });
      }
    });
  }

  /** Lets go of the guest, which runs on. */
  async release(): Promise<void> {
    this.#released = true;
    this.#wake();
    this.#release.abort();
    await this.#client?.close();
    await this.#pump;
  }

  async #connect(endpoint: QmpEndpoint, options: QmpWaitOptions): Promise<void> {
    const { instance, clock, timeouts } = this.#options;
    const clientOptions: QmpClientOptions = {
      instance,
      clock,
      unref: true,
      onLateReply: ({ command }) => {
        this.#silent = false;
        // A change that its caller has given up on was made after all.
        if (!command.startsWith("query-")) void this.#options.listener.resync();
      },
      timeouts: { commandMs: timeouts.commandMs, greetingMs: options.deadlineMs ?? timeouts.startMs },
      exitInfo: async () => {
        const end = await this.#waitEnded(LAST_EVENTS_MS);
        return end === undefined ? undefined : { exitCode: end.exitCode, signal: end.signal, stderr: end.log };
      },
    };
    const client = new QmpClient(endpoint, clientOptions);
    const events = client.events({ capacity: EVENT_CAPACITY });
    try {
      await client.connect(options);
    } catch (error) {
      await client.close();
      throw error;
    }
    this.#client = client;
    this.#silent = false;
    this.#pump = this.#read(events);
    void client.closed.then(() => this.#onDisconnected(client));
    this.#wake();
    this.#tellWatchers(undefined);
  }

  async #read(events: AsyncIterable<QmpEvent | { readonly event: "overflow" | "disconnected" }>): Promise<void> {
    for await (const event of events) {
      if (event.event === "disconnected") return;
      if (event.event === "overflow") {
        this.#tellWatchers(undefined);
        void this.#options.listener.resync();
      } else await this.#step(event as QmpEvent);
    }
  }

  async #step(event: QmpEvent): Promise<void> {
    this.#silent = false;
    const status = needsStatus(this.#view, event) ? await this.runState() : undefined;
    const { view, reports } = interpret(this.#view, event, status, this.#options.biosResets);
    this.#view = view;
    for (const report of reports) this.#options.listener.report(report);
    this.#wake();
    this.#tellWatchers(event);
  }

  #tellWatchers(event: QmpEvent | undefined): void {
    for (const watcher of [...this.#watchers]) watcher(event);
  }

  #onDisconnected(client: QmpClient): void {
    if (this.#client === client) this.#client = undefined;
    if (this.#released || this.process.over) return;
    const { exitMs } = this.#options.timeouts;
    this.process.hungUp(exitMs);
    void this.#waitEnded(exitMs).then((end) => (end === undefined ? this.keepConnected() : undefined));
  }

  async #onEnded(): Promise<void> {
    // The end of the process may be known before its last words are read.
    await withDeadline(
      LAST_EVENTS_MS,
      { operation: "reading the last events", clock: this.#options.clock },
      () => this.#pump,
    ).catch(() => undefined);
    this.#release.abort();
    await this.#client?.close();
    this.#wake();
    this.#tellWatchers(undefined);
    if (!this.#released) this.#options.listener.ended(interpretEnd(this.#view, await this.process.ended));
  }

  async #connected(signal: AbortSignal): Promise<QmpClient> {
    await this.#watch(() => this.#client?.state === "running", signal);
    return this.#client as QmpClient;
  }

  #watch(wanted: (view: GuestView) => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        if (wanted(this.#view)) settle(resolve);
        else if (this.process.over) settle(() => reject(this.#gone()));
        else if (this.#released) settle(() => reject(this.#closed()));
      };
      const settle = (outcome: () => void): void => {
        this.#waiters.delete(look);
        forget();
        outcome();
      };
      this.#waiters.add(look);
      const forget = onAbort(signal, () => settle(() => reject(abortErrorOf(signal))));
      look();
    });
  }

  #wake(): void {
    for (const look of [...this.#waiters]) look();
  }

  async #waitEnded(timeoutMs: number): Promise<Awaited<RunningProcess["ended"]> | undefined> {
    const options = { operation: "waiting for QEMU to end", clock: this.#options.clock, signal: this.#release.signal };
    return withDeadline(timeoutMs, options, () => this.process.ended).catch(() => undefined);
  }

  /** A command that was cut off by the end of QEMU, or of the driver, failed because of that. */
  async #explain(error: unknown): Promise<unknown> {
    if (!(error instanceof QmpDisconnectedError)) return error;
    if (this.#released) return this.#closed(error);
    const end = await this.#waitEnded(LAST_EVENTS_MS);
    if (end === undefined) return error;
    return this.#gone(error, end.log);
  }

  #closed(cause?: unknown): ClosedError {
    return new ClosedError("the driver was closed", { instance: this.#options.instance, cause });
  }

  #gone(cause?: unknown, log?: string): GuestCrashedError {
    return new GuestCrashedError("QEMU ended while it was needed", {
      instance: this.#options.instance,
      cause,
      ...(log === undefined || log === "" ? {} : { detail: log }),
    });
  }
}
