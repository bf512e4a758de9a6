/** Giving vCPUs to a guest and taking them, in memory or not. The first places are always the filled ones, so that their number tells all of them. */
import { InvalidArgumentError, NotSupportedError, throwIfAborted } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { DeviceAttachError, DeviceDetachError } from "../../driver/index.js";
import { QmpCommandError } from "../../qmp/index.js";
import type { QmpArguments } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import { maxVcpus } from "../plan/command-line.js";
import { pinGuest } from "../pinning/pin-guest.js";
import type { GuestSession } from "../session.js";
import { vcpuId, vcpuName, vcpuSlots, withVcpus } from "./vcpu-slots.js";
import type { VcpuSlot } from "./vcpu-slots.js";
import { waitUnplugged } from "./wait-unplugged.js";

/**
 * Gives or takes vCPUs one after the other. Whatever happens, the definition says what the guest has.
 * @throws InvalidArgumentError outside 1 to the guest's most; NotSupportedError (the machine; taking any under TCG, which QEMU does not survive);
 * DeviceAttachError; DeviceDetachError when the guest does not let go of one in time; AbortedError, after which it may still let go of one
 */
export async function setVcpus(core: GuestCore, vcpus: number, options: CommonOptions): Promise<void> {
  const most = maxVcpus(core.definition);
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > most)
    throw new InvalidArgumentError({ field: "vcpus", value: vcpus, expected: `1 to ${most}` });
  const { session } = core;
  if (session === undefined) return core.update((state) => withVcpus(state, vcpus));
  if (vcpus === core.definition.vcpus) return;
  requireHotplug(core, vcpus < core.definition.vcpus);
  const slots = await readSlots(session);
  const filled = slots.filter(({ path }) => path !== undefined);
  for (const slot of slots.filter(({ path }) => path === undefined).slice(0, Math.max(0, vcpus - filled.length)))
    await plugVcpu(core, session, slot, options);
  for (const slot of filled.slice(vcpus).reverse()) await unplugVcpu(core, session, slot, options);
}

/** Takes what QEMU has for what the guest has: after a time in which events were missed, and when a vCPU has left. */
export async function reconcileVcpus(core: GuestCore, session: GuestSession): Promise<void> {
  if (core.state.hardware.machine === "microvm") return;
  const filled = (await readSlots(session)).filter(({ path }) => path !== undefined);
  await core.update((state) => withVcpus(state, filled.length));
}

async function plugVcpu(
  core: GuestCore,
  session: GuestSession,
  slot: VcpuSlot,
  { signal }: CommonOptions,
): Promise<void> {
  throwIfAborted(signal, "giving the guest vCPUs");
  const id = vcpuId(slot.index);
  try {
    const device = { driver: slot.type, id, ...slot.props } as unknown as QmpArguments<"device_add">;
    await session.execute("device_add", device);
  } catch (error) {
    if (!(error instanceof QmpCommandError)) throw error;
    throw new DeviceAttachError("QEMU refuses a vCPU", {
      instance: core.instance,
      device: id,
      cause: error,
      detail: error.desc,
    });
  }
  await core.update((state) => withVcpus(state, slot.index + 1));
  await pinGuest(core, session);
}

async function unplugVcpu(
  core: GuestCore,
  session: GuestSession,
  slot: VcpuSlot,
  options: CommonOptions,
): Promise<void> {
  const { signal, deadline } = options;
  throwIfAborted(signal, "taking vCPUs from the guest");
  const id = vcpuName(slot);
  // Of a vCPU without an id, the guest's refusal names the place alone.
  const gone = Promise.race([core.unplugWait(id), core.unplugWait(vcpuId(slot.index))]);
  const context = { instance: core.instance, device: vcpuId(slot.index) };
  await session.execute("device_del", { id }, { signal }).catch((error: unknown) => {
    if (!(error instanceof QmpCommandError)) throw error;
    throw new DeviceDetachError("QEMU refuses to take a vCPU", { ...context, cause: error, detail: error.desc });
  });
  const timeoutMs = deadline ?? core.host.timeouts.letGoMs;
  const outcome = await waitUnplugged(core, gone, { timeoutMs, signal });
  if (outcome === "detached")
    return core.update((state) => withVcpus(state, Math.min(state.definition.vcpus, slot.index)));
  throw new DeviceDetachError(
    outcome === "refused"
      ? "the guest refuses to let go of a vCPU"
      : "the guest has not let go of a vCPU in time; it still may",
    context,
  );
}

async function readSlots(session: GuestSession): Promise<readonly VcpuSlot[]> {
  return vcpuSlots(await session.execute("query-hotpluggable-cpus"));
}

function requireHotplug(core: GuestCore, shrinking: boolean): void {
  const { machine } = core.state.hardware;
  const { instance } = core;
  if (machine === "microvm") {
    throw new NotSupportedError({
      capability: "hot plug of vCPUs",
      message: `a ${machine} machine has the vCPUs that it was started with`,
      instance,
    });
  }
  if (shrinking && (core.state.process?.accelerator ?? core.host.accelerator) === "tcg") {
    throw new NotSupportedError({
      capability: "hot unplug of vCPUs under TCG",
      message: "QEMU does not survive that a vCPU is taken from a guest under TCG",
      instance,
    });
  }
}
