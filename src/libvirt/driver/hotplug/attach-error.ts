/** Why libvirt did not give a guest a device: decided by what the guest has, never by texts. */
import { NotSupportedError } from "../../../core/index.js";
import { DeviceAttachError, NoFreeSlotError } from "../../../driver/index.js";
import { LibvirtError } from "../../rpc/index.js";
import { asDriverError } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import type { DeviceKind, DeviceRef } from "./alter-definition.js";
import { readDomainOf } from "./find-device.js";
import { hasFreePciPlace } from "./pci-places.js";

const OPERATIONS: { readonly [K in DeviceKind]: string } = {
  disk: "attachDisk",
  nic: "attachNic",
  device: "attachDevice",
};

/** @param usesPci whether the device takes a place on the guest's PCI bus */
export async function asAttachError(
  core: GuestCore,
  { kind, id }: DeviceRef,
  thrown: unknown,
  usesPci: boolean,
): Promise<Error> {
  const { instance } = core;
  const error = asDriverError(thrown, { operation: OPERATIONS[kind], instance });
  if (!(error instanceof LibvirtError) && !(error instanceof NotSupportedError)) return error;
  const { detail } = error;
  const context = { instance, device: id, cause: error, ...(detail === undefined ? {} : { detail }) };
  if (usesPci && !(await hasPlace(core))) return new NoFreeSlotError("no PCI slot of the guest is free", context);
  if (error instanceof NotSupportedError) return error;
  return new DeviceAttachError(`libvirt did not give the guest ${id}`, context);
}

async function hasPlace(core: GuestCore): Promise<boolean> {
  try {
    return hasFreePciPlace(await readDomainOf(core, "live"));
  } catch {
    return true;
  }
}
