/** The events of a connection: one registration at the daemon for each source, however many read it, each with a queue of its own. */
import { EventHub, asError, onAbort, throwIfAborted } from "../../../core/index.js";
import type { EventSubscription } from "../../../core/index.js";
import { decodeResult } from "../codec.js";
import { LibvirtProtocolError } from "../errors.js";
import type { Procedure } from "../procedure.js";
import { familyOfMessage } from "./event-source.js";
import type { EventSource } from "./event-source.js";
import { EventReader } from "./event-reader.js";
import type { LibvirtEventItem, RoutedItem } from "./event-reader.js";

/** How a reader takes events. */
export interface EventReadOptions {
  /** Ends the iteration, and the registration when nobody else reads it. */
  readonly signal?: AbortSignal | undefined;
  /** How many events wait at most; the oldest make way for an `overflow` item. Default: 1024. */
  readonly capacity?: number | undefined;
}

/** Calls the daemon. */
export type EventCall = (procedure: Procedure, args: object) => Promise<unknown>;

interface Registration {
  readonly source: EventSource;
  readers: number;
  /** Resolves when the daemon has it. */
  ready: Promise<void>;
  callbackId: number | undefined;
  /** Whether a daemon has ever had it. */
  established: boolean;
}

interface EarlyEvent {
  readonly callbackId: number;
  readonly message: Procedure;
  readonly data: object;
}

/** Events that come before the reply that says which registration they are of; more than these are dropped. */
const MAX_EARLY = 4096;

export class EventRouter {
  readonly #call: EventCall;
  readonly #hub: EventHub<RoutedItem>;
  readonly #registrations = new Map<string, Registration>();
  /** By family and the daemon's number. */
  readonly #byId = new Map<string, Registration>();
  /** Registrations under way, by family. */
  readonly #underWay = new Map<string, number>();
  readonly #early = new Map<string, { events: EarlyEvent[]; dropped: number }>();

  constructor(call: EventCall) {
    this.#call = call;
    this.#hub = new EventHub<RoutedItem>({
      overflow: (dropped) => ({ keys: undefined, item: { kind: "overflow", dropped } }),
    });
  }

  /** How many registrations the daemon has, or is being asked for. */
  get size(): number {
    return this.#registrations.size;
  }

  /**
   * Reads the events of some sources from now on, in the order in which the daemon sends them. Resolves when the daemon has
   * registered all; nothing that happens after that is missed.
   */
  async read(sources: readonly EventSource[], options: EventReadOptions): Promise<EventSubscription<LibvirtEventItem>> {
    const { signal, capacity } = options;
    throwIfAborted(signal, "subscribing to events");
    const keys = new Set(sources.map((source) => source.key));
    const queue = this.#hub.subscribe({ signal, capacity, filter: (routed) => concerns(routed, keys) });
    const registrations = sources.map((source) => this.#acquire(source));
    const release = async (): Promise<void> => {
      await Promise.all(registrations.map((registration) => this.#release(registration)));
    };
    const reader = new EventReader(queue, release);
    try {
      await Promise.all(registrations.map((registration) => registration.ready));
      throwIfAborted(signal, "subscribing to events");
    } catch (error) {
      await reader.return();
      throw error;
    }
    if (signal !== undefined) reader.onEnd(onAbort(signal, () => void reader.return()));
    return reader;
  }

  /** An event has come. @throws LibvirtProtocolError when it can't be read */
  onMessage(message: Procedure, payload: Buffer): void {
    const family = familyOfMessage(message);
    if (family === undefined) return;
    const data = decodeResult(message, payload) as object;
    const { callbackId } = data as { readonly callbackId?: number };
    const registration = this.#byId.get(idKey(family, callbackId));
    if (registration !== undefined) return this.#publish(registration, message, data);
    if (callbackId === undefined || !this.#underWay.has(family)) return;
    const early = this.#early.get(family) ?? { events: [], dropped: 0 };
    this.#early.set(family, early);
    if (early.events.length < MAX_EARLY) early.events.push({ callbackId, message, data });
    else early.dropped++;
  }

  /** The connection is lost: the daemon's numbers mean nothing any more. */
  onLost(): void {
    this.#byId.clear();
    this.#early.clear();
    for (const registration of this.#registrations.values()) registration.callbackId = undefined;
  }

  /**
   * Asks a new connection for all that is being read, and tells the readers that events may be missing. Readers of what the
   * daemon does not register any more, such as the events of a domain that is gone, end with its error.
   * @param call reaches the new connection
   */
  async renew(call: EventCall): Promise<void> {
    const known = [...this.#registrations.values()].filter((registration) => registration.established);
    await Promise.all(
      known.map(async (registration) => {
        registration.ready = this.#register(registration, call);
        try {
          await registration.ready;
        } catch (error) {
          this.#hub.publish({ keys: registration.source.key, error: asError(error) });
        }
      }),
    );
    this.#hub.publish({ keys: undefined, item: { kind: "gap" } });
  }

  /** All readers end after what they have queued, with the error if there is one. */
  close(error: Error | undefined): void {
    this.#byId.clear();
    this.#early.clear();
    this.#registrations.clear();
    this.#hub.close(error);
  }

  #acquire(source: EventSource): Registration {
    let registration = this.#registrations.get(source.key);
    if (registration === undefined) {
      registration = { source, readers: 0, ready: Promise.resolve(), callbackId: undefined, established: false };
      this.#registrations.set(source.key, registration);
      registration.ready = this.#register(registration, this.#call);
      registration.ready.catch(() => this.#forget(source.key, registration));
    }
    registration.readers++;
    return registration;
  }

  async #register(registration: Registration, call: EventCall): Promise<void> {
    const { source } = registration;
    this.#underWay.set(source.family, (this.#underWay.get(source.family) ?? 0) + 1);
    try {
      const result = await call(source.register, source.registerArguments);
      if (this.#registrations.get(source.key) !== registration)
        return await this.#deregister(source, callbackIdOf(result), call);
      this.#onRegistered(registration, callbackIdOf(result));
    } finally {
      const left = (this.#underWay.get(source.family) ?? 1) - 1;
      if (left > 0) this.#underWay.set(source.family, left);
      else {
        this.#underWay.delete(source.family);
        this.#early.delete(source.family);
      }
    }
  }

  #onRegistered(registration: Registration, callbackId: number | undefined): void {
    const { source } = registration;
    if (source.numbered && callbackId === undefined)
      throw new LibvirtProtocolError("the daemon registered events without a number");
    const id = source.numbered ? callbackId : undefined;
    registration.callbackId = id;
    registration.established = true;
    this.#byId.set(idKey(source.family, id), registration);
    const early = this.#early.get(source.family);
    if (early === undefined) return;
    for (const event of early.events)
      if (event.callbackId === id) this.#publish(registration, event.message, event.data);
    early.events = early.events.filter((event) => event.callbackId !== id);
    if (early.dropped > 0) this.#hub.publish({ keys: source.key, item: { kind: "overflow", dropped: early.dropped } });
  }

  async #release(registration: Registration): Promise<void> {
    if (--registration.readers > 0) return;
    const { source, callbackId } = registration;
    if (!this.#forget(source.key, registration)) return;
    const id = idKey(source.family, callbackId);
    if (this.#byId.get(id) !== registration) return;
    this.#byId.delete(id);
    await this.#deregister(source, callbackId, this.#call);
  }

  /** A daemon that is gone, or does not know the number, has nothing to end. */
  async #deregister(source: EventSource, callbackId: number | undefined, call: EventCall): Promise<void> {
    await call(source.deregister, source.numbered ? { callbackId } : {}).catch(() => undefined);
  }

  #forget(key: string, registration: Registration | undefined): boolean {
    return this.#registrations.get(key) === registration && this.#registrations.delete(key);
  }

  #publish({ source }: Registration, message: Procedure, data: object): void {
    if (message.number !== source.message.number) return;
    this.#hub.publish({ keys: source.key, item: { kind: "event", name: source.name, data: flatten(data) } });
  }
}

function concerns(routed: RoutedItem, keys: ReadonlySet<string>): boolean {
  if (routed.keys === undefined) return true;
  if (!keys.has(routed.keys)) return false;
  // What a filter throws ends the subscription with it.
  if ("error" in routed) throw routed.error;
  return true;
}

function idKey(family: string, callbackId: number | undefined): string {
  return `${family}/${callbackId ?? ""}`;
}

function callbackIdOf(result: unknown): number | undefined {
  const { callbackId } = (result ?? {}) as { readonly callbackId?: unknown };
  return typeof callbackId === "number" ? callbackId : undefined;
}

/** The number of the registration means nothing to a reader, and what some messages wrap stands beside the rest. */
function flatten(data: object): object {
  const { callbackId: _, msg, ...rest } = data as { readonly callbackId?: number; readonly msg?: object };
  return { ...msg, ...rest };
}
