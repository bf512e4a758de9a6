/** The machines that guests are given, and where on them devices go. */
import type { DiskBus, Machine, VideoModel } from "../../driver/index.js";

/** Machines that this driver builds. */
export const KVM_MACHINES = ["q35", "pc", "microvm", "virt"] as const satisfies readonly Machine[];
export type KvmMachine = (typeof KVM_MACHINES)[number];

/**
 * Kinds of places for devices. `port`: a PCI Express root port that holds one device. `pci`: a slot of the root bus. `scsi`: a target of the SCSI
 * controller. `ahci`: a SATA port. `ide`: half an IDE channel. `usb`: a USB port. `dimm`: a memory slot. `root`: a slot of the root bus of a machine
 * with root ports, for cards that stay. `fdc`: a floppy drive.
 */
export const SLOT_POOLS = ["port", "pci", "scsi", "ahci", "ide", "usb", "dimm", "root", "fdc"] as const;
export type SlotPool = (typeof SLOT_POOLS)[number];

/** Most PCI Express root ports of a machine: 16 slots of the root bus with 8 functions each. */
export const MAX_PORTS = 128;
/** First slot of the root bus that holds root ports; below are the devices that every guest has. */
export const FIRST_PORT_SLOT = 8;

/** Fixed slots of the root bus for devices that are never unplugged. */
export interface FixedSlots {
  readonly video: number;
  readonly serial: number;
  readonly rng: number;
  readonly balloon: number;
  readonly usb: number;
  readonly ahci: number;
}

export interface Topology {
  readonly machine: KvmMachine;
  /** Name of the root bus. */
  readonly rootBus: string;
  /** Where disks, NICs and controllers on PCI go. */
  readonly expansion: Extract<SlotPool, "port" | "pci">;
  /** What can be plugged while the guest runs. */
  readonly hotplug: ReadonlySet<SlotPool>;
  /** How many slots each pool has, and which of them are not for disks and NICs; `port` is sized by the guest. */
  readonly pools: {
    readonly [P in Exclude<SlotPool, "port">]: { readonly size: number; readonly reserved: readonly number[] };
  };
  /** The pool that each bus of a disk is served by; absent where the machine has no such bus. */
  readonly disks: { readonly [B in DiskBus]?: SlotPool };
  /** True when the SATA controller is part of the machine. */
  readonly builtInAhci: boolean;
  /** True when the floppy controller is part of the machine. */
  readonly builtInFloppy: boolean;
  readonly fixed: FixedSlots;
  /** The graphics card that a guest has which says nothing of it. */
  readonly video: VideoModel;
  /** Where cards go that are never unplugged. */
  readonly cards: Extract<SlotPool, "root" | "pci">;
  /** True where there is an ISA bus with a PC's devices. */
  readonly isa: boolean;
  /** True where NICs can be numbered for stable names in the guest. */
  readonly acpiIndex: boolean;
  /** True where a guest can be told that it was cloned. */
  readonly generationId: boolean;
}

const none = { size: 0, reserved: [] } as const;
const upTo = (last: number): readonly number[] => Array.from({ length: last + 1 }, (_, slot) => slot);
const scsi = { size: 256, reserved: [] } as const;
const sata = { size: 6, reserved: [] } as const;
const usb = { size: 8, reserved: [] } as const;
/** What QEMU has at most; how many of them a guest has stands in its definition. */
const dimm = { size: 256, reserved: [] } as const;
/** Above the root ports, below the machine's own last slot. */
const cards = { size: 31, reserved: upTo(23) } as const;
const floppies = { size: 2, reserved: [] } as const;
const fixed: FixedSlots = { video: 2, serial: 3, rng: 4, balloon: 5, usb: 6, ahci: 7 };

export const TOPOLOGIES: { readonly [M in KvmMachine]: Topology } = {
  q35: {
    machine: "q35",
    rootBus: "pcie.0",
    expansion: "port",
    hotplug: new Set<SlotPool>(["port", "scsi", "usb", "dimm"]),
    pools: { pci: none, scsi, ahci: sata, ide: none, usb, dimm, root: cards, fdc: floppies },
    disks: { virtio: "port", scsi: "scsi", sata: "ahci", ide: "ahci", usb: "usb", nvme: "port", fdc: "fdc" },
    builtInAhci: true,
    builtInFloppy: false,
    fixed,
    video: "vga",
    cards: "root",
    isa: true,
    acpiIndex: true,
    generationId: true,
  },
  pc: {
    machine: "pc",
    rootBus: "pci.0",
    expansion: "pci",
    hotplug: new Set<SlotPool>(["pci", "scsi", "usb", "dimm"]),
    pools: {
      ...{ pci: { size: 32, reserved: upTo(7) }, scsi, ahci: sata, ide: { size: 4, reserved: [] }, usb, dimm },
      ...{ root: none, fdc: floppies },
    },
    disks: { virtio: "pci", scsi: "scsi", sata: "ahci", ide: "ide", usb: "usb", nvme: "pci", fdc: "fdc" },
    builtInAhci: false,
    builtInFloppy: true,
    fixed,
    video: "vga",
    cards: "pci",
    isa: true,
    acpiIndex: true,
    generationId: true,
  },
  microvm: {
    machine: "microvm",
    rootBus: "pcie.0",
    expansion: "pci",
    hotplug: new Set<SlotPool>(),
    pools: {
      ...{ pci: { size: 32, reserved: upTo(7) }, scsi, ahci: none, ide: none, usb: none, dimm: none },
      ...{ root: none, fdc: none },
    },
    disks: { virtio: "pci", scsi: "scsi" },
    builtInAhci: false,
    builtInFloppy: false,
    fixed,
    video: "none",
    cards: "pci",
    isa: false,
    acpiIndex: false,
    generationId: false,
  },
  virt: {
    machine: "virt",
    rootBus: "pcie.0",
    expansion: "port",
    hotplug: new Set<SlotPool>(["port", "scsi", "usb"]),
    pools: { pci: none, scsi, ahci: none, ide: none, usb, dimm: none, root: cards, fdc: none },
    disks: { virtio: "port", scsi: "scsi", usb: "usb", nvme: "port" },
    builtInAhci: false,
    builtInFloppy: false,
    fixed,
    video: "virtio",
    cards: "root",
    isa: false,
    acpiIndex: false,
    generationId: false,
  },
};

const POOL_NAMES: { readonly [P in SlotPool]: string } = {
  port: "PCI Express port",
  pci: "PCI slot",
  scsi: "SCSI target",
  ahci: "SATA port",
  ide: "IDE unit",
  usb: "USB port",
  dimm: "memory slot",
  root: "slot of the root bus",
  fdc: "floppy drive",
};

/** The slots of a pool on a machine that has `ports` root ports. */
export function slotsOf(
  topology: Topology,
  pool: SlotPool,
  ports: number,
): { readonly of: string; readonly size: number; readonly reserved: readonly number[] } {
  if (pool === "port") return { of: POOL_NAMES.port, size: topology.expansion === "port" ? ports : 0, reserved: [] };
  return { of: POOL_NAMES[pool], ...topology.pools[pool] };
}
