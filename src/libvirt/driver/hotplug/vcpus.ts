/** Giving vCPUs to a guest and taking them, in memory or not. */
import { InvalidArgumentError, NotSupportedError, throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { DeviceAttachError, DeviceDetachError } from "../../../driver/index.js";
import { LibvirtError } from "../../rpc/index.js";
import { asDriverError } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { readDomainOf } from "./find-device.js";
import { maxVcpus, withVcpus } from "./guest-size.js";
import { redefineStopped } from "./redefine-stopped.js";
import { requireNotSaved } from "./require-state.js";
import { settleSizes } from "./settle-sizes.js";

/**
 * Gives or takes vCPUs, the last first. `virDomainSetVcpusFlags`.
 * @throws InvalidArgumentError outside 1 to the guest's most; NotSupportedError for taking any under TCG, which QEMU does not survive; InvalidStateError while the guest's memory
 * is on disk; DeviceAttachError; DeviceDetachError when the guest does not let go of one: it still may. The definition then says what the guest has
 */
export async function setVcpus(core: GuestCore, vcpus: number, { signal }: CommonOptions): Promise<void> {
  const { definition, host, instance } = core;
  const most = maxVcpus(definition);
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > most)
    throw new InvalidArgumentError({ field: "vcpus", value: vcpus, expected: `1 to ${most}` });
  requireNotSaved(core, "setVcpus");
  throwIfAborted(signal, "changing the guest's vCPUs");
  if (vcpus === definition.vcpus) return;
  if (!core.inMemory) return redefineStopped(core, (current) => withVcpus(current, vcpus));
  const fewer = vcpus < definition.vcpus;
  if (fewer && host.options.virtType === "qemu")
    throw new NotSupportedError({
      capability: "hot unplug of vCPUs under TCG",
      message: "QEMU does not survive that a vCPU is taken from a guest under TCG",
      instance,
    });
  await core.devices.whileSizing(async () => {
    try {
      await core.domain.setVcpusFlags(vcpus, { flags: ["live", "config"], deadlineMs: host.timeouts.callMs });
    } catch (error) {
      await followGuest(core).catch(() => undefined);
      // What failed may have been done.
      if (core.definition.vcpus === vcpus) return;
      throw explain(core, error, fewer);
    }
    await core.update((state) => ({ ...state, definition: withVcpus(state.definition, vcpus) }));
  });
}

/** The guest may have got or given back some of them; it starts again with what it has. */
async function followGuest(core: GuestCore): Promise<void> {
  await settleSizes(core, await readDomainOf(core, "live"));
  const { vcpus } = core.definition;
  await core.domain.setVcpusFlags(vcpus, { flags: ["config"], deadlineMs: core.host.timeouts.callMs });
}

function explain({ instance }: GuestCore, thrown: unknown, fewer: boolean): Error {
  const error = asDriverError(thrown, { operation: "setVcpus", instance });
  if (!(error instanceof LibvirtError)) return error;
  const context = { instance, cause: error, ...(error.detail === undefined ? {} : { detail: error.detail }) };
  if (fewer) return new DeviceDetachError("the guest has not let go of a vCPU; it still may", context);
  return new DeviceAttachError("libvirt did not give the guest a vCPU", context);
}
