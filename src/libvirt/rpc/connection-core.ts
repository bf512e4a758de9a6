/** What lives as long as a connection does, over all its physical ones: the queue of calls, the events, the state. */
import { ClosedError, Deadline, EventHub, InvalidArgumentError, asError, systemClock } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import type { LibvirtClosure } from "./close-reason.js";
import type {
  LibvirtConnectionEvent,
  LibvirtConnectionOptions,
  LibvirtConnectionState,
  ReconnectOptions,
} from "./connection-options.js";
import type { ConnectUri } from "./connect-uri.js";
import { EventRouter } from "./events/event-router.js";
import type { EventCall } from "./events/event-router.js";
import { DirectCalls } from "./direct-calls.js";
import { openSession } from "./open-session.js";
import { procedureNamed } from "./procedures.js";
import { reconnect } from "./reconnect.js";
import { disconnected } from "./session.js";
import type { Session } from "./session.js";
import { DEFAULT_LIBVIRT_TIMEOUTS } from "./timeouts.js";
import type { LibvirtTimeouts } from "./timeouts.js";
import { CallWindow } from "./window.js";

const DEFAULT_MAX_IN_FLIGHT = 5;
const DEFAULT_MAX_QUEUED = 1_000_000;

export class ConnectionCore {
  readonly uri: ConnectUri;
  readonly options: LibvirtConnectionOptions;
  readonly clock: Clock;
  readonly timeouts: LibvirtTimeouts;
  readonly window: CallWindow;
  readonly router: EventRouter;
  readonly hub: EventHub<LibvirtConnectionEvent>;
  readonly closed: Promise<LibvirtClosure>;
  readonly #ending = new AbortController();
  #state: LibvirtConnectionState = "reconnecting";
  #session: Session | undefined;
  #closure: LibvirtClosure | undefined;
  #unref: boolean;
  #resolveClosed!: (closure: LibvirtClosure) => void;

  /** @param call reaches the daemon by the queue, for the events. @throws InvalidArgumentError */
  constructor(uri: ConnectUri, options: LibvirtConnectionOptions, call: EventCall) {
    const { maxInFlight: size = DEFAULT_MAX_IN_FLIGHT, maxQueued = DEFAULT_MAX_QUEUED } = options;
    if (!(Number.isInteger(size) && size >= 1))
      throw new InvalidArgumentError({ field: "maxInFlight", value: size, expected: "a whole number from 1" });
    this.uri = uri;
    this.options = options;
    this.clock = options.clock ?? systemClock;
    this.timeouts = { ...DEFAULT_LIBVIRT_TIMEOUTS, ...options.timeouts };
    this.#unref = options.unref ?? false;
    this.window = new CallWindow({
      clock: this.clock,
      size,
      maxQueued,
      transmit: (pending) => this.#session?.transmit(pending),
    });
    this.router = new EventRouter(call);
    this.hub = new EventHub<LibvirtConnectionEvent>({ overflow: (dropped) => ({ kind: "overflow", dropped }) });
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve));
  }

  get state(): LibvirtConnectionState {
    return this.#state;
  }

  get session(): Session | undefined {
    return this.#session;
  }

  get closure(): LibvirtClosure | undefined {
    return this.#closure;
  }

  /** Makes the first physical connection; when that fails, the connection is over. */
  async open(deadlineMs: number | undefined, signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.#connect(deadlineMs ?? this.timeouts.openMs, signal);
    } catch (error) {
      this.#finish({ reason: "error", error: asError(error) });
      throw error;
    }
  }

  /** @throws LibvirtDisconnectedError when no call can be made any more */
  throwIfOver(procedure: string): void {
    if (this.#state !== "closing" && this.#state !== "closed") return;
    throw disconnected({ procedure, maybeExecuted: false, cause: this.#closure?.error });
  }

  async close(): Promise<void> {
    const session = this.#session;
    if (this.#state === "open" && session !== undefined) {
      this.#state = "closing";
      const deadlineMs = this.timeouts.closeMs;
      // A daemon that is busy with our calls would not read it in time; the end of the connection says the same.
      if (this.window.unanswered === 0 && this.window.queued === 0) {
        const goodbye = procedureNamed("remote", "connectClose");
        await this.window.add(goodbye, Buffer.alloc(0), { deadlineMs }).catch(() => undefined);
      }
      await session.close(deadlineMs);
    } else if (this.#state === "reconnecting") {
      this.#state = "closing";
      this.#ending.abort(new ClosedError("the connection was closed"));
    }
    await this.closed;
  }

  setUnref(unref: boolean): void {
    this.#unref = unref;
    this.window.setUnref(unref);
    this.#session?.setUnref(unref);
  }

  async #connect(deadlineMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { uri, timeouts, clock } = this;
    const deadline = Deadline.after(deadlineMs, { operation: "connecting to libvirt", clock, signal });
    try {
      const session = await openSession(
        { uri, connection: this.options, timeouts, clock, deadline },
        {
          event: (procedure, payload) => this.router.onMessage(procedure, payload),
          late: (reply) => this.options.onLateReply?.(reply),
          ended: (closure) => this.#onEnded(session, closure),
        },
      );
      try {
        await this.#adopt(session, deadline);
      } catch (error) {
        await session.close(0);
        throw error;
      }
    } finally {
      deadline.dispose();
    }
  }

  /** Readers of events are served first, so that nothing that a waiting call causes is missed. */
  async #adopt(session: Session, deadline: Deadline): Promise<void> {
    const direct = new DirectCalls(session, this.clock, deadline);
    if (this.router.size > 0) await this.router.renew((procedure, args) => direct.call(procedure, args));
    deadline.throwIfExpired();
    if (session.closure !== undefined) throw session.closure.error ?? disconnected({ maybeExecuted: false });
    session.attach(this.window);
    session.setUnref(this.#unref);
    this.window.setUnref(this.#unref);
    this.#session = session;
    this.#state = "open";
    this.window.open();
  }

  /** A physical connection that was in use is over, whoever ended it. */
  #onEnded(session: Session, closure: LibvirtClosure): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    this.window.hold();
    this.router.onLost();
    const again = this.options.reconnect ?? false;
    if (this.#state !== "open") return this.#finish({ reason: "closed" });
    if (again === false || closure.reason === "protocol") return this.#finish(closure);
    this.#state = "reconnecting";
    this.hub.publish({ kind: "lost", closure });
    void this.#reconnect(again === true ? {} : again);
  }

  async #reconnect(options: ReconnectOptions): Promise<void> {
    const { signal } = this.#ending;
    try {
      const attempts = await reconnect(options, {
        clock: this.clock,
        signal,
        attempt: (ending) => this.#connect(this.timeouts.openMs, ending),
        onFailure: (failure) => this.hub.publish({ kind: "retrying", ...failure }),
      });
      this.hub.publish({ kind: "reconnected", attempts });
    } catch (error) {
      this.#finish(signal.aborted ? { reason: "closed" } : { reason: "error", error: asError(error) });
    }
  }

  #finish(closure: LibvirtClosure): void {
    if (this.#closure !== undefined) return;
    this.#closure = closure;
    this.#state = "closed";
    const cause = closure.error;
    this.window.failQueued(({ procedure }) => disconnected({ procedure: procedure.name, maybeExecuted: false, cause }));
    this.router.close(closure.reason === "closed" ? undefined : disconnected({ maybeExecuted: false, cause }));
    this.hub.publish({ kind: "closed", closure });
    this.hub.close();
    this.#resolveClosed(closure);
  }
}
