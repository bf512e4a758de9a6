/** Puts a driver's parts together. */
import { check, InvalidArgumentError, Journal, KeyedLock } from "../core/index.js";
import type { Collaborators } from "./collaborators.js";
import { completionHandlers } from "./committed.js";
import { DEFAULT_TIMEOUTS } from "./timeouts.js";
import { DriverEvents } from "./driver-events.js";
import { DriverLifecycle } from "./lifecycle.js";
import type { DriverTimeouts } from "./timeouts.js";
import { HandleRegistry } from "./handle-registry.js";
import type { HostContext } from "./host-context.js";
import type { Hypervisor } from "./hypervisor.js";
import { LocalExportedFiles } from "../storage/index.js";
import { InstanceRecords } from "./instance-records.js";
import { Intents } from "./intents.js";
import { undoTable } from "./effects.js";

/** What a driver is made of. */
export interface DriverParts {
  readonly hypervisor: Hypervisor;
  readonly collaborators: Collaborators;
  readonly timeouts?: Partial<DriverTimeouts>;
}

/** @throws InvalidArgumentError when two connectors serve one type, or a timeout is not one. */
export function createHostContext({ hypervisor, collaborators, timeouts }: DriverParts): HostContext {
  checkConnectors(collaborators);
  const { clock, state } = collaborators;
  const intents = new Intents();
  const contextOf = (): HostContext => host;
  const host: HostContext = {
    hypervisor,
    collaborators,
    timeouts: Object.freeze({ ...DEFAULT_TIMEOUTS, ...checkTimeouts(timeouts) }),
    clock,
    files: collaborators.files ?? new LocalExportedFiles(),
    lifecycle: new DriverLifecycle(),
    journal: new Journal({ store: state, undo: undoTable(contextOf), clock, prefix: "operations" }),
    completions: completionHandlers(contextOf),
    records: new InstanceRecords(state),
    locks: new KeyedLock({ clock }),
    volumeLocks: new KeyedLock({ clock }),
    events: new DriverEvents(clock, intents),
    intents,
    handles: new HandleRegistry(),
    frozen: new Map(),
    unsettled: new Set(),
  };
  return host;
}

function checkConnectors({ volumes }: Collaborators): void {
  volumes.forEach(({ type }, i) => {
    if (volumes.findIndex((other) => other.type === type) === i) return;
    throw new InvalidArgumentError({
      field: `collaborators.volumes[${i}].type`,
      value: type,
      expected: "a type that no other connector serves",
    });
  });
}

const durations = check.object(
  Object.fromEntries(
    Object.keys(DEFAULT_TIMEOUTS).map((name) => [name, check.optional(check.number({ min: 0, max: 1e12 }))]),
  ),
);

function checkTimeouts(timeouts: Partial<DriverTimeouts> | undefined): Partial<DriverTimeouts> {
  return timeouts === undefined ? {} : durations(timeouts, "timeouts");
}
