/** Taking devices out of a guest. A device's back end goes only when QEMU has said that the device itself is gone. */
import { DeviceDetachError } from "../../driver/index.js";
import type { DetachOptions, DetachOutcome, GuestNic } from "../../driver/index.js";
import { QmpCommandError, isQmpCommandError } from "../../qmp/index.js";
import { diskPurpose, revokePurpose } from "../access/grant-access.js";
import { closeDisk } from "../block/nodes.js";
import type { GuestCore } from "../guest-core.js";
import { nicBackend, nicSocket } from "../plan/devices.js";
import { bindingOf, withPhase } from "../plan/hardware.js";
import type { DeviceBinding } from "../plan/hardware.js";
import type { GuestSession } from "../session.js";
import { memoryBackend } from "../plan/memory-slots.js";
import { withoutDevice } from "../state/state-changes.js";
import { keepAsking } from "./keep-asking.js";
import { isVcpuName } from "./vcpu-slots.js";
import { reconcileVcpus } from "./vcpus.js";
import { waitUnplugged } from "./wait-unplugged.js";

/**
 * Takes a disk, NIC or device out of a guest and of its definition, in memory or not. Called again while the guest has not let go, goes on waiting.
 * @throws DeviceDetachError when QEMU refuses at once; AbortedError, after which the guest may still let go
 */
export async function detachDevice(
  core: GuestCore,
  kind: "disk" | "nic" | "device",
  id: string,
  options: DetachOptions,
): Promise<DetachOutcome> {
  const binding = bindingOf(core.state.hardware, kind, id);
  const { session } = core;
  if (session === undefined || binding === undefined) {
    const { disks, nics, hardware } = core.definition;
    const there = { disk: disks, nic: nics, device: hardware?.devices ?? [] }[kind];
    if (!there.some((device) => device.id === id)) return "absent";
    await core.update((state) => withoutDevice(state, binding ?? { kind, id, handle: "" }));
    return "detached";
  }
  return unplug(core, session, binding, options);
}

/** Asks QEMU to take a device out, and waits for the guest; see {@link detachDevice}. */
export async function unplug(
  core: GuestCore,
  session: GuestSession,
  binding: DeviceBinding,
  options: DetachOptions,
): Promise<DetachOutcome> {
  const { handle } = binding;
  const asked = binding.phase === "detaching";
  // Before the command: its outcome may be known before its answer.
  const gone = core.unplugWait(handle);
  await setPhase(core, handle, "detaching");
  try {
    await session.execute(
      "device_del",
      { id: handle },
      { signal: options.signal, deadlineMs: core.host.timeouts.commandMs },
    );
  } catch (error) {
    if (isQmpCommandError(error, "DeviceNotFound")) await finishUnplug(core, handle);
    else if (core.session !== session) return "detached";
    // A device that is being unplugged already may be refused a second time; which error that is, only its text would tell.
    else if (!(asked && error instanceof QmpCommandError)) {
      if (error instanceof QmpCommandError) await setPhase(core, handle, undefined);
      throw asDetachError(core, binding, error);
    }
  }
  const stopAsking = keepAsking(core, session, handle);
  try {
    return await waitUnplugged(core, gone, options);
  } finally {
    stopAsking();
  }
}

/**
 * A device has left QEMU, asked or not: removes what it stood on, and the device from definition and hardware. Repeatable; calls for one device
 * that overlap are one.
 */
export function finishUnplug(core: GuestCore, handle: string): Promise<void> {
  const running = core.finishing.get(handle);
  if (running !== undefined) return running;
  const work = finish(core, handle).finally(() => core.finishing.delete(handle));
  core.finishing.set(handle, work);
  return work;
}

async function finish(core: GuestCore, handle: string): Promise<void> {
  if (isVcpuName(handle) && core.session !== undefined) await reconcileVcpus(core, core.session);
  const binding = core.bindingOfHandle(handle);
  if (binding === undefined || core.plugging.has(handle)) return core.settleUnplug(handle, "detached");
  const { session } = core;
  const nic = core.definition.nics.find(({ id }) => binding.kind === "nic" && id === binding.id);
  if (session !== undefined) await removeBackend(session, binding, nic);
  if (binding.kind === "disk") await revokePurpose(core, diskPurpose(binding.id));
  await core.update((state) => withoutDevice(state, binding));
  core.settleUnplug(handle, "detached");
  if (binding.kind !== "controller" && binding.kind !== "memory" && !core.unannounced.delete(handle))
    core.emit({ type: "deviceDetached", device: binding.id });
}

/** Removes the block nodes, the network back end or the memory of a device that is gone; success when there are none. */
export async function removeBackend(
  session: GuestSession,
  { kind, handle }: Pick<DeviceBinding, "kind" | "handle">,
  nic?: Pick<GuestNic, "backend">,
): Promise<void> {
  if (session.process.over) return;
  if (kind === "disk") return closeDisk(session, handle);
  try {
    if (kind === "nic") await session.execute("netdev_del", { id: nicBackend(handle) });
    if (kind === "memory") await session.execute("object-del", { id: memoryBackend(handle) });
  } catch (error) {
    if (!(error instanceof QmpCommandError)) throw error;
    if (await hasBackend(session, kind, handle, error)) throw error;
  }
  if (nic?.backend.type === "vhostUser") await removeSocket(session, handle);
}

/** Removes the socket to a switch in user space; success when there is none. */
export async function removeSocket(session: GuestSession, handle: string): Promise<void> {
  if (session.process.over) return;
  const present = await session.execute("query-chardev");
  if (present.some(({ label }) => label === nicSocket(handle)))
    await session.execute("chardev-remove", { id: nicSocket(handle) });
}

/** What is missing fails as any other failure does, but for a network back end. */
async function hasBackend(
  session: GuestSession,
  kind: DeviceBinding["kind"],
  handle: string,
  error: QmpCommandError,
): Promise<boolean> {
  if (kind === "nic") return error.errorClass !== "DeviceNotFound";
  const objects = await session.execute("qom-list", { path: "/objects" });
  return objects.some(({ name }) => name === memoryBackend(handle));
}

async function setPhase(core: GuestCore, handle: string, phase: DeviceBinding["phase"]): Promise<void> {
  await core.update((state) => {
    const present = state.hardware.bindings.find((binding) => binding.handle === handle);
    return present === undefined || present.phase === phase
      ? state
      : { ...state, hardware: withPhase(state.hardware, handle, phase) };
  });
}

function asDetachError(core: GuestCore, { id }: DeviceBinding, error: unknown): unknown {
  if (!(error instanceof QmpCommandError)) return error;
  return new DeviceDetachError("QEMU refuses to take the device out", {
    instance: core.instance,
    device: id,
    cause: error,
    detail: error.desc,
  });
}
