/** Devices that are plugged for one port of one instance, marked as such so that nobody else's is touched. */
import { isHyperviseError } from "../../core/index.js";
import { VifPlugError } from "../errors.js";
import type { LinkState } from "../links.js";

export interface InstanceDevice {
  readonly name: string;
  readonly portId: string;
  readonly instanceUuid: string;
}

const OWN_ERRORS = ["VIF_PLUG_FAILED", "ABORTED", "DEADLINE_EXCEEDED", "COMMAND_NOT_FOUND"];

export function aliasOf({ instanceUuid, portId }: InstanceDevice): string {
  return `hypervise:${instanceUuid}:${portId}`;
}

export function contextOf(device: InstanceDevice): {
  readonly instance: { readonly uuid: string };
  readonly device: string;
} {
  return { instance: { uuid: device.instanceUuid }, device: device.portId };
}

/** Ours by its mark, or without one: what a crash between making and marking it leaves, which is on no bridge. */
export function mayTake(link: LinkState, device: InstanceDevice): boolean {
  if (link.alias !== undefined) return link.alias === aliasOf(device);
  return link.master === undefined && link.tap?.inUse !== true;
}

/** The port's device from when it was another instance's. */
export function isOfPort(link: LinkState, device: InstanceDevice): boolean {
  const [maker, , portId] = link.alias?.split(":") ?? [];
  return maker === "hypervise" && portId === device.portId;
}

export function notOurs(device: InstanceDevice): VifPlugError {
  return new VifPlugError(`a device ${device.name} exists that is not this port's`, {
    ...contextOf(device),
    retryable: false,
    remedy: "give the VIF another deviceName, or remove the device",
  });
}

/** What a failed effect is thrown as. */
export function plugFailure(device: InstanceDevice, message: string, error: unknown, remedy: string): unknown {
  if (isHyperviseError(error) && OWN_ERRORS.includes(error.code)) return error.withContext(contextOf(device));
  return new VifPlugError(message, { ...contextOf(device), cause: error, remedy });
}
