/** Taking devices out of a guest. A device's back end goes only when QEMU has said that the device itself is gone. */
import { DeadlineExceededError, withDeadline } from "../../core/index.js";
import { DeviceDetachError } from "../../driver/index.js";
import type { DetachOptions, DetachOutcome } from "../../driver/index.js";
import { QmpCommandError, isQmpCommandError } from "../../qmp/index.js";
import type { GuestCore, UnplugOutcome } from "../guest-core.js";
import { diskNode, nicBackend } from "../plan/devices.js";
import { bindingOf, withPhase } from "../plan/hardware.js";
import type { DeviceBinding } from "../plan/hardware.js";
import type { GuestSession } from "../session.js";
import { withoutDevice } from "../state/state-changes.js";

/**
 * Takes a disk or NIC out of a guest and of its definition, in memory or not. Called again while the guest has not let go, goes on waiting.
 * @throws DeviceDetachError when QEMU refuses at once; AbortedError, after which the guest may still let go
 */
export async function detachDevice(
  core: GuestCore,
  kind: "disk" | "nic",
  id: string,
  options: DetachOptions,
): Promise<DetachOutcome> {
  const binding = bindingOf(core.state.hardware, kind, id);
  const { session } = core;
  if (session === undefined || binding === undefined) {
    const { disks, nics } = core.definition;
    if (![...(kind === "disk" ? disks : nics)].some((device) => device.id === id)) return "absent";
    await core.update((state) => withoutDevice(state, binding ?? { kind, id, handle: "" }));
    return "detached";
  }
  return unplug(core, session, binding, options);
}

async function unplug(
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
  return await waitUnplugged(core, gone, options);
}

async function waitUnplugged(
  core: GuestCore,
  gone: Promise<UnplugOutcome>,
  options: DetachOptions,
): Promise<DetachOutcome> {
  const { timeoutMs, signal } = options;
  try {
    return await withDeadline(
      timeoutMs,
      { operation: "waiting for the guest to let go", clock: core.host.clock, signal },
      () => gone,
    );
  } catch (error) {
    if (error instanceof DeadlineExceededError && signal?.aborted !== true) return "pending";
    throw error;
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
  const binding = core.bindingOfHandle(handle);
  if (binding === undefined || core.plugging.has(handle)) return core.settleUnplug(handle, "detached");
  const { session } = core;
  if (session !== undefined) await removeBackend(session, binding);
  await core.update((state) => withoutDevice(state, binding));
  core.settleUnplug(handle, "detached");
  if (binding.kind !== "controller") core.emit({ type: "deviceDetached", device: binding.id });
}

/** Removes the block nodes or the network back end of a device that is gone; success when there are none. */
export async function removeBackend(
  session: GuestSession,
  { kind, handle }: Pick<DeviceBinding, "kind" | "handle">,
): Promise<void> {
  if (session.process.over) return;
  try {
    if (kind === "disk") await session.execute("blockdev-del", { "node-name": diskNode(handle) });
    if (kind === "nic") await session.execute("netdev_del", { id: nicBackend(handle) });
  } catch (error) {
    if (!(error instanceof QmpCommandError)) throw error;
    const absent =
      kind === "nic" ? error.errorClass === "DeviceNotFound" : !(await nodeExists(session, diskNode(handle)));
    if (!absent) throw error;
  }
}

/** `blockdev-del` of an unknown node fails as any other failure does. */
async function nodeExists(session: GuestSession, name: string): Promise<boolean> {
  const nodes = await session.execute("query-named-block-nodes", { flat: true });
  return nodes.some((node) => node["node-name"] === name);
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
