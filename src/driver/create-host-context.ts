/** Puts a driver's parts together. */
import { Journal, KeyedLock } from "../core/index.js";
import type { Collaborators } from "./collaborators.js";
import { completionHandlers } from "./committed.js";
import { DEFAULT_TIMEOUTS } from "./timeouts.js";
import { DriverEvents } from "./driver-events.js";
import { DriverLifecycle } from "./lifecycle.js";
import type { DriverTimeouts } from "./timeouts.js";
import { HandleRegistry } from "./handle-registry.js";
import type { HostContext } from "./host-context.js";
import type { Hypervisor } from "./hypervisor.js";
import { InstanceRecords } from "./instance-records.js";
import { Intents } from "./intents.js";
import { undoTable } from "./effects.js";

/** What a driver is made of. */
export interface DriverParts {
  readonly hypervisor: Hypervisor;
  readonly collaborators: Collaborators;
  readonly timeouts?: Partial<DriverTimeouts>;
}

export function createHostContext({ hypervisor, collaborators, timeouts }: DriverParts): HostContext {
  const { clock, state } = collaborators;
  const intents = new Intents();
  const contextOf = (): HostContext => host;
  const host: HostContext = {
    hypervisor,
    collaborators,
    timeouts: Object.freeze({ ...DEFAULT_TIMEOUTS, ...timeouts }),
    clock,
    lifecycle: new DriverLifecycle(),
    journal: new Journal({ store: state, undo: undoTable(contextOf), clock, prefix: "operations" }),
    completions: completionHandlers(contextOf),
    records: new InstanceRecords(state),
    locks: new KeyedLock({ clock }),
    volumeLocks: new KeyedLock({ clock }),
    events: new DriverEvents(clock, intents),
    intents,
    handles: new HandleRegistry(),
    frozen: new Set(),
    unsettled: new Set(),
  };
  return host;
}
