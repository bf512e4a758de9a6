/**
 * Devices in QEMU's own terms: what `-device`, `-netdev` and, for a running guest, `device_add`, `netdev_add` take.
 * A disk's limits are none of its nodes' or its device's members: src/kvm/block/limits.ts sets them by
 * `block_set_io_throttle`, before the guest runs or at once after plugging, and again whenever they change. So they stay with the device whatever
 * becomes of its nodes.
 */
import type { JsonObject } from "../../core/index.js";
import type { GuestDisk, GuestNic, ScsiController } from "../../driver/index.js";
import { defined } from "./arguments.js";
import { SCSI_CONTROLLER } from "./built-in-parts.js";
import { deviceTuning } from "./disk-tuning.js";
import { diskNode, isLoaded } from "./block-nodes.js";
import type { DeviceBinding, Hardware } from "./hardware.js";
import { FIRST_PORT_SLOT, TOPOLOGIES } from "./topology.js";
import type { Topology } from "./topology.js";

/** Longest serial number that each kind of disk can tell its guest. */
export const SERIAL_LENGTHS = { virtio: 20, scsi: 36, sata: 20, ide: 20, usb: 36, nvme: 20, fdc: 0 } as const;

/** The host's end of a NIC. */
export type NicConnection =
  /** TAP queues that QEMU gets as descriptors: numbers it inherited, or names given to its monitor. */
  | { readonly type: "descriptors"; readonly tap: readonly string[]; readonly vhost: readonly string[] }
  /** A TAP that QEMU opens itself. */
  | { readonly type: "name"; readonly deviceName: string; readonly queues: number }
  /** A switch in user space. */
  | {
      readonly type: "vhostUser";
      readonly socketPath: string;
      readonly server: "switch" | "hypervisor";
      readonly queues: number;
    }
  | { readonly type: "user"; readonly cidr?: string };

/** Id of the socket to a switch in user space. */
export function nicSocket(handle: string): string {
  return `${handle}-socket`;
}

/** Id of the network back end of a NIC. */
export function nicBackend(handle: string): string {
  return `${handle}-net`;
}

/** The device that a guest sees a disk as. */
export function diskDevice(binding: DeviceBinding, disk: GuestDisk, hardware: Hardware): JsonObject {
  const topology = TOPOLOGIES[hardware.machine];
  const common = defined({
    id: binding.handle,
    drive: isLoaded(disk) ? diskNode(binding.handle) : undefined,
    serial: disk.serial?.slice(0, SERIAL_LENGTHS[disk.bus]),
    bootindex: disk.bootIndex,
    "share-rw": disk.shareable ? true : undefined,
    ...deviceTuning(disk),
  });
  const media = disk.deviceType === "cdrom" ? "cd" : "hd";
  switch (binding.pool) {
    case "port":
    case "pci":
      if (disk.bus === "nvme") return { ...nvme(binding, common), ...expansionAddress(binding, topology) };
      return { driver: "virtio-blk-pci", ...common, ...expansionAddress(binding, topology) };
    case "scsi":
      return {
        driver: `scsi-${media}`,
        ...common,
        bus: `${SCSI_CONTROLLER}.0`,
        channel: 0,
        "scsi-id": binding.slot,
        lun: 0,
      };
    case "ahci":
      return { driver: `ide-${media}`, ...common, bus: `${topology.builtInAhci ? "ide" : "ahci0"}.${binding.slot}` };
    case "ide":
      return { driver: `ide-${media}`, ...common, bus: `ide.${binding.slot >> 1}`, unit: binding.slot & 1 };
    case "fdc":
      return {
        driver: "floppy",
        ...common,
        unit: binding.slot,
        ...(topology.builtInFloppy ? {} : { bus: `${FLOPPY_CONTROLLER}.0` }),
      };
    case "dimm":
    case "root":
      throw new RangeError(`no disk is on a ${binding.pool} slot`);
    case "usb":
      return { driver: "usb-storage", ...common, bus: "usb0.0", port: String(binding.slot + 1) };
  }
}

/** A guest tells its NVMe disks apart by their serial numbers: there has to be one. */
function nvme(binding: DeviceBinding, common: JsonObject): JsonObject {
  return { driver: "nvme", ...common, serial: common["serial"] ?? binding.handle };
}

/** The floppy controller of a machine that has none built in. */
export const FLOPPY_CONTROLLER = "fdc0";

const NIC_DRIVERS = {
  virtio: "virtio-net-pci",
  e1000: "e1000",
  e1000e: "e1000e",
  rtl8139: "rtl8139",
  vmxnet3: "vmxnet3",
} as const;

/** The QEMU device behind each NIC model. */
export function nicDriver(model: GuestNic["model"]): string {
  return NIC_DRIVERS[model];
}

/** Queue pairs of a NIC: those of its TAP, all of which have to be opened, since the kernel spreads packets over them. */
export function queuesOf(nic: Pick<GuestNic, "backend">): number {
  return nic.backend.type === "user" ? 1 : nic.backend.queues;
}

/** The device that a guest sees a NIC as. It has a boot ROM only where it is in the boot order. */
export function nicDevice(binding: DeviceBinding, nic: GuestNic, hardware: Hardware): JsonObject {
  const queues = queuesOf(nic);
  return defined({
    driver: nicDriver(nic.model),
    id: binding.handle,
    netdev: nicBackend(binding.handle),
    mac: nic.macAddress,
    ...expansionAddress(binding, TOPOLOGIES[hardware.machine]),
    romfile: nic.bootIndex === undefined ? "" : undefined,
    bootindex: nic.bootIndex,
    "acpi-index": binding.acpiIndex,
    host_mtu: nic.model === "virtio" ? nic.mtu : undefined,
    mq: queues > 1 ? true : undefined,
    vectors: queues > 1 ? 2 * queues + 2 : undefined,
  });
}

/** The host's end of a NIC. vhost is asked for only with descriptors that are open: QEMU 7.2 aborts where it can't open vhost itself. */
export function netBackend(handle: string, connection: NicConnection): JsonObject {
  const id = nicBackend(handle);
  switch (connection.type) {
    case "user":
      return defined({ type: "user", id, net: connection.cidr });
    case "name":
      return defined({
        type: "tap",
        id,
        ifname: connection.deviceName,
        script: "no",
        downscript: "no",
        vhost: false,
        queues: connection.queues > 1 ? connection.queues : undefined,
      });
    case "vhostUser":
      return defined({
        type: "vhost-user",
        id,
        chardev: nicSocket(handle),
        queues: connection.queues > 1 ? connection.queues : undefined,
      });
    case "descriptors": {
      const many = connection.tap.length > 1;
      const vhost = connection.vhost.length > 0;
      return defined({
        type: "tap",
        id,
        [many ? "fds" : "fd"]: connection.tap.join(":"),
        vhost,
        ...(vhost ? { [many ? "vhostfds" : "vhostfd"]: connection.vhost.join(":") } : {}),
      });
    }
  }
}

/** The QEMU device behind each SCSI controller. */
export const SCSI_DRIVERS: { readonly [C in ScsiController]: string } = {
  "virtio-scsi": "virtio-scsi-pci",
  lsi: "lsi53c895a",
  megasas: "megasas-gen2",
  pvscsi: "pvscsi",
};

/** The SCSI controller. */
export function scsiController(
  binding: DeviceBinding,
  hardware: Hardware,
  controller: ScsiController = "virtio-scsi",
): JsonObject {
  const place = expansionAddress(binding, TOPOLOGIES[hardware.machine]);
  return { driver: SCSI_DRIVERS[controller], id: binding.handle, ...place };
}

/** One PCI Express root port: eight to a slot of the root bus. */
export function rootPort(port: number): JsonObject {
  const address = `0x${(FIRST_PORT_SLOT + (port >> 3)).toString(16)}.${port & 7}`;
  return {
    driver: "pcie-root-port",
    id: portId(port),
    bus: "pcie.0",
    addr: address,
    chassis: port + 1,
    ...((port & 7) === 0 ? { multifunction: true } : {}),
  };
}

/** An address on the root bus. */
export function rootAddress(topology: Topology, slot: number): { readonly bus: string; readonly addr: string } {
  return { bus: topology.rootBus, addr: `0x${slot.toString(16)}` };
}

function portId(port: number): string {
  return `port${port}`;
}

/** Where a device on an expansion slot is. */
export function expansionAddress(
  binding: DeviceBinding,
  topology: Topology,
): { readonly bus: string; readonly addr: string } {
  // A root port holds one device; without the address a second one would be accepted, invisible to the guest.
  return binding.pool === "port" ? { bus: portId(binding.slot), addr: "0x0" } : rootAddress(topology, binding.slot);
}
