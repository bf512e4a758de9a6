/** Counters of instances. */
import type { CommonOptions } from "../../core/index.js";
import type { DiskStatistics, GuestStatistics, InterfaceStatistics } from "../statistics.js";
import type { InstanceRef } from "../instance-spec.js";

/** Nova's `get_instance_diagnostics`. */
export interface Diagnostics extends GuestStatistics {
  readonly instance: InstanceRef;
  readonly hypervisorType: string;
  /** The host's operating system: `linux`. */
  readonly hypervisorOs: string;
  /** Whether the guest has a config drive. */
  readonly configDrive: boolean;
}

export interface StatisticsFacet {
  /** Everything that is counted of one guest. Rejects with `InstanceNotFoundError`; counters of a stopped guest are absent. */
  getDiagnostics(instance: Pick<InstanceRef, "uuid">, options?: CommonOptions): Promise<Diagnostics>;
  /** Of all guests in memory, in as few calls as the hypervisor allows; one that does not answer is left out and named in `unanswered`. */
  getAllDiagnostics(options?: CommonOptions): Promise<{
    readonly diagnostics: readonly Diagnostics[];
    readonly unanswered: readonly InstanceRef[];
  }>;
  /** Rejects with `DiskNotFoundError`, `InvalidStateError` when the guest is not in memory. */
  blockStats(instance: Pick<InstanceRef, "uuid">, diskId: string, options?: CommonOptions): Promise<DiskStatistics>;
  /** Rejects with `InterfaceNotFoundError`, `InvalidStateError` when the guest is not in memory. */
  interfaceStats(
    instance: Pick<InstanceRef, "uuid">,
    interfaceId: string,
    options?: CommonOptions,
  ): Promise<InterfaceStatistics>;
  /** Of all guests in memory; one that does not answer is left out and named in `unanswered`. */
  getAllBandwidthCounters(options?: CommonOptions): Promise<{
    readonly counters: readonly { readonly instance: InstanceRef; readonly interface: InterfaceStatistics }[];
    readonly unanswered: readonly InstanceRef[];
  }>;
  /** Of the volumes of all guests in memory; one that does not answer is left out and named in `unanswered`. */
  getAllVolumeUsage(options?: CommonOptions): Promise<{
    readonly usage: readonly {
      readonly instance: InstanceRef;
      readonly volumeId: string;
      readonly disk: DiskStatistics;
    }[];
    readonly unanswered: readonly InstanceRef[];
  }>;
}
