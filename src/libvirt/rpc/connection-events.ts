/** The typed face of a connection's events. */
import type { EventSubscription } from "../../core/index.js";
import type {
  ConnectionClosedData,
  EventData,
  EventFamily,
  EventName,
  EventObject,
  MonitorEventData,
} from "./events/event-families.js";
import type { EventMarker, LibvirtEvent, LibvirtEventItem } from "./events/event-reader.js";
import type { EventReadOptions, EventRouter } from "./events/event-router.js";
import { closeSource, familySource, monitorSource } from "./events/event-source.js";
import type { MonitorEventFilter } from "./events/event-source.js";

/** How events of one kind of object are read. */
export interface EventsOptions<F extends EventFamily> extends EventReadOptions {
  /** One object; all when absent. */
  readonly object?: EventObject<F> | undefined;
}

/** An event of a family, with the type of what it says. */
export type LibvirtEventOf<F extends EventFamily, N extends EventName<F>> = {
  [K in N]: LibvirtEvent<K, EventData<F, K>>;
}[N];

/** Gives the router's readers their types; see the methods of `LibvirtConnection`. */
export class ConnectionEvents {
  readonly #router: EventRouter;

  constructor(router: EventRouter) {
    this.#router = router;
  }

  events<F extends EventFamily, N extends EventName<F>>(
    family: F,
    names: readonly N[],
    options: EventsOptions<F>,
  ): Promise<EventSubscription<LibvirtEventOf<F, N> | EventMarker>> {
    const object = options.object as object | undefined;
    return this.#read(() => names.map((name) => familySource(family, name, object)), options);
  }

  monitorEvents(
    options: MonitorEventFilter & EventReadOptions,
  ): Promise<EventSubscription<LibvirtEvent<"monitor", MonitorEventData> | EventMarker>> {
    return this.#read(() => [monitorSource(options)], options);
  }

  closeEvents(
    options: EventReadOptions,
  ): Promise<EventSubscription<LibvirtEvent<"closed", ConnectionClosedData> | EventMarker>> {
    return this.#read(() => [closeSource()], options);
  }

  async #read<T>(
    sources: () => Parameters<EventRouter["read"]>[0],
    options: EventReadOptions,
  ): Promise<EventSubscription<T>> {
    const reader: EventSubscription<LibvirtEventItem> = await this.#router.read(sources(), options);
    return reader as EventSubscription<unknown> as EventSubscription<T>;
  }
}
