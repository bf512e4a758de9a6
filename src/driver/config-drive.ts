/** What an embedder asks to be told to a guest by a drive of its own. */
import type { ConfigDriveFormat, ConfigDriveLayout } from "../storage/index.js";
import type { JsonObject } from "../core/index.js";

/** Where guests can have a disk that they only read. */
export const CONFIG_DRIVE_BUSES = ["virtio", "scsi", "sata", "ide", "usb", "nvme"] as const;
export type ConfigDriveBus = (typeof CONFIG_DRIVE_BUSES)[number];

/**
 * A drive with which a guest sets itself up at its first boot. The instance's uuid, name, NICs, tags, `adminPassword` and `injectedFiles` are
 * told, too; the last two are in the drive alone, and in no record.
 */
export interface ConfigDrive {
  /** Default `openstack`: OpenStack's config drive. `nocloud`: cloud-init's NoCloud seed. */
  readonly layout?: ConfigDriveLayout;
  /** Default `iso`. */
  readonly format?: ConfigDriveFormat;
  /** Where the drive is. Default: `sata` (`ide` on the machine `pc`, `scsi` on `virt`) as a CD; as a disk on `virtio` for `vfat` and on the machine `microvm`. */
  readonly bus?: ConfigDriveBus;
  /** `sda`, `vdz`; default: the next free name of the bus, which then stands in the kept spec. */
  readonly deviceName?: string;
  /** Default: the instance's name, made a host name. */
  readonly hostname?: string;
  /** What the guest runs or applies: a script, a cloud-config. At most 65,535 bytes. */
  readonly userData?: string;
  /** Default `utf8`; `base64` for data that is no text. */
  readonly userDataEncoding?: "utf8" | "base64";
  /** What the operator gives to all guests: OpenStack's `vendor_data.json`; in a NoCloud seed a cloud-config. At most 64 KiB as JSON. */
  readonly vendorData?: JsonObject;
  /** OpenStack's `vendor_data2.json`, which a NoCloud seed has not. At most 64 KiB as JSON. */
  readonly vendorData2?: JsonObject;
  /** OpenSSH public keys by name, at most 32 of 16 KiB. */
  readonly publicKeys?: Readonly<Record<string, string>>;
  /** Shown to the guest, unlike the spec's own. At most 128 entries of 255 characters. */
  readonly metadata?: Readonly<Record<string, string>>;
  readonly availabilityZone?: string;
  readonly projectId?: string;
  /** Place among instances that were asked for at once. Default 0. */
  readonly launchIndex?: number;
  /**
   * How a NoCloud seed tells of the network: cloud-init's version 1 or 2. `none`: the guest is told nothing of its network, in whichever layout.
   * Default 1; nothing either when no port has a subnet.
   */
  readonly networkConfig?: 1 | 2 | "none";
}
