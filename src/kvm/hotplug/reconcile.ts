/** What a guest has been given and what QEMU has, brought together again after a time in which events were missed. */
import type { GuestCore } from "../guest-core.js";
import { PARTS } from "../plan/command-line.js";
import { withPhase } from "../plan/hardware.js";
import type { DeviceBinding } from "../plan/hardware.js";
import type { GuestSession } from "../session.js";
import { withoutDevice } from "../state/state-changes.js";
import { finishUnplug, removeBackend } from "./unplug.js";
import { reconcileVcpus } from "./vcpus.js";
import { reconcileVirtioMem } from "./virtio-mem.js";

/**
 * Finishes what an earlier process, or this one while it was deaf, has left half-done: a device that QEMU has is the guest's; one that it does not
 * have, any more or yet, is taken out of the definition with what it stood on. The guest keeps running.
 */
export async function reconcileDevices(core: GuestCore): Promise<void> {
  const { session } = core;
  if (session === undefined) return;
  const present = new Set((await session.execute("qom-list", { path: "/machine/peripheral" })).map(({ name }) => name));
  for (const binding of core.state.hardware.bindings) {
    if (core.session !== session || core.plugging.has(binding.handle)) continue;
    await settle(core, session, binding, present.has(binding.handle));
  }
  if (core.session !== session) return;
  await reconcileVcpus(core, session);
  await reconcileVirtioMem(core, session);
}

async function settle(core: GuestCore, session: GuestSession, binding: DeviceBinding, present: boolean): Promise<void> {
  const { handle, phase } = binding;
  if (phase === "attaching" && present) {
    await core.update((state) => ({ ...state, hardware: withPhase(state.hardware, handle, undefined) }));
  } else if (phase === "attaching") {
    const nic = core.definition.nics.find(({ id }) => binding.kind === "nic" && id === binding.id);
    await removeBackend(session, binding, nic);
    await core.update((state) => withoutDevice(state, binding));
  } else if (!present) {
    await finishUnplug(core, handle);
  }
}

/** Whether the guest agent has its channel open now. */
export async function queryAgent(session: GuestSession): Promise<boolean> {
  const chardevs = await session.execute("query-chardev");
  return chardevs.find(({ label }) => label === PARTS.agentChardev)?.["frontend-open"] === true;
}
