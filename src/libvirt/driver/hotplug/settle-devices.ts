/** What a guest is said to have and what libvirt gives it, brought together again after a time in which nobody looked. */
import { isLibvirtError } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import { runsQemu } from "../host.js";
import { devicesOfGuest, hasDevice, phaseOf, withPhase } from "./alter-definition.js";
import type { DeviceRef } from "./alter-definition.js";
import { inBackground } from "./background.js";
import { detachDevice } from "./detach.js";
import { findDevice, readDomainOf } from "./find-device.js";
import { finishDetach, finishIfGone } from "./let-go.js";
import { configureAgain } from "./restore-configuration.js";
import { settleSizes } from "./settle-sizes.js";

/**
 * Finishes what an earlier process, or this one while it was deaf, has left half-done: what the guest does not have is taken out of its definition; what
 * a call was giving it that nobody waits for any more is taken from it; what it was asked for and still has, it may still let go of.
 */
export function settleDevices(core: GuestCore): Promise<void> {
  return core.devices.settle(() => settle(core));
}

async function settle(core: GuestCore): Promise<void> {
  const { starting, moving } = core.view;
  if (starting || moving || core.released) return;
  if (!core.inMemory) return settleStopped(core);
  // Only of what nobody was about before the look is it known what it has to be.
  const quiet = devicesOfGuest(core.definition).filter((device) => !core.devices.isBusy(device));
  const { sizeChanges } = core.devices;
  const domain = await readDomainOf(core, "live").catch((error: unknown) => {
    if (!isLibvirtError(error, "domainNotFound")) throw error;
  });
  // Without an id it has just ended, and this is what it starts with.
  if (domain?.id === undefined) return;
  for (const device of quiet) {
    if (!hasDevice(core.definition, device) || core.devices.isBusy(device)) continue;
    if (findDevice(core, domain, device) !== undefined || !(await finishIfGone(core, device)))
      await settlePresent(core, device);
  }
  if (runsQemu(core.host) && core.devices.sizeChanges === sizeChanges) await settleSizes(core, domain);
}

async function settleStopped(core: GuestCore): Promise<void> {
  for (const device of core.state.unsettled ?? []) {
    if (core.devices.isBusy(device)) continue;
    if (device.phase === "refused") await configureAgain(core, device);
    else await drop(core, device);
  }
}

async function drop(core: GuestCore, device: DeviceRef): Promise<void> {
  await finishDetach(core, device);
  // A mark on what the definition does not have.
  await core.update((state) => withPhase(state, device, undefined));
}

async function settlePresent(core: GuestCore, device: DeviceRef): Promise<void> {
  switch (phaseOf(core.state, device)) {
    case "attaching":
      core.unannounced.add(device.id);
      return inBackground(() => detachDevice(core, device, { timeoutMs: core.host.timeouts.letGoMs }));
    case "refused":
      return configureAgain(core, device);
    default:
  }
}
