/** The interface that an orchestrator writes against: what every driver has. Everything else stands in facets (`facets.ts`). */
import type { CommonOptions, OperationOptions } from "../core/index.js";
import type { AvailableResource, Inventory } from "./host-facts.js";
import type { DiskInfo } from "../storage/index.js";
import type { DriverCapabilities } from "./capabilities.js";
import type { DriverEvent } from "./events.js";
import type { InstanceInfo, SpawnResult, StopResult } from "./results.js";
import type { InstanceRef, InstanceSpec } from "./instance-spec.js";
import type { RecoveryReport } from "./recovery-report.js";
import type { TaggedInstanceDevice } from "./tagged-devices.js";

export interface EventOptions {
  readonly signal?: AbortSignal | undefined;
  /** Only events about this instance, and those about none. */
  readonly instance?: Pick<InstanceRef, "uuid">;
  /** Events kept for a slow reader, 1 to 1,048,576. Default 1024. More than these are dropped and an `overflow` event says how many. */
  readonly capacity?: number;
}

export interface DestroyOptions extends OperationOptions {
  /** Default true. False keeps the instance's own disks; a later `spawn` of the same uuid starts from them. */
  readonly destroyDisks?: boolean;
  /** Milliseconds given to the guest to shut down by itself before it is killed. Default 0. */
  readonly graceMs?: number;
}

export interface PowerOffOptions extends OperationOptions {
  /** Milliseconds given to the guest to shut down before it is killed; 0 kills at once. Default 60,000 (Nova's `shutdown_timeout`). */
  readonly graceMs?: number;
  /** The request is sent again this often. Default 10,000 (Nova's `retry_interval`). */
  readonly resendMs?: number;
  /** What to do after the grace: kill the guest, or leave it running and reject with `ShutdownRefusedError`. Default `kill`. */
  readonly onTimeout?: "kill" | "fail";
}

export type RebootType = "soft" | "hard";

/**
 * A compute driver of one host. Methods carry Nova's names; `docs/idempotency.md` says for each what a repeated call does.
 *
 * A call that is aborted or runs out of time before its point of no return is undone, and rejects with `AbortedError` or `DeadlineExceededError`; after it,
 * the call is finished all the same. Undoing and finishing take at most `timeouts.undoMs` of the caller's time; what takes longer goes on without the caller.
 * What could not be undone is on the error's `undoErrors`, and is tried again by the next operation on the instance and the next `initHost`; until then operations
 * on the instance reject with `IncompleteCleanupError`.
 *
 * All methods that name an instance run one at a time for it, in the order of the calls; those of different instances run in parallel.
 * All reject with `NotInitializedError` before `initHost` and with `ClosedError` after `close`.
 */
export interface ComputeDriver extends AsyncDisposable {
  /** `fake`, `kvm`, `libvirt`. */
  readonly hypervisorType: string;

  /** Fixed after `initHost`; before it, everything is false. */
  readonly capabilities: DriverCapabilities;

  /**
   * Connects to the host, adopts the guests that run there, and completes or undoes what a former process had left under way. Repeatable.
   * Rejects with `HypervisorUnavailableError`, `StateCorruptError` (a record of an instance), `DeadlineExceededError`. (Nova's `init_host`.)
   */
  initHost(options?: CommonOptions): Promise<RecoveryReport>;

  /** Lets go of the host; guests run on. Operations under way are aborted and undone first. Repeatable. (Nova's `cleanup_host`.) */
  close(): Promise<void>;

  /** Events from the call on, in order: subscribe, then act. Ends on `signal`, `return()` or `close`. */
  events(options?: EventOptions): AsyncIterableIterator<DriverEvent>;

  /**
   * Creates an instance: disks, volumes, ports, filters, guest; and starts it unless `powerOn` is false.
   * Rejects with `InvalidArgumentError` (the spec), `InstanceExistsError`, `ImageNotFoundError`, `ImageUnacceptableError`,
   * `FlavorDiskTooSmallError`, `NoCapacityError`, `VifPlugError`, `VolumeConnectError`, or the hypervisor's own; whatever the failure, nothing of the instance is left.
   * (Nova's `spawn`.)
   */
  spawn(spec: InstanceSpec, options?: OperationOptions & { readonly powerOn?: boolean }): Promise<SpawnResult>;

  /** Takes an instance down and removes all of it. Success when there is none. What fails is collected: the rest is still removed, and a repeated call goes on. (Nova's `destroy`.) */
  destroy(instance: InstanceRef, options?: DestroyOptions): Promise<void>;

  /** Removes what is left on the host of an instance whose guest is stopped or gone. Success when nothing is. Rejects with `InvalidStateError` while the guest is in memory. (Nova's `cleanup`.) */
  cleanup(instance: InstanceRef, options?: OperationOptions & { readonly destroyDisks?: boolean }): Promise<void>;

  /** Starts the guest; success when it runs; a paused one is resumed, a suspended one restored. (Nova's `power_on`.) */
  powerOn(instance: InstanceRef, options?: OperationOptions): Promise<void>;

  /** Stops the guest, by itself within the grace if it can; success when it is stopped. (Nova's `power_off`.) */
  powerOff(instance: InstanceRef, options?: PowerOffOptions): Promise<StopResult>;

  /**
   * Ends with the guest running, from any state. `soft` asks the guest and becomes `hard` when it does not stop in time.
   * `hard` rebuilds everything on the host that the guest needs from the record: the repair of everything. (Nova's `reboot`.)
   */
  reboot(
    instance: InstanceRef,
    type: RebootType,
    options?: OperationOptions & { readonly graceMs?: number },
  ): Promise<{ readonly type: RebootType }>;

  /** (Nova's `get_info`.) Rejects with `InstanceNotFoundError`. Never waits for an operation under way, nor for a guest that does not answer. */
  getInfo(instance: Pick<InstanceRef, "uuid">, options?: CommonOptions): Promise<InstanceInfo>;

  /** The spec as spawned and since changed. Secrets are left out. Rejects with `InstanceNotFoundError`. */
  getSpec(instance: Pick<InstanceRef, "uuid">): Promise<InstanceSpec>;

  /** Of all instances, running or not. */
  listInstances(options?: CommonOptions): Promise<readonly InstanceRef[]>;
  listInstanceUuids(options?: CommonOptions): Promise<readonly string[]>;
  getNumInstances(options?: CommonOptions): Promise<number>;
  instanceExists(instance: Pick<InstanceRef, "uuid">, options?: CommonOptions): Promise<boolean>;

  /** The instance's own disks, volumes left out. (Nova's `get_instance_disk_info`.) */
  getInstanceDiskInfo(instance: Pick<InstanceRef, "uuid">): Promise<readonly DiskInfo[]>;
  /** Devices that carry a role tag, with the places at which the guest finds them. (Nova's device metadata.) */
  listTaggedDevices(
    instance: Pick<InstanceRef, "uuid">,
    options?: CommonOptions,
  ): Promise<readonly TaggedInstanceDevice[]>;
  /** True when disks of the instance are on this host's storage. (Nova's `instance_on_disk`.) */
  instanceOnDisk(instance: Pick<InstanceRef, "uuid">): Promise<boolean>;
  /** Removes the instance's disks; true when nothing is left. Rejects with `InvalidStateError` while the instance exists. (Nova's `delete_instance_files`.) */
  deleteInstanceFiles(instance: InstanceRef): Promise<boolean>;

  /** Called once per guest that should run after the host has booted; nothing happens to one that runs, is paused or suspended. (Nova's `resume_state_on_host_boot`.) */
  resumeStateOnHostBoot(instance: InstanceRef, options?: OperationOptions): Promise<void>;

  /** (Nova's `get_available_resource`.) */
  getAvailableResource(options?: CommonOptions): Promise<AvailableResource>;
  /** (Nova's `get_inventory`.) */
  getInventory(options?: CommonOptions): Promise<Inventory>;
  /** Memory and vCPUs that the host spends on a guest of this flavor beside the guest's own. (Nova's `estimate_instance_overhead`.) */
  estimateInstanceOverhead(flavor: InstanceSpec["flavor"]): {
    readonly memoryMiB: number;
    readonly vcpus: number;
    readonly diskGiB: number;
  };
  /** Management and migration address. (Nova's `get_host_ip_addr`.) */
  getHostIpAddress(options?: CommonOptions): Promise<string>;
  /** (Nova's `get_host_uptime`.) */
  getHostUptimeMs(options?: CommonOptions): Promise<number>;

  /** What `spawn` would have the hypervisor run, and the steps it would take; nothing is done. Same errors as `spawn` for a bad spec. */
  plan(spec: InstanceSpec): Promise<SpawnPlan>;
}

export interface SpawnPlan {
  /** The host effects of `spawn` in their order. */
  readonly steps: readonly string[];
  /** What the hypervisor would run: argv, XML. */
  readonly hypervisor: unknown;
}
