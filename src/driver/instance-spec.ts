/** What an embedder asks for: an instance, its flavor, image, block devices and ports. */
import type { JsonObject, Secret } from "../core/index.js";
import type { ConfigDrive } from "./config-drive.js";
import type { DiskTuning } from "./disk-tuning.js";
import type { GuestHardware } from "./guest-hardware.js";
import type { EphemeralFormat, VolumeConnection } from "../storage/index.js";
import type { Vif } from "../network/index.js";

/** How an instance is named in every call. Platform ids (domain id, pid) never leave a driver. */
export interface InstanceRef {
  /** RFC 9562 uuid, lower case. */
  readonly uuid: string;
  /** 1 to 63 characters of `[A-Za-z0-9._-]`, not starting with `.` or `-`; unique on a host. */
  readonly name: string;
}

export interface CpuTopology {
  readonly sockets: number;
  readonly cores: number;
  readonly threads: number;
}

export interface Flavor {
  readonly name?: string;
  /** 1 to 1024. */
  readonly vcpus: number;
  /** 1 to 67108864. */
  readonly memoryMiB: number;
  /** Size of the root disk; 0: the size of the image. */
  readonly rootGiB: number;
  /** Size of one extra disk, with the file system that the spec names; 0 or absent: none. */
  readonly ephemeralGiB?: number;
  /** Size of a disk that the guest can swap to at once; 0 or absent: none. */
  readonly swapMiB?: number;
  /** `sockets * cores * threads` equals `vcpus`. */
  readonly cpuTopology?: CpuTopology;
}

export const DISK_BUSES = ["virtio", "scsi", "sata", "ide", "usb", "nvme", "fdc"] as const;
export type DiskBus = (typeof DISK_BUSES)[number];

export const DEVICE_TYPES = ["disk", "cdrom", "floppy"] as const;
export type DeviceType = (typeof DEVICE_TYPES)[number];

/** A volume that an instance starts with (an entry of Nova's block device mapping). */
export interface BlockDevice {
  /** Absent: a drive without a medium, which `changeMedium` can put one into; only for `cdrom` and `floppy`. */
  readonly connection?: VolumeConnection;
  /** `vdb`, `sdc`; default: the next free name of the bus. */
  readonly deviceName?: string;
  /** Default `virtio`. */
  readonly bus?: DiskBus;
  /** Default `disk`. */
  readonly deviceType?: DeviceType;
  /** 0 boots first; absent: not booted from. */
  readonly bootIndex?: number;
  readonly tag?: string;
  readonly tuning?: DiskTuning;
}

export const MACHINES = ["q35", "pc", "microvm", "virt"] as const;
export type Machine = (typeof MACHINES)[number];

export const FIRMWARES = ["bios", "uefi"] as const;
export type Firmware = (typeof FIRMWARES)[number];

/** Boot a kernel straight from images, without a boot loader (Nova's `kernel_id`, `ramdisk_id`). */
export interface DirectKernelBoot {
  readonly kernelImageId: string;
  readonly ramdiskImageId?: string;
  /** Up to 2048 printable characters. */
  readonly commandLine?: string;
}

export interface InjectedFile {
  /** Absolute path in the guest. */
  readonly path: string;
  readonly contents: Uint8Array;
}

export interface InstanceSpec extends InstanceRef {
  readonly flavor: Flavor;
  /** Image of the root disk; absent: boots from a volume or a kernel. */
  readonly imageId?: string;
  readonly kernel?: DirectKernelBoot;
  readonly blockDevices?: readonly BlockDevice[];
  readonly vifs?: readonly Vif[];
  /** Default: the driver's own. */
  readonly machine?: Machine;
  /** Default `bios`. */
  readonly firmware?: Firmware;
  readonly hardware?: GuestHardware;
  /** For the instance's own disks; volumes have their own. */
  readonly diskTuning?: DiskTuning;
  /** Choices that only one kind of hypervisor knows, by its `type`: `{ kvm: { extraArguments: [...] } }`. */
  readonly platform?: Readonly<Record<string, JsonObject>>;
  /** Gives the guest a channel for the QEMU guest agent. Default true. */
  readonly guestAgent?: boolean;
  /** A drive that tells the guest what it is, where the capability `configDrive` is there. */
  readonly configDrive?: ConfigDrive;
  /** The file system that the ephemeral disk is made with, labelled `ephemeral0`; `none`: it is empty. Default `ext4`. */
  readonly ephemeralFormat?: EphemeralFormat | "none";
  /** For the guest's administrator: told by the config drive if there is one; otherwise set before the first boot, where the capability `injectAtSpawn` is there. */
  readonly adminPassword?: string | Secret;
  /** For the guest to write, or written for it, by the same ways as `adminPassword`. At most 16 files of 1 MiB. */
  readonly injectedFiles?: readonly InjectedFile[];
  /** Kept with the instance and handed back; not shown to the guest. At most 128 entries of 255 characters. */
  readonly metadata?: Readonly<Record<string, string>>;
}
