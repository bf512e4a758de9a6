/** Live migration at the seam: what source and destination hypervisor tell each other, as plain data that an embedder may carry between hosts. */
import type { CommonOptions, JsonObject } from "../core/index.js";

export interface IncomingMigrationRequest {
  /** Disks whose content comes over the wire; the others are on shared storage. */
  readonly copyDisks: readonly string[];
  /** Address that the source reaches this host by. */
  readonly listenAddress?: string;
  /** What `Guest.describeMigration` of the source gave; absent where it gives nothing. */
  readonly guest?: JsonObject;
  /** The guest stands still on the source, and is to when it has come. Default false. */
  readonly paused?: boolean;
}

export interface IncomingMigration {
  /** Understood by `GuestMigration.start` of the same kind of hypervisor. */
  readonly token: JsonObject;
}

export type MigrationPhase = "preparing" | "disks" | "memory" | "postcopy" | "switchover" | "completed";

export interface MigrationProgress {
  readonly phase: MigrationPhase;
  readonly memoryTotalBytes: number;
  readonly memoryTransferredBytes: number;
  readonly memoryRemainingBytes: number;
  readonly diskTotalBytes: number;
  readonly diskTransferredBytes: number;
  readonly diskRemainingBytes: number;
  /** Bytes that the guest dirties a second; absent where unknown. */
  readonly dirtyBytesPerSecond?: number;
  /** Passes over memory so far. */
  readonly iteration: number;
  /** Expected or actual time that the guest stands still. */
  readonly downtimeMs?: number;
}

export interface GuestMigrationRequest {
  readonly token: JsonObject;
  readonly copyDisks: readonly string[];
  /** 0 or absent: unlimited. */
  readonly bandwidthMiBps?: number;
  /** Longest allowed standstill. */
  readonly downtimeMs: number;
  readonly allowPostcopy: boolean;
  readonly autoConverge: boolean;
}

export interface GuestMigrationOptions extends CommonOptions {
  readonly onMigrationProgress?: (progress: MigrationProgress) => void;
  /**
   * Called once, and waited for, when the guest stands still and before anything that could make it run on the destination. Until it resolves the migration can be aborted; when it rejects the
   * guest stays.
   */
  readonly beforeSwitchover?: () => Promise<void>;
}

/** How a migration ended for the source. On `completed` the guest no longer runs here; on the others it runs here as before. */
export type MigrationOutcome = "completed" | "aborted" | "failed";
