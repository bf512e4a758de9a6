/** Giving a guest a device, in its configuration and, when it is in memory, at once. */
import { ConflictError } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { DeviceAttachError } from "../../../driver/index.js";
import type { GuestDefinition, GuestDisk, GuestNic } from "../../../driver/index.js";
import { LibvirtError } from "../../rpc/index.js";
import { asDriverError } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { planOptionsOf, planOnHost } from "../plan-on-host.js";
import { planDiskXml, planNicXml } from "../plan/index.js";
import { dropSecrets, provideSecrets, secretUsesOf } from "../secrets.js";
import { withDisk, withNic, withoutDevice } from "./alter-definition.js";
import type { DeviceKind } from "./alter-definition.js";
import { takeOut } from "./detach.js";

/** `virDomainAttachDeviceFlags`. @throws ConflictError, DeviceAttachError, InvalidArgumentError, NotSupportedError. Then the guest has it not */
export async function attachDisk(core: GuestCore, disk: GuestDisk, options: CommonOptions): Promise<void> {
  const { definition, host, state } = core;
  requireNew(core, definition.disks, disk.id);
  const next = withDisk(definition, disk);
  planOnHost(host, next, state);
  const uses = secretUsesOf([disk.source]);
  const known = new Set(secretUsesOf(definition.disks.map(({ source }) => source)).map(({ secretId }) => secretId));
  try {
    await provideSecrets(host, core.instance.uuid, uses, options);
    const xml = planDiskXml(next, disk, host.facts, planOptionsOf(host, next, state));
    await attach(core, { kind: "disk", id: disk.id, next, xml }, options);
  } catch (error) {
    await dropSecrets(
      host,
      core.instance.uuid,
      uses.filter(({ secretId }) => !known.has(secretId)),
    );
    throw error;
  }
}

export async function attachNic(core: GuestCore, nic: GuestNic, options: CommonOptions): Promise<void> {
  const { definition, host, state } = core;
  requireNew(core, definition.nics, nic.id);
  const next = withNic(definition, nic);
  planOnHost(host, next, state);
  const xml = planNicXml(next, nic, host.facts, planOptionsOf(host, next, state));
  await attach(core, { kind: "nic", id: nic.id, next, xml }, options);
}

interface Attachment {
  readonly kind: DeviceKind;
  readonly id: string;
  readonly next: GuestDefinition;
  readonly xml: string;
}

async function attach(core: GuestCore, { kind, id, next, xml }: Attachment, options: CommonOptions): Promise<void> {
  const { host, domain, instance } = core;
  await core.update((state) => ({ ...state, definition: next }));
  try {
    const { deadlineMs } = core.limits(options, host.timeouts.callMs);
    await domain.attachDeviceFlags(xml, { flags: core.inMemory ? ["config", "live"] : ["config"], deadlineMs });
  } catch (error) {
    await takeOut(core, kind, id, { timeoutMs: host.timeouts.letGoMs }).catch(() => undefined);
    await core.update((state) => ({ ...state, definition: withoutDevice(state.definition, kind, id) }));
    const cause = asDriverError(error, { operation: kind === "disk" ? "attachDisk" : "attachNic", instance });
    if (!(cause instanceof LibvirtError)) throw cause;
    throw new DeviceAttachError(`libvirt did not attach ${id}`, { instance, device: id, cause });
  }
}

function requireNew({ instance }: GuestCore, devices: readonly { readonly id: string }[], id: string): void {
  if (devices.some((device) => device.id === id))
    throw new ConflictError(`the guest has a device ${id} already`, { instance, device: id });
}
