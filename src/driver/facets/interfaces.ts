/** Network interfaces of an instance. */
import type { CommonOptions, OperationOptions } from "../../core/index.js";
import type { InstanceRef } from "../instance-spec.js";
import type { Vif } from "../../network/index.js";

export interface AttachedInterface {
  /** The port's id; for `interfaceStats` and events. */
  readonly id: string;
  readonly macAddress: string;
  /** The host's end; absent where there is none. */
  readonly deviceName?: string;
}

export interface InterfacesFacet {
  /**
   * Plugs a port on the host, filters it and gives the guest a NIC on it, at once if it is in memory. Attaching what is attached succeeds.
   * Rejects with `ConflictError` (the MAC address is taken), `VifPlugError`, `NoFreeSlotError`, `InvalidStateError`, `DeviceAttachError`. On failure or abort nothing is left.
   */
  attachInterface(instance: InstanceRef, vif: Vif, options?: OperationOptions): Promise<AttachedInterface>;
  /**
   * Takes the NIC out of the guest, and when the guest has let go, unplugs the port. Success when it is not attached, even if the instance is gone: the port is unplugged all the same.
   * Rejects with `DeviceDetachError` when the guest does not let go in time; the interface is then still attached.
   */
  detachInterface(instance: InstanceRef, vif: Pick<Vif, "id"> | Vif, options?: OperationOptions): Promise<void>;
  listInterfaces(instance: Pick<InstanceRef, "uuid">, options?: CommonOptions): Promise<readonly AttachedInterface[]>;
  /** Plugs all ports of an instance on the host again; plugged ones are left as they are. (Nova's `plug_vifs`.) */
  plugVifs(instance: InstanceRef, options?: CommonOptions): Promise<void>;
  /** Unplugs all ports of an instance whose guest is not in memory. Rejects with `InvalidStateError` when it is. (Nova's `unplug_vifs`.) */
  unplugVifs(instance: InstanceRef): Promise<void>;
}
