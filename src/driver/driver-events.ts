/** The driver's stream of events: numbers them, stamps them, and translates what a hypervisor reports. */
import { EventHub } from "../core/index.js";
import type { Clock } from "../core/index.js";
import type { DriverEvent } from "./events.js";
import type { EventOptions } from "./compute-driver.js";
import type { HypervisorEvent } from "./hypervisor.js";
import type { Intents } from "./intents.js";

type Unnumbered<E> = E extends unknown ? Omit<E, "sequence" | "timestamp"> : never;
/** A driver event before it has its place in the stream. */
export type NewDriverEvent = Unnumbered<DriverEvent>;

export class DriverEvents {
  readonly #clock: Clock;
  readonly #intents: Intents;
  readonly #hub: EventHub<DriverEvent>;
  #sequence = 0;

  constructor(clock: Clock, intents: Intents) {
    this.#clock = clock;
    this.#intents = intents;
    this.#hub = new EventHub<DriverEvent>({
      overflow: (dropped) => ({ type: "overflow", dropped, sequence: this.#sequence, timestamp: this.#clock.now() }),
    });
  }

  emit(event: NewDriverEvent): void {
    this.#sequence += 1;
    this.#hub.publish({ ...event, sequence: this.#sequence, timestamp: this.#clock.now() });
  }

  /** Takes an event of the hypervisor. The cause is `self` when an operation had announced the change. */
  receive(event: HypervisorEvent): void {
    if (event.type === "connection") return this.emit(event);
    const instance = { uuid: event.uuid, name: event.name };
    switch (event.type) {
      case "lifecycle": {
        const cause = this.#intents.take(event.uuid, event.transition) ? "self" : event.cause;
        const detail = event.detail === undefined ? {} : { detail: event.detail };
        return this.emit({ type: "lifecycle", instance, transition: event.transition, cause, ...detail });
      }
      case "deviceDetached":
        return this.emit({ type: "device", instance, change: "detached", device: event.device });
      case "deviceDetachFailed":
        return this.emit({ type: "device", instance, change: "detachFailed", device: event.device });
      case "agent":
        return this.emit({ type: "agent", instance, connected: event.connected });
      case "ioError": {
        const reason = event.reason === undefined ? {} : { reason: event.reason };
        return this.emit({ type: "ioError", instance, device: event.device, ...reason });
      }
    }
  }

  subscribe(options: EventOptions): AsyncIterableIterator<DriverEvent> {
    const uuid = options.instance?.uuid;
    const filter = (event: DriverEvent): boolean =>
      uuid === undefined || !("instance" in event) || event.instance.uuid === uuid;
    return this.#hub.subscribe({ signal: options.signal, capacity: options.capacity, filter });
  }

  close(): void {
    this.#hub.close();
  }
}
