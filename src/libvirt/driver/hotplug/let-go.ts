/** The end of a device: it has left the guest, whoever asked for it. */
import { isLibvirtError } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import { dropSecrets, secretUsesOf } from "../secrets.js";
import type { SecretUse } from "../secrets.js";
import { writeMetadata } from "../write-metadata.js";
import { hasDevice, isTagged, phaseOf, withPhase, withoutDevice } from "./alter-definition.js";
import type { DeviceRef } from "./alter-definition.js";
import { findDevice, readDomainOf } from "./find-device.js";

/**
 * Takes a device that has left the guest out of libvirt's configuration and of the definition, with the secrets that nothing else needs. Repeatable.
 * @throws LibvirtError; then it is still in the definition, and the next look at the guest does it again
 */
export function finishDetach(core: GuestCore, device: DeviceRef): Promise<void> {
  return core.devices.alone(device, async () => {
    if (!hasDevice(core.definition, device)) return;
    const wasAttached = phaseOf(core.state, device) !== "attaching";
    const wasTagged = isTagged(core.definition, device);
    await takeFromConfiguration(core, device);
    core.devices.takeConfigured(device);
    await dropSecrets(core.host, core.instance.uuid, secretsOfAlone(core, device));
    await core.update((state) =>
      withPhase({ ...state, definition: withoutDevice(state.definition, device) }, device, undefined),
    );
    await core.host.mediated.release(core);
    // The tag of a device that is gone is in nobody's way; the next definition does without.
    if (wasTagged) await writeMetadata(core, core.definition).catch(() => undefined);
    const silent = core.unannounced.delete(device.id);
    if (core.inMemory && wasAttached && !silent) core.emit({ type: "deviceDetached", device: device.id });
    core.notify({ type: "view" });
  });
}

/** Takes a device out of what the guest starts with; success where it is not in it. */
export async function takeFromConfiguration(core: GuestCore, device: DeviceRef): Promise<void> {
  const { domain, host } = core;
  const limits = { deadlineMs: host.timeouts.callMs };
  try {
    const found = findDevice(core, await readDomainOf(core, "configured", limits), device);
    if (found === undefined) return;
    core.devices.keepConfigured(device, found.xml);
    if (found.alias === undefined) await domain.detachDeviceFlags(found.xml, { flags: ["config"], ...limits });
    else await domain.detachDeviceAlias(found.alias, { flags: ["config"], ...limits });
  } catch (error) {
    if (isLibvirtError(error, "domainNotFound")) return;
    // What failed may have been done.
    if (await isConfigured(core, device).catch(() => true)) throw error;
  }
}

async function isConfigured(core: GuestCore, device: DeviceRef): Promise<boolean> {
  return findDevice(core, await readDomainOf(core, "configured"), device) !== undefined;
}

/** Whether a guest in memory has let go of a device; then all of it goes. */
export async function finishIfGone(core: GuestCore, device: DeviceRef): Promise<boolean> {
  const domain = await readDomainOf(core, "live").catch((error: unknown) => {
    if (!isLibvirtError(error, "domainNotFound")) throw error;
  });
  if (domain !== undefined && findDevice(core, domain, device) !== undefined) return false;
  await finishDetach(core, device);
  return true;
}

/** Secrets that nothing else of the guest needs. */
export function secretsOfAlone({ definition }: Pick<GuestCore, "definition">, device: DeviceRef): readonly SecretUse[] {
  if (device.kind !== "disk") return [];
  const others = definition.disks.filter(({ id }) => id !== device.id);
  const needed = new Set(secretUsesOf(others.map(({ source }) => source)).map(({ secretId }) => secretId));
  const own = definition.disks.filter(({ id }) => id === device.id);
  return secretUsesOf(own.map(({ source }) => source)).filter(({ secretId }) => !needed.has(secretId));
}
