/** What is kept of a guest's hardware. */
import type { FirmwareFiles } from "../firmware/firmware-descriptor.js";
import type { KvmMachine, SlotPool } from "./topology.js";

/** A device and its place. */
export interface DeviceBinding {
  readonly kind: "disk" | "nic" | "device" | "memory" | "controller";
  /** Id of the disk, NIC or device in the definition; name of a controller or a memory module. */
  readonly id: string;
  /** Id of the device in QEMU: `disk3`. Never used twice in the life of a guest. */
  readonly handle: string;
  readonly pool: SlotPool;
  readonly slot: number;
  /** `attaching`: being plugged into a running guest. `detaching`: the guest was asked to let go of it. Absent: there. */
  readonly phase?: "attaching" | "detaching";
  /** Number of a NIC, from 1, by which guests name it: `eno1`. */
  readonly acpiIndex?: number;
  /** What memory adds to that which the guest boots with, MiB. */
  readonly sizeMiB?: number;
}

/** All that a guest has beyond its definition, kept with it. */
export interface Hardware {
  readonly machine: KvmMachine;
  /** QEMU's full name of the machine, kept over upgrades of QEMU: `pc-q35-7.2`. */
  readonly machineType: string;
  /** How many PCI Express root ports there are; 0 on machines without. */
  readonly ports: number;
  readonly nextHandle: number;
  readonly bindings: readonly DeviceBinding[];
  /** Memory that the guest boots with, MiB, where memory is plugged beside it; absent: all that the definition says. */
  readonly bootMemoryMiB?: number;
  /** UEFI firmware whose variables the guest has. */
  readonly firmware?: FirmwareFiles;
  /** UUID by which the guest sees that it was not cloned nor taken back in time. */
  readonly generationId?: string;
}
