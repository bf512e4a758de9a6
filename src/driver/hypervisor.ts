/** The host half of the seam between the shared choreography and one hypervisor: mechanism only, no order of steps, no undoing. */
import type { Clock, CommonOptions } from "../core/index.js";
import type { SecretStore } from "../storage/index.js";
import type { Guest, GuestInfo } from "./guest.js";
import type { GuestDefinition } from "./guest-definition.js";
import type { CpuComparison } from "./facets/host.js";
import type { CpuModel, HostCpuStatistics, HostDevices, HostFacts } from "./host-facts.js";
import type { Flavor } from "./instance-spec.js";
import type { GuestStatistics } from "./statistics.js";
import type { HypervisorFeature } from "./hypervisor-features.js";
import type { EventCause, LifecycleTransition } from "./events.js";
import type { IncomingMigration, IncomingMigrationRequest } from "./guest-migration.js";

/**
 * What a hypervisor reports of its guests, in the order in which it happened. `deviceDetached`: a guest in memory has let go of a device, whoever asked for it;
 * a device that is taken from a guest that is not in memory makes no event.
 */
export type HypervisorEvent =
  | {
      readonly type: "lifecycle";
      readonly uuid: string;
      readonly name: string;
      readonly transition: LifecycleTransition;
      readonly cause: EventCause;
      readonly detail?: string;
    }
  | {
      readonly type: "deviceDetached" | "deviceDetachFailed";
      readonly uuid: string;
      readonly name: string;
      readonly device: string;
    }
  | { readonly type: "agent"; readonly uuid: string; readonly name: string; readonly connected: boolean }
  | {
      readonly type: "ioError";
      readonly uuid: string;
      readonly name: string;
      readonly device: string;
      readonly reason?: string;
    }
  | { readonly type: "connection"; readonly state: "connected" | "lost"; readonly reason?: string };

export interface HypervisorContext {
  readonly clock: Clock;
  /** Called with each event in order; never blocks and never throws. Set before `open` resolves: no event after that is lost. */
  readonly onEvent: (event: HypervisorEvent) => void;
  /** Where the secrets are that definitions name by their ids. Absent: there are none. */
  readonly secrets?: SecretStore;
}

/**
 * One hypervisor on one host. A call that takes a `signal` rejects soon after it aborts, when nothing of what it did is still to come: only then does the
 * choreography undo. A call without one ends by itself within a bounded time.
 */
export interface Hypervisor {
  /** `fake`, `kvm`, `libvirt`, or a third party's own. */
  readonly type: string;

  /** What this hypervisor can do. Fixed after `open`. */
  readonly features: ReadonlySet<HypervisorFeature>;

  /**
   * It only looks at guests that another process manages: the choreography then changes nothing, on the host or in the records, and reads the records anew for each
   * question. Fixed from the start. Default false.
   */
  readonly readOnly?: boolean;

  /**
   * Connects, probes and adopts: every guest that runs on the host is found again. May be called again after `close`.
   * Rejects with `HypervisorUnavailableError`.
   */
  open(context: HypervisorContext, options?: CommonOptions): Promise<void>;

  /** Lets go of everything but the guests, which run on. */
  close(): Promise<void>;

  hostFacts(options?: CommonOptions): Promise<HostFacts>;

  /** Feature `hostCpuStatistics`. */
  hostCpuStatistics?(options?: CommonOptions): Promise<HostCpuStatistics>;

  /** What all guests are doing, by their uuids, in fewer calls than one by one. Never waits on a guest. Optional: without it each is asked. */
  allInfos?(options?: CommonOptions): Promise<ReadonlyMap<string, GuestInfo>>;

  /** Counters of all guests in memory, by their uuids, in fewer calls than one by one; those that do not answer in time are absent. Optional: without it each is asked. */
  allStatistics?(options?: CommonOptions): Promise<ReadonlyMap<string, GuestStatistics>>;

  /** Devices of the host that guests can be given. Optional: without it none are listed. */
  hostDevices?(options?: CommonOptions): Promise<HostDevices>;

  /** Could a guest that has this CPU run here? Feature `compareCpu`. */
  compareCpu?(cpu: CpuModel, options?: CommonOptions): Promise<CpuComparison>;

  /** What the host spends on a guest of the flavor beside the guest's own memory and vCPUs; what is absent is 0. Pure. */
  overhead?(flavor: Flavor): { readonly memoryMiB?: number; readonly vcpus?: number; readonly diskGiB?: number };

  /** Refuses what it can't run, before anything is touched: `InvalidArgumentError` or `NotSupportedError`. Pure. */
  check(definition: GuestDefinition): void;

  /** What would be run for the definition, as data for people and tests (argv, XML); nothing is done. */
  plan(definition: GuestDefinition): unknown;

  /**
   * Keeps the definition durably; the guest is not started. Rejects with `ConflictError` when the uuid or the name is taken,
   * with `NoCapacityError` when the host can't hold it. On failure nothing is left.
   */
  define(definition: GuestDefinition, options?: CommonOptions): Promise<Guest>;

  /** Replaces the definition of a guest that is not in memory. Rejects with `InvalidStateError` when it is. On failure the old one stands. */
  redefine(definition: GuestDefinition, options?: CommonOptions): Promise<Guest>;

  /** Forgets a guest that is not in memory, with its saved memory and everything that the hypervisor keeps for it. Success when there is none. */
  undefine(uuid: string, options?: CommonOptions): Promise<void>;

  /** Never waits on a guest. */
  find(uuid: string, options?: CommonOptions): Promise<Guest | undefined>;

  /** All guests that this hypervisor's owner defined, running or not. Never waits on a guest. */
  list(options?: CommonOptions): Promise<readonly Guest[]>;

  /**
   * Makes ready to receive a guest by migration: the guest is defined and waits for the other side. Feature `migration`.
   * On failure nothing is left.
   */
  prepareIncoming?(
    definition: GuestDefinition,
    request: IncomingMigrationRequest,
    options?: CommonOptions,
  ): Promise<IncomingMigration>;

  /**
   * The guest has left its source: it runs here, or stands still as it did, and is one of ours. Idempotent. Rejects with `MigrationError` when it has not come and will not: then it has not run here.
   * Feature `migration`.
   */
  finishIncoming?(uuid: string, options?: CommonOptions): Promise<Guest>;

  /** Drops a guest that waits for a migration that will not come, or that has come and has not run here. Success when there is none. Rejects with `InvalidStateError` for one that was taken over, or has run. Feature `migration`. */
  abortIncoming?(uuid: string, options?: CommonOptions): Promise<void>;
}
