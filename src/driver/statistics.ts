/** Counters of guests. All grow from the guest's start. */
import type { PowerState } from "./power-state.js";

/** Nova's `block_stats`. */
export interface DiskStatistics {
  readonly id: string;
  readonly readRequests: bigint;
  readonly readBytes: bigint;
  readonly writeRequests: bigint;
  readonly writeBytes: bigint;
  /** Absent where they are not counted. */
  readonly errors?: bigint;
}

/** Nova's `interface_stats`; receive and transmit as the guest sees them. */
export interface InterfaceStatistics {
  readonly id: string;
  readonly macAddress: string;
  readonly rxBytes: bigint;
  readonly rxPackets: bigint;
  readonly rxErrors: bigint;
  readonly rxDropped: bigint;
  readonly txBytes: bigint;
  readonly txPackets: bigint;
  readonly txErrors: bigint;
  readonly txDropped: bigint;
}

export interface VcpuStatistics {
  readonly id: number;
  readonly timeNs: bigint;
}

export interface GuestStatistics {
  readonly state: PowerState;
  readonly uptimeMs?: number;
  readonly vcpus: readonly VcpuStatistics[];
  readonly memory: {
    readonly maximumMiB: number;
    /** What the balloon leaves the guest. */
    readonly currentMiB: number;
    /** Resident on the host; absent where unknown. */
    readonly residentMiB?: number;
    /** Used within the guest; absent without balloon statistics. */
    readonly usedMiB?: number;
  };
  readonly disks: readonly DiskStatistics[];
  /** Absent ids have no counters on this hypervisor. */
  readonly interfaces: readonly InterfaceStatistics[];
}
