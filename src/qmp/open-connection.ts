/** From an endpoint to a negotiated session: socket, greeting, capabilities, each with its own time limit. */
import { Deadline, DeadlineExceededError } from "../core/index.js";
import type { Clock, HyperviseError } from "../core/index.js";
import type { QmpClientOptions } from "./client-options.js";
import type { LateReply } from "./command-queue.js";
import { reach } from "./endpoint.js";
import type { QmpEndpoint } from "./endpoint.js";
import { QmpConnectError, QmpProtocolError } from "./errors.js";
import { readGreeting } from "./greeting.js";
import type { QmpGreeting } from "./greeting.js";
import { readEvent } from "./qmp-event.js";
import type { QmpEvent } from "./qmp-event.js";
import type { QmpObject } from "./qmp-value.js";
import { Session, readError } from "./session.js";
import type { QmpTimeouts } from "./timeouts.js";
import type { QmpTransport } from "./transport.js";

/** QEMU reads on while no more than this many in-band commands are unanswered; beyond, it would not see out-of-band ones. */
const WINDOW = 8;

/** A session that is ready for commands. */
export interface QmpConnection {
  readonly session: Session;
  readonly greeting: QmpGreeting;
  /** The capabilities in force. */
  readonly capabilities: readonly string[];
  readonly canPassFds: boolean;
}

/** Who is told of what happens in the session. */
export interface ConnectionOwner {
  event(event: QmpEvent): void;
  late(reply: LateReply): void;
  /** The session, once it was ready, is over. */
  ended(error: Error | undefined): void;
}

export interface OpenConnectionOptions {
  readonly client: QmpClientOptions;
  readonly clock: Clock;
  readonly timeouts: QmpTimeouts;
  /** Limits the whole. */
  readonly deadline: Deadline;
}

/** Opens a connection; on failure nothing stays open. See `QmpClient.connect` for what is thrown. */
export async function openConnection(
  endpoint: QmpEndpoint,
  options: OpenConnectionOptions,
  owner: ConnectionOwner,
): Promise<QmpConnection> {
  const { retryMinMs, retryMaxMs } = options.timeouts;
  const { clock, deadline } = options;
  const transport = await reach(endpoint, { clock, signal: deadline.signal, retryMinMs, retryMaxMs });
  return new Handshake(transport, options, owner).run();
}

class Handshake {
  readonly #transport: QmpTransport;
  readonly #options: OpenConnectionOptions;
  readonly #owner: ConnectionOwner;
  readonly #session: Session;
  #phase: "greeting" | "negotiation" | "ready" = "greeting";
  #failure: Error | undefined;
  #onGreeting: ((outcome: QmpGreeting | Error) => void) | undefined;

  constructor(transport: QmpTransport, options: OpenConnectionOptions, owner: ConnectionOwner) {
    const { maxMessageBytes, transcript, instance } = options.client;
    this.#transport = transport;
    this.#options = options;
    this.#owner = owner;
    this.#session = new Session(
      { transport, clock: options.clock, window: WINDOW, maxMessageBytes, transcript, instance },
      {
        message: (message) => this.#onMessage(message),
        stray: (message) => this.#onStray(message),
        late: (reply) => owner.late(reply),
        ended: (error) => this.#onEnded(error),
      },
    );
  }

  async run(): Promise<QmpConnection> {
    const session = this.#session;
    try {
      const greeting = await this.#awaitGreeting();
      this.#phase = "negotiation";
      const capabilities = await this.#negotiate(greeting);
      // The end may have come in the same bytes as the reply.
      if (this.#failure !== undefined) throw this.#failure;
      this.#phase = "ready";
      return { session, greeting, capabilities, canPassFds: this.#transport.sendWithFds !== undefined };
    } catch (error) {
      session.fail(undefined);
      throw error;
    }
  }

  async #awaitGreeting(): Promise<QmpGreeting> {
    const { clock, timeouts, deadline: whole } = this.#options;
    const timeoutMs = Math.min(timeouts.greetingMs, whole.remainingMs);
    const deadline = Deadline.after(timeoutMs, {
      operation: "waiting for QEMU's greeting",
      clock,
      signal: whole.signal,
    });
    const greeting = new Promise<QmpGreeting>((resolve, reject) => {
      this.#onGreeting = (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome));
    });
    try {
      this.#session.start();
      return await deadline.race(greeting);
    } catch (error) {
      throw error instanceof DeadlineExceededError ? this.#silent(error) : error;
    } finally {
      this.#onGreeting = undefined;
      deadline.dispose();
    }
  }

  #silent(error: DeadlineExceededError): DeadlineExceededError {
    return new DeadlineExceededError({
      operation: "waiting for QEMU's greeting",
      timeoutMs: error.timeoutMs,
      instance: this.#options.client.instance,
      remedy: "close the other client of this monitor or give QEMU another one: a monitor serves one client at a time",
      detail: this.#session.description,
    });
  }

  async #negotiate(greeting: QmpGreeting): Promise<readonly string[]> {
    const { deadline, client } = this.#options;
    const enable = client.oob !== false && greeting.capabilities.includes("oob") ? ["oob"] : [];
    try {
      const args = enable.length === 0 ? undefined : { enable };
      await deadline.race(this.#session.execute("qmp_capabilities", args, { deadlineMs: deadline.timeoutMs + 1 }));
      return enable;
    } catch (error) {
      if (error instanceof QmpProtocolError || error instanceof QmpConnectError) throw error;
      if (deadline.expired) throw error;
      throw this.#connectError("QEMU refused the negotiation", "negotiation", error);
    }
  }

  #onMessage(message: QmpObject): void {
    const event = readEvent(message);
    if (event !== undefined) this.#owner.event(event);
    else if (this.#onGreeting !== undefined) this.#onGreeting(readGreeting(message));
    else throw new QmpProtocolError("the peer sent a message that is none of QMP's", { fault: "not-a-message" });
  }

  /** Every command carries an id, so a reply without one says that QEMU could not read us, or is no reply of QEMU's. */
  #onStray(message: QmpObject): void {
    const { instance } = this.#options.client;
    if (!("error" in message)) {
      throw new QmpProtocolError("the peer sent a reply without an id", { fault: "bad-reply", instance });
    }
    const { errorClass, desc } = readError(message["error"]);
    throw new QmpProtocolError("the peer could not read what was sent", {
      fault: "rejected-input",
      instance,
      detail: `${errorClass}: ${desc}`,
      secrets: this.#session.secrets(),
    });
  }

  #onEnded(error: Error | undefined): void {
    const phase = this.#phase;
    if (phase === "ready") return this.#owner.ended(error);
    const failure = error instanceof QmpProtocolError ? error : this.#connectError("QEMU hung up", phase, error);
    this.#failure = failure;
    this.#onGreeting?.(failure);
    this.#session.rejectAll(() => failure);
  }

  #connectError(message: string, phase: "greeting" | "negotiation", cause: unknown): HyperviseError {
    const { instance } = this.#options.client;
    return new QmpConnectError(message, { phase, cause, instance, detail: this.#session.description });
  }
}
