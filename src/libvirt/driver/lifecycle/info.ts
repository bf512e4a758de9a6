/** What a guest is doing, by libvirt's word, or as it was last known. */
import { isHyperviseError, throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import type { GuestInfo, PowerState } from "../../../driver/index.js";
import { LibvirtError, isLibvirtError } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import { hasGone } from "../migration/guard.js";
import { powerStateOf } from "../power.js";

/** `virDomainGetInfo` and `virDomainGetState`. Never waits longer than `queryMs`; then, and while the daemon is away, the answer is `stale`. */
export async function readInfo(core: GuestCore, options: CommonOptions): Promise<GuestInfo> {
  const { definition, state, domain, host } = core;
  const { memoryMiB, vcpus } = definition;
  const limits = core.limits(options, host.timeouts.queryMs);
  const startedAt = core.inMemory && state.startedAt !== undefined ? { startedAt: state.startedAt } : {};
  const known = { memoryMiB, vcpus, ...startedAt };
  const lastKnown = (): GuestInfo => ({ ...known, state: core.powerState, stale: true });
  if (host.client.connection.state !== "open") return lastKnown();
  try {
    const [told, { cpuTime }] = await Promise.all([domain.getState(limits), domain.getInfo(limits)]);
    const now = powerStateOf(told);
    return {
      ...known,
      state: hasGone(core) ? "shutdown" : settledState(now, core.powerState),
      stale: false,
      ...(core.inMemory ? { cpuTimeNs: cpuTime } : {}),
    };
  } catch (error) {
    throwIfAborted(options.signal, "reading the guest's state");
    if (isLibvirtError(error, "domainNotFound")) return { ...known, state: core.powerState, stale: false };
    if (isAnswer(error)) throw error;
    const impatient = options.deadline !== undefined && options.deadline <= host.timeouts.queryMs;
    if (impatient && isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
    return lastKnown();
  }
}

/** Whether libvirt has refused, and not only failed to answer. */
function isAnswer(error: unknown): boolean {
  return error instanceof LibvirtError && !["connectionLost", "timeout", "busy"].includes(error.kind);
}

/** Of a guest that is not in memory, libvirt alone does not say whether its memory is on disk or that it broke. */
export function settledState(now: PowerState, known: PowerState): PowerState {
  return now === "shutdown" && (known === "suspended" || known === "crashed") ? known : now;
}
