/** Live migration, method by method as Nova has it; `liveMigrate` (`../live-migrate.ts`) runs them in order over two drivers. */
import type { CpuModel } from "../host-facts.js";
import type { InstanceRef } from "../instance-spec.js";
import type { JsonObject, OperationHandle, OperationOptions } from "../../core/index.js";
import type { MigrationProgress } from "../guest-migration.js";

/** What the two hosts of a migration tell each other; plain data that an embedder may carry between them. */
export interface LiveMigrateData {
  readonly version: 1;
  readonly id: string;
  readonly instance: InstanceRef;
  /** The instance's record on the source. */
  readonly record: JsonObject;
  readonly sourceHost: string;
  readonly sourceHypervisor: string;
  readonly destinationHost?: string;
  readonly sourceCpu: CpuModel;
  /** What the source's hypervisor says of the guest's hardware, for the destination's. */
  readonly guest?: JsonObject;
  /** Left by the destination on its storage; the source looks for it to see if storage is shared. */
  readonly storageToken?: string;
  readonly sharedStorage?: boolean;
  /** Disks whose content has to be copied. */
  readonly copyDisks?: readonly string[];
  /** The bytes of the instance's config drive where storage is not shared, with the password in it: not to be kept or shown. */
  readonly configDriveSecret?: string;
  /** From `preLiveMigration`: what the source needs to reach the waiting guest. */
  readonly token?: JsonObject;
}

export interface LiveMigrationOptions extends OperationOptions {
  /** Longest standstill, 1 to 60,000 ms. Default 500 (Nova's `live_migration_downtime`). */
  readonly downtimeMs?: number;
  /** 0: unlimited. Default 0. */
  readonly bandwidthMiBps?: number;
  readonly allowPostcopy?: boolean;
  readonly autoConverge?: boolean;
  readonly onMigrationProgress?: (progress: MigrationProgress) => void;
}

export interface LiveMigrationFacet {
  /** Destination: could the guest run here? Leaves a token on its storage, which `cleanupLiveMigrationDestinationCheck` must remove, however the check ends. Rejects with `MigrationPreCheckError`. */
  checkCanLiveMigrateDestination(
    instance: InstanceRef,
    data: LiveMigrateData,
    options?: OperationOptions,
  ): Promise<LiveMigrateData>;
  /** Destination: removes the token. Success when there is none. */
  cleanupLiveMigrationDestinationCheck(data: LiveMigrateData): Promise<void>;
  /** Source: may the guest leave, and what must be copied? Called first without data to obtain it, then with the destination's answer. Rejects with `MigrationPreCheckError`, `InvalidStateError`. */
  checkCanLiveMigrateSource(
    instance: InstanceRef,
    data?: LiveMigrateData,
    options?: OperationOptions,
  ): Promise<LiveMigrateData>;
  /** Destination: disks, volumes, ports, filters, and a guest that waits. On failure or abort nothing is left. */
  preLiveMigration(instance: InstanceRef, data: LiveMigrateData, options?: OperationOptions): Promise<LiveMigrateData>;
  /**
   * Source: moves the guest. The handle's result resolves when the guest is the destination's and no longer runs here; there it runs when `postLiveMigrationAtDestination` has resolved, at the latest.
   * So it does for a guest that post-copy has lost on its way, which `postLiveMigrationAtDestination` then says by rejecting with `GuestCrashedError`. It rejects with `MigrationError` or `AbortedError` when it runs here as before. Abortable until the phase `switchover` or `postcopy`.
   */
  liveMigration(instance: InstanceRef, data: LiveMigrateData, options?: LiveMigrationOptions): OperationHandle<void>;
  /** Source: makes the migration under way end. Rejects with `NoActiveMigrationError`. */
  liveMigrationForceComplete(instance: InstanceRef, mode?: "postcopy" | "pause"): Promise<void>;
  /** Source: aborts the migration under way; resolves when the guest is as before. Rejects with `NoActiveMigrationError`, `ConflictError` after the point of no return. */
  liveMigrationAbort(instance: InstanceRef): Promise<void>;
  /** Source, after success: disconnects volumes. Repeatable. */
  postLiveMigration(instance: InstanceRef, data: LiveMigrateData): Promise<void>;
  /** Source, after success: unplugs ports, removes filters, definition, and disks that are not shared. Repeatable. */
  postLiveMigrationAtSource(instance: InstanceRef, data: LiveMigrateData): Promise<void>;
  /** Destination, after success: the instance is one of this driver's. Repeatable. */
  postLiveMigrationAtDestination(
    instance: InstanceRef,
    data: LiveMigrateData,
    options?: OperationOptions,
  ): Promise<void>;
  /** Destination, after failure: removes what `preLiveMigration` made. Rejects with `InvalidStateError` when the instance runs here, or did. Repeatable. */
  rollbackLiveMigrationAtDestination(instance: InstanceRef, data: LiveMigrateData): Promise<void>;
  /**
   * Source, after failure: the instance is as before. An instance that has been handed over is taken back: call it only when `rollbackLiveMigrationAtDestination` has resolved, which
   * proves that the destination is rid of it and never ran it. Repeatable.
   */
  rollbackLiveMigrationAtSource(instance: InstanceRef, data: LiveMigrateData): Promise<void>;
}
