/** What a driver keeps durably of each instance, beside what the hypervisor keeps of its guest. */
import type { DeviceType, DiskBus, InstanceRef, InstanceSpec } from "./instance-spec.js";
import type { DiskLimits, DiskTuning } from "./disk-tuning.js";
import type { DiskSource, VolumeConnection } from "../storage/index.js";
import type { GuestKernel } from "./guest-definition.js";
import type { PowerState } from "./power-state.js";
import type { ResizeTicket } from "./facets/redefinition.js";
import type { Vif, VifBackend } from "../network/index.js";

/** A disk that the host's `DiskBackend` keeps for the instance. Its place in the guest is fixed when it is made. */
export interface InstanceDisk {
  /** Name in the back end, and id in the guest: `root`, `ephemeral0`, `swap`, `rescue`, `config`, `config.rescue`. */
  readonly name: string;
  readonly sizeBytes: number;
  readonly source: DiskSource;
  readonly deviceName: string;
  readonly bus: DiskBus;
  readonly bootIndex?: number;
  /** Default `disk`. */
  readonly deviceType?: DeviceType;
  /** Default false. */
  readonly readOnly?: boolean;
  /** Set by `setDiskLimits`, in place of those of `spec.diskTuning`. */
  readonly limits?: DiskLimits;
}

export interface AttachedVolume {
  readonly diskId: string;
  readonly connection: VolumeConnection;
  readonly deviceName: string;
  readonly bus: DiskBus;
  readonly deviceType: DeviceType;
  readonly bootIndex?: number;
  readonly tag?: string;
  readonly source: DiskSource;
  readonly tuning?: DiskTuning;
}

/** A CD or floppy drive that stays while media come and go. With a volume in it, it stands among the volumes. */
export type EmptyDrive = Omit<AttachedVolume, "connection" | "source">;

export interface PluggedVif {
  readonly vif: Vif;
  readonly backend: VifBackend;
}

/** Layout version 1. Holds no secret. */
export interface InstanceRecord extends InstanceRef {
  readonly version: 1;
  /** As spawned and since changed, without `adminPassword` and `injectedFiles`. */
  readonly spec: Omit<InstanceSpec, "adminPassword" | "injectedFiles">;
  readonly disks: readonly InstanceDisk[];
  readonly kernel?: GuestKernel;
  readonly volumes: readonly AttachedVolume[];
  readonly vifs: readonly PluggedVif[];
  readonly emptyDrives?: readonly EmptyDrive[];
  /** The template that the instance was started from, on which its disks may stand. */
  readonly template?: { readonly id: string; readonly directory: string };
  /** The state that the caller last asked for; what a boot of the host brings back. */
  readonly desiredState: Extract<PowerState, "running" | "paused" | "shutdown" | "suspended">;
  /** While rescued: what to go back to (`disks` holds the rescue disk, too), and whether the guest ran. */
  readonly rescue?: {
    readonly disks: readonly InstanceDisk[];
    readonly volumes: readonly AttachedVolume[];
    readonly emptyDrives?: readonly EmptyDrive[];
    readonly wasRunning: boolean;
  };
  /** While resized or migrated cold: the way back. */
  readonly resize?: {
    readonly ticket: ResizeTicket;
    readonly role: "source" | "destination";
    readonly previous: Pick<InstanceRecord, "spec" | "disks">;
  };
  /** While a live migration is under way: which side this is and its data's id. */
  readonly migration?: { readonly role: "source" | "destination"; readonly id: string };
  readonly createdAt: number;
}
