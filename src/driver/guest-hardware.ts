/** What a guest's machine has beside its flavor, disks and NICs. Everything is optional; what is absent is the driver's default. */

export const CPU_MODES = ["hostPassthrough", "hostModel", "maximum", "custom"] as const;
/** `hostPassthrough`: the host's own CPU. `hostModel`: the named model nearest to it. `maximum`: all that the accelerator can do. `custom`: `model`. */
export type CpuMode = (typeof CPU_MODES)[number];

export interface CpuFeature {
  /** As QEMU and libvirt call it: `avx2`. */
  readonly name: string;
  readonly policy: "require" | "disable";
}

/** One NUMA node of the guest. */
export interface GuestNumaCell {
  /** Numbers of vCPUs, from 0. Every vCPU that the guest may have is in just one cell. */
  readonly vcpus: readonly number[];
  /** The cells' sum is the flavor's memory. */
  readonly memoryMiB: number;
  /** Host nodes that the memory comes from; absent: any. */
  readonly hostNodes?: readonly number[];
  /** Default `bind`. */
  readonly policy?: "bind" | "preferred" | "interleave";
}

/** Host CPUs that threads of the guest may run on, by number. */
export interface CpuPinning {
  /** One list a vCPU, by its number; an empty list: not pinned. */
  readonly vcpus?: readonly (readonly number[])[];
  /** For all threads but vCPUs and I/O threads. */
  readonly emulator?: readonly number[];
  /** One list an I/O thread. */
  readonly ioThreads?: readonly (readonly number[])[];
}

export interface GuestCpu {
  /** Default: the driver's own. */
  readonly mode?: CpuMode;
  /** For `custom`: `EPYC-Rome`. */
  readonly model?: string;
  readonly features?: readonly CpuFeature[];
  /** vCPUs that the guest may be given while it runs; default: `flavor.vcpus`. A multiple of cores and threads where the flavor has a topology; sockets are added. */
  readonly maxVcpus?: number;
  readonly numaCells?: readonly GuestNumaCell[];
  readonly pinning?: CpuPinning;
}

export interface GuestMemory {
  /** What the guest may be given while it runs, MiB; default: `flavor.memoryMiB`. */
  readonly maxMiB?: number;
  /** Memory modules that can be plugged: 1 to 256. Default 16 where `maxMiB` is above the flavor's memory. */
  readonly slots?: number;
  /** How memory comes and goes while the guest runs. `dimm` (default): modules. `virtio-mem`: one device that grows and shrinks. */
  readonly hotplug?: "dimm" | "virtio-mem";
  /** `anonymous` (default), `memfd` (can be shared with a helper process; default with file systems over virtiofs), `hugepages`, or a file in a directory. */
  readonly backing?: "anonymous" | "memfd" | "hugepages" | "file";
  /** Size of a huge page; default: the host's own. */
  readonly hugepageKiB?: number;
  /** For `file`: absolute path of the directory. */
  readonly directory?: string;
  /** Other processes may map it. Implied by file systems over virtiofs. */
  readonly shared?: boolean;
  /** Never swapped. */
  readonly locked?: boolean;
  /** All of it is taken when the guest starts. */
  readonly preallocated?: boolean;
  /** The kernel may share equal pages between guests. Default true. */
  readonly mergeable?: boolean;
}

export interface GuestUefi {
  /** Only signed code boots; the variables hold the vendor's keys. Default false. */
  readonly secureBoot?: boolean;
  /** Absolute path of the firmware's code; default: the host's own. */
  readonly codePath?: string;
  /** Absolute path of the variables that a new guest starts from. With `codePath`. */
  readonly variablesTemplatePath?: string;
}

export interface GuestTpm {
  /** Default `crb`. */
  readonly model?: "crb" | "tis";
}

export const VIDEO_MODELS = ["none", "vga", "virtio", "qxl", "bochs", "cirrus", "ramfb"] as const;
export type VideoModel = (typeof VIDEO_MODELS)[number];

export interface GuestVideo {
  readonly model: VideoModel;
  /** 1 to 1024; default: the model's. */
  readonly memoryMiB?: number;
}

/** Where a graphical console listens: nowhere but on a UNIX socket of the driver's when `address` is absent. */
export interface GraphicsListener {
  /** IPv4 or IPv6 address of the host. */
  readonly address?: string;
  /** 5900 to 65535, with `address`. Default: a free one. */
  readonly port?: number;
  /** Absolute path of a directory with `ca-cert.pem`, `server-cert.pem` and `server-key.pem`. With `address`; what is not encrypted is then refused. */
  readonly tlsDirectory?: string;
}

export interface GuestVnc extends GraphicsListener {
  /** Clients must show a certificate of the same authority. With `tlsDirectory`. Default false. */
  readonly verifyClients?: boolean;
  /** Nobody gets in before `setConsolePassword`. Default false. */
  readonly passwordRequired?: boolean;
  /** Keyboard layout: `de`. */
  readonly keymap?: string;
}

export interface GuestSpice extends GraphicsListener {
  /** OpenSSL's list of ciphers up to TLS 1.2, `ECDHE+AESGCM:!aNULL`. With `tlsDirectory`; default: the SPICE server's own. Not every hypervisor can. */
  readonly tlsCiphers?: string;
  /** Nobody gets in before `setConsolePassword`. Default false. */
  readonly passwordRequired?: boolean;
  readonly imageCompression?: "auto-glz" | "auto-lz" | "quic" | "glz" | "lz" | "off";
  readonly jpegCompression?: "auto" | "never" | "always";
  readonly zlibGlzCompression?: "auto" | "never" | "always";
  readonly streamingVideo?: "off" | "all" | "filter";
  readonly playbackCompression?: boolean;
  /** A channel for the SPICE agent in the guest. Default true. */
  readonly agent?: boolean;
}

export interface GuestRng {
  /** Default `/dev/urandom`. */
  readonly source?: "/dev/urandom" | "/dev/random" | "builtin";
  /** Default: no limit. */
  readonly maxBytes?: number;
  /** Milliseconds in which `maxBytes` are given: 1 to 86400000. Default 1000. */
  readonly periodMs?: number;
}

export interface GuestBalloon {
  /** How often the guest reports its use of memory; 0 or absent: never. */
  readonly statisticsPeriodSeconds?: number;
  /** Pages that the guest frees go back to the host at once. */
  readonly freePageReporting?: boolean;
  /** The guest takes memory back before it kills processes. */
  readonly deflateOnOom?: boolean;
}

export interface GuestWatchdog {
  /** `itco` is part of q35 machines; the two others are cards. */
  readonly model: "i6300esb" | "ib700" | "itco";
  readonly action: "reset" | "shutdown" | "poweroff" | "pause" | "injectNmi" | "none";
}

export const SOUND_MODELS = ["ich9", "ich6", "ac97", "es1370", "sb16", "usb"] as const;
export type SoundModel = (typeof SOUND_MODELS)[number];

export interface GuestSound {
  readonly model: SoundModel;
  /** `spice` needs a SPICE console. Default `none`: the guest has a card that nobody hears. */
  readonly backend?: "none" | "spice";
}

/** A directory of the host that the guest can mount. */
export interface GuestFilesystem {
  /** What the guest mounts it by: 1 to 31 characters for 9p, 1 to 36 for virtiofs. Unique within the guest. */
  readonly tag: string;
  /** Absolute path of a directory of the host. For virtiofs without comma and backslash. */
  readonly path: string;
  readonly driver: "virtiofs" | "9p";
  /** Default false. Not every hypervisor can for virtiofs. */
  readonly readOnly?: boolean;
  /** For 9p; default `mapped`. */
  readonly securityModel?: "mapped" | "passthrough" | "none";
}

/** A device that can be given to a guest that runs, beside disks and NICs. */
export type GuestDevice =
  | { readonly type: "usbInput"; readonly id: string; readonly model: "tablet" | "mouse" | "keyboard" }
  | { readonly type: "usbHost"; readonly id: string; readonly vendorId: number; readonly productId: number }
  | { readonly type: "usbHostAddress"; readonly id: string; readonly bus: number; readonly address: number }
  /** A PCI function of the host, `0000:3b:00.0`, bound to vfio-pci. */
  | { readonly type: "pciHost"; readonly id: string; readonly address: string }
  /** A mediated device of the host. */
  | { readonly type: "mediated"; readonly id: string; readonly uuid: string }
  /**
   * A mediated device of a type, `nvidia-35`: one that no guest has, or a new one; which, the hypervisor keeps for as long as the guest has the device.
   * Of the device `parent` of the host's, `0000:3b:00.0`, or of any.
   */
  | { readonly type: "mediatedOfType"; readonly id: string; readonly mdevType: string; readonly parent?: string };

export interface GuestClock {
  /** Default `utc`. */
  readonly base?: "utc" | "localtime";
  /** What the guest does with timer interrupts that it missed. Default `slew`. */
  readonly driftFix?: "slew" | "none";
  /** Timers and other things that Windows wants of a hypervisor. Not under emulation. Default false. */
  readonly hyperv?: boolean;
}

/** What the guest reads as its maker's data (SMBIOS types 0, 1, 2, 3 and 11). */
export interface GuestSmbios {
  readonly system?: Readonly<
    Partial<Record<"manufacturer" | "product" | "version" | "serial" | "sku" | "family", string>>
  >;
  readonly bios?: Readonly<Partial<Record<"vendor" | "version" | "date" | "release", string>>>;
  readonly baseBoard?: Readonly<
    Partial<Record<"manufacturer" | "product" | "version" | "serial" | "asset" | "location", string>>
  >;
  readonly chassis?: Readonly<Partial<Record<"manufacturer" | "version" | "serial" | "asset" | "sku", string>>>;
  /** Strings that cloud-init and systemd read: `io.systemd.credential:…`. At most 64 of 1024 characters. */
  readonly oemStrings?: readonly string[];
}

export const SCSI_CONTROLLERS = ["virtio-scsi", "lsi", "megasas", "pvscsi"] as const;
export type ScsiController = (typeof SCSI_CONTROLLERS)[number];

export interface GuestHardware {
  readonly cpu?: GuestCpu;
  readonly memory?: GuestMemory;
  /** With firmware `uefi`. Changing it makes the guest start from fresh variables. */
  readonly uefi?: GuestUefi;
  readonly tpm?: GuestTpm;
  readonly video?: GuestVideo;
  readonly vnc?: GuestVnc;
  readonly spice?: GuestSpice;
  /** Serial ports beside the console: 0 to 3. */
  readonly extraSerialPorts?: number;
  /** Default: `{}`. `false`: none. */
  readonly rng?: GuestRng | false;
  /** Default: `{}`. `false`: none. */
  readonly balloon?: GuestBalloon | false;
  readonly watchdog?: GuestWatchdog;
  readonly sound?: GuestSound;
  readonly devices?: readonly GuestDevice[];
  /** A socket address of the guest's own: 3 to 4294967294, unique on the host. */
  readonly vsock?: { readonly cid: number };
  readonly filesystems?: readonly GuestFilesystem[];
  /** Threads for the I/O of disks that ask for one: 0 to 16. */
  readonly ioThreads?: number;
  /** What SCSI disks hang on. Default `virtio-scsi`. */
  readonly scsiController?: ScsiController;
  readonly clock?: GuestClock;
  readonly smbios?: GuestSmbios;
  /** What happens when the guest resets itself. Default `reset`. */
  readonly onReboot?: "reset" | "poweroff";
  /** Shows the boot menu for so long, milliseconds up to 65535. Default 0: not. */
  readonly bootMenuMs?: number;
  /** Lets the guest know that it was cloned or taken back in time. Default true where the machine can. */
  readonly generationId?: boolean;
}
