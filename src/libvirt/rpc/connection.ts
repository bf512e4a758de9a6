/** A connection to a libvirt daemon: calls, streams and events over libvirt's own protocol. */
import { InvalidArgumentError, asError, traceOperation } from "../../core/index.js";
import type { EventSubscription } from "../../core/index.js";
import type { CallParameters, LxcCallName, QemuCallName, RemoteCallName } from "./call-types.js";
import type { LibvirtClosure } from "./close-reason.js";
import { encodeArguments } from "./codec.js";
import { ConnectionCore } from "./connection-core.js";
import { ConnectionEvents } from "./connection-events.js";
import type { EventsOptions, LibvirtEventOf } from "./connection-events.js";
import type { LibvirtConnectionEvent, LibvirtConnectionOptions, LibvirtConnectionState } from "./connection-options.js";
import { parseConnectUri } from "./connect-uri.js";
import type { ConnectUri } from "./connect-uri.js";
import { LibvirtError } from "./errors.js";
import type { ConnectionClosedData, EventFamily, EventName, MonitorEventData } from "./events/event-families.js";
import type { EventMarker, LibvirtEvent } from "./events/event-reader.js";
import type { EventReadOptions } from "./events/event-router.js";
import type { MonitorEventFilter } from "./events/event-source.js";
import { checkFds } from "./fd-calls.js";
import type { Procedure } from "./procedure.js";
import { procedureNamed } from "./procedures.js";
import type { LxcProcedures } from "./protocol/lxc-types.gen.js";
import type { QemuProcedures } from "./protocol/qemu-types.gen.js";
import type { RemoteProcedures } from "./protocol/remote-types.gen.js";
import type { Session } from "./session.js";
import {
  DEFAULT_STREAM_BUFFER_BYTES,
  DEFAULT_STREAM_MAX_BUFFERED_BYTES,
  LibvirtStream,
} from "./streams/libvirt-stream.js";
import type { LibvirtStreamOptions } from "./streams/libvirt-stream.js";
import { chooseSparse } from "./streams/sparse.js";
import { StreamChannel } from "./streams/stream-channel.js";
import { mayGoBeside } from "./may-go-beside.js";
import { asUnknownProcedure, isUnknownProcedure } from "./unknown-procedure.js";
import { fitsFrame } from "./wire.js";
import type { AddCallOptions, CallBeside, LibvirtCallOptions } from "./window.js";

/** Options of a call that may carry descriptors. */
export interface LibvirtExecuteOptions extends LibvirtCallOptions {
  /** Descriptors that go with the call, from 1 to 32; only over a UNIX socket. They must stay open until the promise settles. */
  readonly fds?: readonly number[] | undefined;
}

/**
 * One connection to one daemon.
 *
 * ```ts
 * await using libvirt = await LibvirtConnection.open("qemu:///system");
 * const { dom } = await libvirt.call("domainLookupByName", { name: "web1" });
 * const events = await libvirt.events("domain", ["lifecycle"], { object: dom });
 * await libvirt.call("domainCreate", { dom });
 * for await (const item of events) if (item.kind === "event") console.log(item.data.event);
 * ```
 *
 * Calls may be made at any time and in any number. They go out in order, but replies come in any order, and calls of high
 * priority pass when those of low priority have filled the window: callers who need an order await. A call that ends by its
 * signal or deadline is taken back if it has not left; else the daemon carries it out, and its late reply is dropped.
 */
export class LibvirtConnection implements AsyncDisposable {
  /** Resolves when the connection is over, with the reason. Never rejects. */
  readonly closed: Promise<LibvirtClosure>;
  readonly #core: ConnectionCore;
  readonly #events: ConnectionEvents;

  private constructor(uri: ConnectUri, options: LibvirtConnectionOptions) {
    this.#core = new ConnectionCore(uri, options, (procedure, args) => this.execute(procedure, args));
    this.#events = new ConnectionEvents(this.#core.router);
    this.closed = this.#core.closed;
  }

  /**
   * Opens a connection.
   * @param uri as libvirt takes it: `qemu:///system`, `qemu+tls://host/system`, `lxc:///`. When it is absent or empty, the
   * environment's LIBVIRT_DEFAULT_URI; without that, the daemon chooses.
   * @throws LibvirtConnectError when the daemon can't be reached or hangs up
   * @throws LibvirtAuthenticationError when the daemon is not content with who calls, or is not who it should be
   * @throws LibvirtError when the daemon can't open the hypervisor's driver
   * @throws InvalidArgumentError for a URI that libvirt would not take; LibvirtProtocolError when the peer is no libvirt daemon
   * @throws DeadlineExceededError (default `timeouts.openMs`), AbortedError. In all cases nothing stays open.
   */
  static async open(
    uri?: string,
    options: LibvirtConnectionOptions & LibvirtCallOptions = {},
  ): Promise<LibvirtConnection> {
    const parsed = parseConnectUri(uri || process.env["LIBVIRT_DEFAULT_URI"] || "remote:///");
    const connection = new LibvirtConnection(parsed, options);
    await connection.#core.open(options.deadlineMs, options.signal);
    return connection;
  }

  get state(): LibvirtConnectionState {
    return this.#core.state;
  }

  /** What the connection was opened with. */
  get uri(): ConnectUri {
    return this.#core.uri;
  }

  get readOnly(): boolean {
    return this.#core.options.readOnly ?? false;
  }

  /** What it is connected to, such as `unix:/run/libvirt/libvirt-sock`; undefined while it is not. */
  get description(): string | undefined {
    return this.#core.session?.description;
  }

  /** Why the connection is over; undefined while it is not. */
  get closure(): LibvirtClosure | undefined {
    return this.#core.closure;
  }

  /** Calls that were sent and not answered. */
  get inFlight(): number {
    return this.#core.window.unanswered;
  }

  /** Calls that wait for their turn. */
  get queued(): number {
    return this.#core.window.queued;
  }

  /**
   * Calls a procedure of the remote program by the C function's name without `vir`.
   * @throws LibvirtError when the daemon refuses; the connection goes on
   * @throws LibvirtDisconnectedError when the connection ends first; its `maybeExecuted` says whether the daemon may have got it
   * @throws DeadlineExceededError (default `timeouts.callMs`), AbortedError when the caller's patience ends first
   * @throws InvalidArgumentError, naming the argument, for what C could not hold; BusyError when too many calls wait
   */
  call<P extends RemoteCallName>(
    name: P,
    ...rest: CallParameters<RemoteProcedures[P]["arguments"], LibvirtExecuteOptions>
  ): Promise<RemoteProcedures[P]["result"]> {
    return this.#call<RemoteProcedures[P]["result"]>("remote", name, rest);
  }

  /** {@link LibvirtConnection.call} for the procedures of QEMU alone. */
  callQemu<P extends QemuCallName>(
    name: P,
    ...rest: CallParameters<QemuProcedures[P]["arguments"], LibvirtExecuteOptions>
  ): Promise<QemuProcedures[P]["result"]> {
    return this.#call<QemuProcedures[P]["result"]>("qemu", name, rest);
  }

  /** {@link LibvirtConnection.call} for the procedures of LXC alone. */
  callLxc<P extends LxcCallName>(
    name: P,
    ...rest: CallParameters<LxcProcedures[P]["arguments"], LibvirtExecuteOptions>
  ): Promise<LxcProcedures[P]["result"]> {
    return this.#call<LxcProcedures[P]["result"]>("lxc", name, rest);
  }

  /** {@link LibvirtConnection.call} for a procedure that is given as data. Procedures that open streams are refused. */
  async execute(procedure: Procedure, args: unknown, options: LibvirtExecuteOptions = {}): Promise<unknown> {
    if (procedure.stream !== undefined)
      throw new InvalidArgumentError({
        field: "procedure",
        value: procedure.name,
        expected: "openStream() for what opens a stream",
      });
    checkFds(procedure, options.fds);
    if (options.dedicated === true)
      return this.#onOwnConnection(options.signal, (own) =>
        own.execute(procedure, args, { ...options, dedicated: false }),
      );
    const beside: CallBeside = (limits) =>
      this.#onOwnConnection(limits.signal, (own) => own.execute(procedure, args, limits));
    return this.#send(procedure, encodeArguments(procedure, args), {
      ...options,
      lane: laneOf(procedure, args),
      ...(mayGoBeside(procedure) && options.fds === undefined ? { beside } : {}),
    });
  }

  /**
   * Calls a procedure that opens a stream: `storageVolDownload`, `domainOpenConsole`, `domainScreenshot`… The options' signal
   * breaks off the call, and later the stream.
   * @throws what {@link LibvirtConnection.call} throws; InvalidArgumentError for `sparse` where there are no holes
   */
  openStream<P extends RemoteCallName>(
    name: P,
    args: RemoteProcedures[P]["arguments"],
    options: LibvirtStreamOptions = {},
  ): Promise<LibvirtStream> {
    return this.executeStream(procedureNamed("remote", name), args, options);
  }

  /** {@link LibvirtConnection.openStream} for a procedure that is given as data. */
  async executeStream(procedure: Procedure, args: object, options: LibvirtStreamOptions = {}): Promise<LibvirtStream> {
    if (procedure.stream === undefined)
      throw new InvalidArgumentError({
        field: "procedure",
        value: procedure.name,
        expected: "a procedure that opens a stream",
      });
    if (options.dedicated === true) return this.#openDedicated(procedure, args, options);
    const { sparse, flags } = chooseSparse(procedure, args, options.sparse);
    const { bufferBytes = DEFAULT_STREAM_BUFFER_BYTES, maxBufferedBytes = DEFAULT_STREAM_MAX_BUFFERED_BYTES } = options;
    const channel = new StreamChannel(procedure, { sparse, bufferBytes, maxBufferedBytes });
    let session: Session | undefined;
    const onSent = (serial: number): void => {
      session = this.#core.session;
      session?.streams.add(channel, serial);
    };
    try {
      const result = await this.#send(procedure, encodeArguments(procedure, { ...args, ...flags }), options, onSent);
      return new LibvirtStream({
        channel,
        result,
        clock: this.#core.clock,
        signal: options.signal,
        finishMs: this.#core.timeouts.streamFinishMs,
        stallMs: this.#core.timeouts.streamStallMs,
        onceDrained: (callback) => session?.streams.onceDrained(callback) ?? (() => undefined),
        length: announcedLength(procedure, args),
      });
    } catch (error) {
      channel.abort();
      throw error;
    }
  }

  /**
   * Reads events about domains, networks, storage pools, node devices or secrets, in the order in which the daemon sends them.
   * Resolves when the daemon has registered them: whatever happens after that is told, also what happens because of a call
   * made then. The daemon tells nothing of what happened before; look at the state of things after subscribing. Reading ends by
   * `return()`, by leaving the loop, or by the signal; the daemon is told then, if nobody else reads the same.
   * @throws what a call throws: LibvirtError when the driver or the daemon does not have the event
   */
  events<F extends EventFamily, N extends EventName<F>>(
    family: F,
    names: readonly N[],
    options: EventsOptions<F> = {},
  ): Promise<EventSubscription<LibvirtEventOf<F, N> | EventMarker>> {
    return this.#events.events(family, names, options);
  }

  /** Reads events of QEMU's monitors, by their names in QMP: for what libvirt has no event of its own. */
  monitorEvents(
    options: MonitorEventFilter & EventReadOptions = {},
  ): Promise<EventSubscription<LibvirtEvent<"monitor", MonitorEventData> | EventMarker>> {
    return this.#events.monitorEvents(options);
  }

  /** Tells when the daemon loses its own connection to the hypervisor. */
  closeEvents(
    options: EventReadOptions = {},
  ): Promise<EventSubscription<LibvirtEvent<"closed", ConnectionClosedData> | EventMarker>> {
    return this.#events.closeEvents(options);
  }

  /** Reads what happens to the connection itself, from now on. The last item is `closed`. */
  connectionEvents(
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): EventSubscription<LibvirtConnectionEvent> {
    const initial: LibvirtConnectionEvent[] =
      this.closure === undefined ? [] : [{ kind: "closed", closure: this.closure }];
    return this.#core.hub.subscribe({ ...options, initial });
  }

  /**
   * Ends the connection. Calls that were sent may be carried out; all calls under way reject with `LibvirtDisconnectedError`.
   * Domains that were started with `autodestroy` on this connection end with it. May be called in any state and more than once.
   */
  close(): Promise<void> {
    return this.#core.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Keeps the process alive while the connection is open, which is the default. */
  ref(): void {
    this.#core.setUnref(false);
  }

  /** Lets the process exit although the connection is open. */
  unref(): void {
    this.#core.setUnref(true);
  }

  #call<R>(
    program: Procedure["program"],
    name: string,
    rest: readonly [args?: object, options?: LibvirtExecuteOptions],
  ): Promise<R> {
    let procedure: Procedure;
    try {
      procedure = procedureNamed(program, name);
    } catch (error) {
      return Promise.reject(asError(error));
    }
    return this.execute(procedure, rest[0], rest[1]) as Promise<R>;
  }

  async #send(
    procedure: Procedure,
    payload: Buffer,
    options: LibvirtExecuteOptions & Pick<AddCallOptions, "lane" | "beside">,
    onSent?: (serial: number) => void,
  ): Promise<unknown> {
    const { window, timeouts } = this.#core;
    this.#core.throwIfOver(procedure.name);
    if (!fitsFrame(payload))
      throw new InvalidArgumentError({
        field: "arguments",
        expected: "arguments that fit into one message of libvirt's",
      });
    const { signal, fds, lane, beside, deadlineMs = timeouts.callMs } = options;
    const send = (): Promise<unknown> =>
      window.add(procedure, payload, { signal, deadlineMs, fds, lane, beside, onSent });
    try {
      return await traceOperation(
        "hypervise:libvirt:call",
        () => ({ procedure: procedure.name, peer: this.description }),
        send,
      );
    } catch (error) {
      if (!(error instanceof LibvirtError)) throw error;
      const probe = (unknown: Procedure): Promise<unknown> =>
        window.add(unknown, Buffer.alloc(0), { deadlineMs: timeouts.callMs, signal });
      throw (await isUnknownProcedure(procedure, error, probe)) ? asUnknownProcedure(error) : error;
    }
  }

  async #onOwnConnection<T>(signal: AbortSignal | undefined, use: (own: LibvirtConnection) => Promise<T>): Promise<T> {
    const own = new LibvirtConnection(this.uri, { ...this.#core.options, reconnect: false });
    try {
      void this.closed.then(() => own.close());
      await own.#core.open(undefined, signal);
      return await use(own);
    } finally {
      await own.close();
    }
  }

  async #openDedicated(procedure: Procedure, args: object, options: LibvirtStreamOptions): Promise<LibvirtStream> {
    const own = new LibvirtConnection(this.uri, { ...this.#core.options, reconnect: false });
    try {
      await own.#core.open(undefined, options.signal);
      const stream = await own.executeStream(procedure, args, { ...options, dedicated: false });
      stream.once("close", () => void own.close());
      return stream;
    } catch (error) {
      await own.close();
      throw error;
    }
  }
}

/** The domain that a call is about; undefined for calls about the host, for those that end what others do with the domain, and all else. */
function laneOf({ name }: Procedure, args: unknown): string | undefined {
  if (name.includes("Abort")) return undefined;
  const { dom } = (args ?? {}) as { readonly dom?: { readonly uuid?: unknown } };
  return typeof dom?.uuid === "string" ? dom.uuid : undefined;
}

/** How much a call says that it will write; undefined where it does not say. */
function announcedLength(procedure: Procedure, args: object): bigint | undefined {
  const { length } = args as { readonly length?: unknown };
  return procedure.stream === "write" && typeof length === "bigint" && length > 0n ? length : undefined;
}
