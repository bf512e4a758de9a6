/** Another size of a guest that is not in memory: it starts with it. */
import { asError, traceMessage } from "../../../core/index.js";
import type { GuestDefinition } from "../../../driver/index.js";
import type { GuestCore } from "../guest-core.js";
import { defineDomain } from "../lifecycle/define.js";
import { planOnHost } from "../plan-on-host.js";

/** @throws InvalidArgumentError, NotSupportedError, LibvirtError. Then the old definition stands */
export async function redefineStopped(
  core: GuestCore,
  change: (definition: GuestDefinition) => GuestDefinition,
): Promise<void> {
  const before = core.definition;
  planOnHost(core.host, change(before), core.state);
  await core.update((state) => ({ ...state, definition: change(state.definition) }));
  try {
    await defineDomain(core);
  } catch (error) {
    await core.update((state) => ({ ...state, definition: before }));
    await defineDomain(core).catch((failure: unknown) => {
      traceMessage("hypervise:libvirt:background-failure", () => ({ error: asError(failure).message }));
    });
    throw error;
  }
}
