/** The machines that guests are given, and where on them devices go. */
import type { DiskBus, Machine } from "../../driver/index.js";

/** Machines that this driver builds. */
export const KVM_MACHINES = ["q35", "pc", "microvm"] as const satisfies readonly Machine[];
export type KvmMachine = (typeof KVM_MACHINES)[number];

/**
 * Kinds of places for devices. `port`: a PCI Express root port that holds one device. `pci`: a slot of the root bus. `scsi`: a target of the SCSI
 * controller. `ahci`: a SATA port. `ide`: half an IDE channel. `usb`: a USB port.
 */
export const SLOT_POOLS = ["port", "pci", "scsi", "ahci", "ide", "usb"] as const;
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
  readonly fixed: FixedSlots;
  readonly video: boolean;
}

const none = { size: 0, reserved: [] } as const;
const upTo = (last: number): readonly number[] => Array.from({ length: last + 1 }, (_, slot) => slot);
const scsi = { size: 256, reserved: [] } as const;
const sata = { size: 6, reserved: [] } as const;
const usb = { size: 8, reserved: [] } as const;
const fixed: FixedSlots = { video: 2, serial: 3, rng: 4, balloon: 5, usb: 6, ahci: 7 };

export const TOPOLOGIES: { readonly [M in KvmMachine]: Topology } = {
  q35: {
    machine: "q35",
    rootBus: "pcie.0",
    expansion: "port",
    hotplug: new Set<SlotPool>(["port", "scsi", "usb"]),
    pools: { pci: none, scsi, ahci: sata, ide: none, usb },
    disks: { virtio: "port", scsi: "scsi", sata: "ahci", ide: "ahci", usb: "usb" },
    builtInAhci: true,
    fixed,
    video: true,
  },
  pc: {
    machine: "pc",
    rootBus: "pci.0",
    expansion: "pci",
    hotplug: new Set<SlotPool>(["pci", "scsi", "usb"]),
    pools: { pci: { size: 32, reserved: upTo(7) }, scsi, ahci: sata, ide: { size: 4, reserved: [] }, usb },
    disks: { virtio: "pci", scsi: "scsi", sata: "ahci", ide: "ide", usb: "usb" },
    builtInAhci: false,
    fixed,
    video: true,
  },
  microvm: {
    machine: "microvm",
    rootBus: "pcie.0",
    expansion: "pci",
    hotplug: new Set<SlotPool>(),
    pools: { pci: { size: 32, reserved: upTo(7) }, scsi, ahci: none, ide: none, usb: none },
    disks: { virtio: "pci", scsi: "scsi" },
    builtInAhci: false,
    fixed,
    video: false,
  },
};

const POOL_NAMES: { readonly [P in SlotPool]: string } = {
  port: "PCI Express port",
  pci: "PCI slot",
  scsi: "SCSI target",
  ahci: "SATA port",
  ide: "IDE unit",
  usb: "USB port",
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
