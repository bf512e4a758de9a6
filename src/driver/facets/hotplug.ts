/** vCPUs and memory that come and go, and devices beside disks and NICs. */
import type { CommonOptions, OperationOptions } from "../../core/index.js";
import type { GuestDevice } from "../guest-hardware.js";
import type { InstanceRef } from "../instance-spec.js";

export interface VcpuHotplugFacet {
  /**
   * Gives the instance so many vCPUs, durably, at once if its guest is in memory: 1 to `spec.hardware.cpu.maxVcpus` (default: as many as it was started with); a stopped guest without that limit takes any number.
   * The spec's flavor follows; its `cpuTopology` gets more or fewer sockets, which have to be whole. Success when it has them.
   * Rejects with `InvalidArgumentError`, `NoCapacityError`, `InvalidStateError` (suspended, rescued, resized, migrating), `DeviceDetachError` when the guest does not let go of one in time,
   * `NotSupportedError` where the hypervisor takes none back from a guest that runs.
   * On failure or abort it has what it had before; where the guest keeps what it was to give back, the spec says what it has.
   */
  setVcpus(instance: InstanceRef, vcpus: number, options?: OperationOptions): Promise<void>;
}

export interface MemoryHotplugFacet {
  /**
   * Gives the instance so much memory, durably, at once if its guest is in memory: at most `spec.hardware.memory.maxMiB`; no less than it was started with while it runs.
   * The spec's flavor follows. Success when it has it. Rejects as `setVcpus`, and with `NoFreeSlotError`; on failure or abort as there.
   */
  setMemory(instance: InstanceRef, memoryMiB: number, options?: OperationOptions): Promise<void>;
}

export interface BalloonFacet {
  /**
   * Asks a guest in memory to use no more than so much of its memory, 1 to `flavor.memoryMiB`. Resolves when it was asked; it may take long or never comply: `getDiagnostics` tells.
   * The flavor stays, and a guest that is started anew has all of it. Rejects with `InvalidStateError` when it is not in memory, `InvalidArgumentError`. Not undone: an abort leaves it asked or not.
   */
  setBalloon(instance: InstanceRef, memoryMiB: number, options?: OperationOptions): Promise<void>;
}

export interface DevicesFacet {
  /**
   * Gives the instance a device, durably, at once if its guest is in memory. Attaching what is attached succeeds. Rejects with `ConflictError` (the id is another device's, or the host's device is another instance's),
   * `NoFreeSlotError`, `DeviceAttachError`, `InvalidStateError` (suspended). On failure or abort the guest does not have it.
   */
  attachDevice(instance: InstanceRef, device: GuestDevice, options?: OperationOptions): Promise<void>;
  /**
   * Takes a device out of the guest. Success when it has none of the id, even if the instance is gone. Rejects with `DeviceDetachError` when the guest does not let go in time; it then still has it.
   */
  detachDevice(instance: InstanceRef, deviceId: string, options?: OperationOptions): Promise<void>;
  listDevices(instance: Pick<InstanceRef, "uuid">, options?: CommonOptions): Promise<readonly GuestDevice[]>;
}
