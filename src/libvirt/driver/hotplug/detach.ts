/** Taking a device out of a guest: from its configuration first, then from the guest, when that lets go of it. */
import { isHyperviseError } from "../../../core/index.js";
import type { DetachOptions, DetachOutcome } from "../../../driver/index.js";
import { LibvirtError, isLibvirtError, libvirtErrorKind } from "../../rpc/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { findDisk, findNic, readDomain } from "../plan/index.js";
import type { FoundDisk, FoundNic } from "../plan/index.js";
import { formatDeviceXml, parseDomainXml } from "../../xml/index.js";
import { dropSecrets, secretUsesOf } from "../secrets.js";
import { withoutDevice } from "./alter-definition.js";
import type { DeviceKind } from "./alter-definition.js";

/** `virDomainDetachDeviceFlags` and `virDomainDetachDeviceAlias`. */
export async function detachDevice(
  core: GuestCore,
  kind: DeviceKind,
  id: string,
  options: DetachOptions,
): Promise<DetachOutcome> {
  const { definition, instance, host } = core;
  const operation = kind === "disk" ? "detachDisk" : "detachNic";
  const outcome = await asDriverErrors({ operation, instance }, () => takeOut(core, kind, id, options));
  if (outcome === "detached" || outcome === "absent") {
    const next = withoutDevice(core.definition, kind, id);
    const uses = secretUsesOf(
      definition.disks.filter((disk) => kind === "disk" && disk.id === id).map(({ source }) => source),
    );
    const still = new Set(secretUsesOf(next.disks.map(({ source }) => source)).map(({ secretId }) => secretId));
    await core.update((state) => ({ ...state, definition: withoutDevice(state.definition, kind, id) }));
    await dropSecrets(
      host,
      instance.uuid,
      uses.filter(({ secretId }) => !still.has(secretId)),
    );
  }
  return outcome;
}

/** Takes the device out of libvirt's domain; the definition is left alone. */
export async function takeOut(
  core: GuestCore,
  kind: DeviceKind,
  id: string,
  options: DetachOptions,
): Promise<DetachOutcome> {
  const { domain } = core;
  const limits = core.limits(options);
  const configured = await find(core, kind, id, "inactive", limits);
  if (configured !== undefined) {
    const xml =
      "target" in configured && kind === "disk"
        ? formatDeviceXml("disk", (configured as FoundDisk).xml)
        : formatDeviceXml("interface", (configured as FoundNic).xml);
    await domain.detachDeviceFlags(xml, { flags: ["config"], ...limits }).catch(ignoreAbsent);
  }
  if (!core.inMemory) return configured === undefined ? "absent" : "detached";
  const live = await find(core, kind, id, "live", limits);
  const alias = live?.alias;
  if (alias === undefined) return configured === undefined ? "absent" : "detached";
  const listener = core.listen();
  try {
    await domain.detachDeviceAlias(alias, { flags: ["live"], ...limits }).catch((error: unknown) => {
      // A second request while the first is pending.
      if (
        !isLibvirtError(error, "busy") &&
        !(
          error instanceof LibvirtError &&
          libvirtErrorKind({ code: error.libvirtCode, domain: error.domain }) === "other"
        )
      )
        return ignoreAbsent(error);
    });
    return await listener.until<DetachOutcome>(
      async (signal) => {
        if (signal?.type === "deviceRemoved" && signal.alias === alias) return "detached";
        if (signal?.type === "deviceRemovalFailed" && signal.alias === alias) return "refused";
        if (signal !== undefined && signal.type !== "gap" && signal.type !== "view") return undefined;
        if (!core.inMemory) return "detached";
        return (await find(core, kind, id, "live", limits)) === undefined ? "detached" : undefined;
      },
      { operation: `waiting until the guest lets go of ${id}`, deadlineMs: options.timeoutMs, signal: options.signal },
    );
  } catch (error) {
    if (isHyperviseError(error, "DEADLINE_EXCEEDED")) return "pending";
    throw error;
  } finally {
    listener.close();
  }
}

async function find(
  core: GuestCore,
  kind: DeviceKind,
  id: string,
  where: "inactive" | "live",
  limits: { readonly signal: AbortSignal | undefined; readonly deadlineMs: number },
): Promise<FoundDisk | FoundNic | undefined> {
  const xml = await core.domain.getXmlDesc({ flags: where === "inactive" ? ["inactive"] : [], ...limits });
  const found = readDomain(parseDomainXml(xml));
  const { definition } = core;
  if (kind === "disk") return findDisk(found, id, definition.disks.find((disk) => disk.id === id)?.serial);
  return findNic(found, id, definition.nics.find((nic) => nic.id === id)?.macAddress);
}

function ignoreAbsent(error: unknown): void {
  if (
    error instanceof LibvirtError &&
    libvirtErrorKind({ code: error.libvirtCode, domain: error.domain }, { detaching: true }) === "deviceNotFound"
  )
    return;
  throw error;
}
