/** What a config drive tells a guest, before it is given a layout. */
import type { JsonObject, Secret } from "../../core/index.js";

/** `iso`: ISO 9660 with Rock Ridge and Joliet. `vfat`: a FAT file system of 64 MiB. */
export const CONFIG_DRIVE_FORMATS = ["iso", "vfat"] as const;
export type ConfigDriveFormat = (typeof CONFIG_DRIVE_FORMATS)[number];

/** `openstack`: OpenStack's config drive, version 2, labelled `config-2`. `nocloud`: cloud-init's NoCloud seed, labelled `cidata`. */
export const CONFIG_DRIVE_LAYOUTS = ["openstack", "nocloud"] as const;
export type ConfigDriveLayout = (typeof CONFIG_DRIVE_LAYOUTS)[number];

/** A way of the network: `destination` is a prefix. */
export interface NetworkRoute {
  readonly destination: string;
  readonly nextHop: string;
}

/** One network of a NIC: an address that the guest is to set, or a server that it is to ask. */
export interface LinkNetwork {
  readonly networkId: string;
  readonly version: 4 | 6;
  readonly method: "dhcp" | "static";
  /** Of a static one; of a DHCP one where it is known. */
  readonly address?: string;
  readonly prefixLength?: number;
  readonly gateway?: string;
  readonly dnsServers: readonly string[];
  readonly routes: readonly NetworkRoute[];
}

/** A NIC, found by its MAC address. */
export interface NetworkLink {
  /** What the host calls its end of it. */
  readonly id: string;
  /** What it is for OpenStack; `phy` for all that it has no word for. */
  readonly type: "bridge" | "ovs" | "tap" | "vhostuser" | "phy";
  readonly vifId: string;
  readonly macAddress: string;
  readonly mtu?: number;
  readonly networks: readonly LinkNetwork[];
}

/** A device whose role the guest is told (Nova's device tags). */
export type TaggedDevice =
  | { readonly type: "nic"; readonly mac: string; readonly tags: readonly string[] }
  | {
      readonly type: "disk";
      readonly bus: string;
      readonly path: string;
      readonly serial?: string;
      readonly tags: readonly string[];
    };

/** A file to be written in the guest. */
export interface FileForGuest {
  /** Absolute path in the guest. */
  readonly path: string;
  readonly contents: Uint8Array;
}

export interface ConfigDriveContent {
  readonly layout: ConfigDriveLayout;
  readonly uuid: string;
  readonly name: string;
  readonly hostname: string;
  readonly launchIndex?: number;
  readonly availabilityZone?: string;
  readonly projectId?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** OpenSSH public keys by name. */
  readonly publicKeys?: Readonly<Record<string, string>>;
  readonly adminPassword?: Secret;
  readonly files?: readonly FileForGuest[];
  readonly userData?: Uint8Array;
  /** OpenStack's `vendor_data.json`; in a NoCloud seed a cloud-config. */
  readonly vendorData?: JsonObject;
  /** OpenStack's `vendor_data2.json`. */
  readonly vendorData2?: JsonObject;
  /** Entropy for the guest; only the OpenStack layout has a place for it. */
  readonly randomSeed?: Uint8Array;
  /** Absent: the guest is told nothing of its network. */
  readonly links?: readonly NetworkLink[];
  /** Of a NoCloud seed's network configuration. Default 1, which every cloud-init reads. */
  readonly networkConfigVersion?: 1 | 2;
  readonly devices?: readonly TaggedDevice[];
  readonly imageId?: string;
  readonly instanceType?: string;
}

/** A file of the drive. */
export interface ConfigDriveFile {
  /** Relative, of parts of `[a-z0-9._-]`. */
  readonly path: string;
  readonly contents: Uint8Array;
}
