/** What all operations of one driver share: the hypervisor, its collaborators, and the driver's own bookkeeping. */
import type { Clock, CompletionHandler, Journal, KeyedLock, Transaction } from "../core/index.js";
import type { Collaborators } from "./collaborators.js";
import type { DriverEvents } from "./driver-events.js";
import type { DriverLifecycle } from "./lifecycle.js";
import type { ExportedFiles } from "../storage/index.js";
import type { DriverTimeouts } from "./timeouts.js";
import type { HandleRegistry } from "./handle-registry.js";
import type { Hypervisor } from "./hypervisor.js";
import type { InstanceRecords } from "./instance-records.js";
import type { Intents } from "./intents.js";

export interface HostContext {
  readonly hypervisor: Hypervisor;
  readonly collaborators: Collaborators;
  readonly timeouts: DriverTimeouts;
  readonly clock: Clock;
  readonly files: ExportedFiles;
  readonly lifecycle: DriverLifecycle;
  readonly journal: Journal;
  /** How to finish each kind of operation that had passed its point of no return. */
  readonly completions: { readonly [kind: string]: CompletionHandler };
  readonly records: InstanceRecords;
  /** One operation at a time for each instance uuid. */
  readonly locks: KeyedLock;
  /** One call of a connector at a time for each volume id. */
  readonly volumeLocks: KeyedLock;
  readonly events: DriverEvents;
  readonly intents: Intents;
  readonly handles: HandleRegistry;
  /** By their uuids, the instances whose file systems `quiesce` has frozen; what undoes that is on record. */
  readonly frozen: Map<string, Transaction>;
  /** Uuids of instances with an operation in the journal that could be neither undone nor finished. */
  readonly unsettled: Set<string>;
}
