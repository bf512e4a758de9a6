/** Putting a device that the guest keeps back into what it starts with. */
import type { GuestCore } from "../guest-core.js";
import { hasDevice, withPhase } from "./alter-definition.js";
import type { DeviceRef } from "./alter-definition.js";
import { findDevice, planElement, readDomainOf } from "./find-device.js";

/** Repeatable. `virDomainAttachDeviceFlags`. @throws LibvirtError; then the device stays marked, for the next look at the guest */
export function configureAgain(core: GuestCore, device: DeviceRef): Promise<void> {
  // The guest may let go of it after all.
  return core.devices.alone(device, () =>
    hasDevice(core.definition, device) ? restore(core, device) : Promise.resolve(),
  );
}

async function restore(core: GuestCore, device: DeviceRef): Promise<void> {
  const { domain, host } = core;
  const limits = { deadlineMs: host.timeouts.callMs };
  await core.update((state) => withPhase(state, device, "refused"));
  if (findDevice(core, await readDomainOf(core, "configured", limits), device) === undefined) {
    // The element that was there has the place that the device has in the guest.
    const xml = core.devices.takeConfigured(device) ?? planElement(core, core.definition, device);
    if (xml !== undefined) await domain.attachDeviceFlags(xml, { flags: ["config"], ...limits });
  }
  await core.update((state) => withPhase(state, device, undefined));
}
