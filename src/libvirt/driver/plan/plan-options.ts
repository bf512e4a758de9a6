/** What a plan is made with beside the definition and the host: values that somebody else has chosen or keeps. */
import type { DiskCache, GuestCpu } from "../../../driver/index.js";
import type { InterfaceFilter } from "../../xml/index.js";

/** Where the contents of a disk are. */
export type DiskPlace = "file" | "block" | "network";

export interface DomainPlanOptions {
  /** Entries for the domain's metadata beside the definition's own. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Role tags of devices, by the ids of disks and NICs, beside the definition's own. */
  readonly tags?: Readonly<Record<string, string>>;
  /** libvirt's uuids of secrets, by the ids that disk sources name. */
  readonly secretUuids?: Readonly<Record<string, string>>;
  /** The host's mediated devices, by the ids of the guest's devices that are such of a type. */
  readonly mediatedUuids?: Readonly<Record<string, string>>;
  /** The machine type that the guest has had so far: `pc-q35-9.2`. Default: what the machine's name stands for now. */
  readonly machineType?: string;
  /** For definitions that name no mode. Default: `hostModel` where the host has it, on aarch64 with KVM `hostPassthrough`. */
  readonly cpuMode?: NonNullable<GuestCpu["mode"]>;
  /** Absolute path of the UEFI variables; default: a place of libvirt's. */
  readonly nvramPath?: string;
  /** Uuid that tells the guest which copy of itself it is; default: libvirt makes one up. */
  readonly generationId?: string;
  /** Absolute path of a file that gets all that the guest writes to its console. */
  readonly consoleLogPath?: string;
  /** Where the guest's serial consoles listen on TCP: the console first, then its further ports. Default: all are pseudo terminals. */
  readonly serialConsole?: { readonly address: string; readonly ports: readonly number[] };
  /** Absolute path of the socket of the guest agent's channel; default: a place of libvirt's. */
  readonly guestAgentSocket?: string;
  /** Absolute paths of the sockets of consoles without an address; default: a place of libvirt's. */
  readonly vncSocket?: string;
  readonly spiceSocket?: string;
  /** The memory of all guests is in files. Default false. */
  readonly fileMemory?: boolean;
  /** Where this libvirt's configuration (qemu.conf) has the files of guests' memory, and certificates; a definition can name no other. */
  readonly memoryDirectory?: string;
  readonly vncTlsDirectory?: string;
  /** VNC's clients must show certificates, by libvirt's configuration. */
  readonly vncVerifiesClients?: boolean;
  readonly spiceTlsDirectory?: string;
  readonly nbdTlsDirectory?: string;
  /** Network filters, by the ids of NICs. */
  readonly filters?: Readonly<Record<string, InterfaceFilter>>;
  /** CPUs of the host for threads of guests whose `emulatorThreads` are to be isolated, by number. */
  readonly sharedCpus?: readonly number[];
  /** How disks are opened whose tuning does not say, by where they are. Default `none`. What several guests have open is always opened with `none`. */
  readonly cacheModes?: Readonly<Partial<Record<DiskPlace, DiskCache>>>;
  /** Ids of disks in files that can't be opened past the host's page cache, beside those that the host's facts tell of. */
  readonly indirectDisks?: readonly string[];
  /** PCI Express root ports that are left free for devices plugged later: 0 to 64. Default 8. */
  readonly spareRootPorts?: number;
  /** Serial number of the machine; `false`: it has none. Default: the instance's uuid. */
  readonly machineSerial?: string | false;
  /** Of containers: absolute paths by which libvirt reaches the files of disks, by the disks' ids; it takes none of more than 63 bytes. Default: the files' own. */
  readonly containerFiles?: Readonly<Record<string, string>>;
  /** Of containers: absolute path of the directory that is their root, in place of the root disk. */
  readonly rootDirectory?: string;
}
