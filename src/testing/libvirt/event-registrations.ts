/** What one client of a fake daemon has asked to be told of. */
import type { EventFamily } from "../../libvirt/rpc/index.js";

/** In which the numbers of registrations are given out, counted for the whole daemon. */
export type CallbackCounters = Map<string, number>;

interface Registration {
  readonly family: string;
  readonly eventId: number;
  /** What the event's object is known by; undefined for all. */
  readonly object: string | undefined;
}

/** Which of a monitor's events are wanted. */
interface MonitorRegistration {
  readonly object: string | undefined;
  readonly matches: (event: string) => boolean;
}

export class EventRegistrations {
  readonly #counters: CallbackCounters;
  readonly #byId = new Map<string, Registration>();
  readonly #monitors = new Map<number, MonitorRegistration>();
  /** Whether the end of the daemon's own connection is told. */
  closeCallback = false;

  constructor(counters: CallbackCounters) {
    this.#counters = counters;
  }

  get size(): number {
    return this.#byId.size + this.#monitors.size;
  }

  add(family: EventFamily, eventId: number, object: object | undefined): number {
    const id = this.#next(family);
    this.#byId.set(`${family}/${id}`, { family, eventId, object: eventObjectKey(object) });
    return id;
  }

  /** Whether there was one of this number. */
  remove(family: EventFamily, id: number): boolean {
    return this.#byId.delete(`${family}/${id}`);
  }

  /** QEMU's monitor shares the numbers of domains. */
  addMonitor(object: object | undefined, matches: (event: string) => boolean): number {
    const id = this.#next("domain");
    this.#monitors.set(id, { object: eventObjectKey(object), matches });
    return id;
  }

  removeMonitor(id: number): boolean {
    return this.#monitors.delete(id);
  }

  /** The numbers under which an event is told. */
  interested(family: EventFamily, eventId: number, object: object | undefined): readonly number[] {
    const key = eventObjectKey(object);
    return [...this.#byId].flatMap(([id, registration]) => {
      if (registration.family !== family || registration.eventId !== eventId) return [];
      if (registration.object !== undefined && registration.object !== key) return [];
      return [Number(id.slice(family.length + 1))];
    });
  }

  interestedInMonitor(event: string, object: object): readonly number[] {
    const key = eventObjectKey(object);
    return [...this.#monitors].flatMap(([id, { object: wanted, matches }]) =>
      (wanted === undefined || wanted === key) && matches(event) ? [id] : [],
    );
  }

  #next(family: string): number {
    const id = this.#counters.get(family) ?? 0;
    this.#counters.set(family, id + 1);
    return id;
  }
}

/** Objects are known by their uuid, or else by their name. */
function eventObjectKey(object: object | undefined): string | undefined {
  if (object === undefined) return undefined;
  const { uuid, name } = object as { readonly uuid?: string; readonly name?: string };
  return uuid ?? name;
}

/** The matcher of a monitor registration: flag 1 makes the name a regular expression, flag 2 one that ignores case. */
export function monitorMatcher(event: string | undefined, flags: number): (name: string) => boolean {
  if (event === undefined) return () => true;
  if ((flags & 1) === 0) return (name) => name === event;
  const pattern = new RegExp(event, (flags & 2) === 0 ? "" : "i");
  return (name) => pattern.test(name);
}
