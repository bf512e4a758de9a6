/** What a hypervisor is asked to run: a spec with every choice made and every host resource named. */
import type { CpuTopology, DeviceType, DiskBus, Firmware, InstanceRef, Machine } from "./instance-spec.js";
import type { JsonObject } from "../core/index.js";
import type { DiskTuning } from "./disk-tuning.js";
import type { GuestHardware } from "./guest-hardware.js";
import type { DiskSource } from "../storage/index.js";
import type { NicModel, VifBackend } from "../network/index.js";

export interface GuestDisk {
  /** Stable and unique within the guest: `root`, `ephemeral0`, `swap`, `rescue`, `volume-<volume id>`, or `drive-<device name>` for a drive whose medium can change. */
  readonly id: string;
  /** Absent: a drive without a medium; only `cdrom` and `floppy`. */
  readonly source?: DiskSource;
  readonly bus: DiskBus;
  readonly deviceType: DeviceType;
  /** `vda`, `sdb`: what a Linux guest would call it; unique within the guest. */
  readonly deviceName: string;
  readonly readOnly: boolean;
  /** Several guests may have it open. */
  readonly shareable: boolean;
  /** Serial number that the guest reads, at most 20 characters for virtio. */
  readonly serial?: string;
  readonly bootIndex?: number;
  /** Role tag, for hypervisors that keep such beside their guests. */
  readonly tag?: string;
  readonly tuning?: DiskTuning;
}

export interface GuestNic {
  /** The port's id. */
  readonly id: string;
  readonly macAddress: string;
  readonly model: NicModel;
  readonly backend: VifBackend;
  readonly mtu?: number;
  readonly queues: number;
  readonly bootIndex?: number;
  /** Role tag, for hypervisors that keep such beside their guests. */
  readonly tag?: string;
}

export interface GuestKernel {
  readonly kernelPath: string;
  readonly ramdiskPath?: string;
  readonly commandLine?: string;
}

export interface GuestDefinition extends InstanceRef {
  readonly vcpus: number;
  readonly memoryMiB: number;
  readonly cpuTopology?: CpuTopology;
  /** Absent: the hypervisor's default. */
  readonly machine?: Machine;
  readonly firmware: Firmware;
  readonly kernel?: GuestKernel;
  readonly disks: readonly GuestDisk[];
  readonly nics: readonly GuestNic[];
  readonly guestAgent: boolean;
  readonly hardware?: GuestHardware;
  /** What the embedder keeps with the instance, for hypervisors that keep such beside their guests. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Choices that only one kind of hypervisor knows, by its `type`; each checks its own and leaves the others alone. */
  readonly platform?: Readonly<Record<string, JsonObject>>;
}
