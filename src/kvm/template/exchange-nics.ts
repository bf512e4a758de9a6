/**
 * A guest's memory knows the NICs of another guest, addresses and all, and would use them. It is cut off before it runs, and given NICs of its own in their place: only so does its operating system see
 * their addresses.
 */
import { throwIfAborted } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { GuestStartError } from "../../driver/index.js";
import type { GuestNic } from "../../driver/index.js";
import type { GuestCore } from "../guest-core.js";
import { plugNic } from "../hotplug/plug.js";
import { detachDevice } from "../hotplug/unplug.js";
import { nicBackend } from "../plan/devices.js";
import { bindingOf } from "../plan/hardware.js";
import type { GuestSession } from "../session.js";

/** Takes the link from all NICs at the host's end, where reading the memory does not put it back. What runs in the guest would go on speaking by the addresses that it had. */
export async function silenceNics(
  core: GuestCore,
  session: GuestSession,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const { kind, handle } of core.state.hardware.bindings)
    if (kind === "nic") await session.execute("set_link", { name: nicBackend(handle), up: false }, { signal });
}

/**
 * Has the guest let go of all its NICs, then gives it `nics`, each where the one of its id was: so the guest's names for them stay.
 * @throws GuestStartError when it does not let go of one in time; what plugging throws
 */
export async function exchangeNics(
  core: GuestCore,
  nics: readonly GuestNic[],
  { signal }: CommonOptions,
): Promise<void> {
  const places = nics.map(({ id }) => bindingOf(core.state.hardware, "nic", id));
  const outcomes = await Promise.allSettled(nics.map(({ id }) => letGo(core, id, signal)));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  throwIfAborted(signal, "giving the guest its NICs");
  for (const [index, nic] of nics.entries()) await plugNic(core, nic, { signal }, places[index]);
}

async function letGo(core: GuestCore, id: string, signal: AbortSignal | undefined): Promise<void> {
  const handle = bindingOf(core.state.hardware, "nic", id)?.handle ?? "";
  core.unannounced.add(handle);
  try {
    const outcome = await detachDevice(core, "nic", id, { timeoutMs: core.host.timeouts.letGoMs, signal });
    if (outcome === "detached" || outcome === "absent") return;
    throw new GuestStartError("the guest does not let go of a NIC of its template", {
      instance: core.instance,
      device: id,
      detail: outcome,
      remedy: "Save the template once the guest's operating system has booted.",
    });
  } finally {
    core.unannounced.delete(handle);
  }
}
