/** What libvirt tells of a guest's devices, whoever has made them go. */
import type { GuestCore } from "../guest-core.js";
import { readDeviceAlias } from "../plan/index.js";
import { hasDevice, phaseOf } from "./alter-definition.js";
import type { DeviceRef } from "./alter-definition.js";
import { inBackground } from "./background.js";
import { finishIfGone } from "./let-go.js";
import { configureAgain } from "./restore-configuration.js";
import { settleDevices } from "./settle-devices.js";

/** A device has left the guest. What is told may be older than what is there now. */
export function onDeviceRemoved(core: GuestCore, alias: string): void {
  const device = deviceOf(alias);
  if (device === undefined) return inBackground(() => settleDevices(core));
  if (hasDevice(core.definition, device)) inBackground(() => finishIfGone(core, device));
}

/** The guest refuses to let go of a device. */
export function onRemovalFailed(core: GuestCore, alias: string): void {
  const device = deviceOf(alias);
  if (device === undefined || !hasDevice(core.definition, device)) return;
  core.emit({ type: "deviceDetachFailed", device: device.id });
  if (!core.devices.isBusy(device)) inBackground(() => settleRefused(core, device));
}

/** The guest is not in memory any more: what it was given or asked to let go of, it does not have. */
export function onGuestEnded(core: GuestCore): void {
  if (core.state.unsettled !== undefined) inBackground(() => settleDevices(core));
}

function deviceOf(alias: string): DeviceRef | undefined {
  const ours = readDeviceAlias(alias);
  if (ours?.kind !== "disk" && ours?.kind !== "nic" && ours?.kind !== "device") return undefined;
  return { kind: ours.kind, id: ours.id };
}

/** Nobody waits any more who would put it back into the configuration. */
async function settleRefused(core: GuestCore, device: DeviceRef): Promise<void> {
  if (phaseOf(core.state, device) === "detaching") await configureAgain(core, device);
}
