/** Starting a guest whose ports take their time: it stands still until traffic passes. */
import { abortErrorOf, asError, isHyperviseError, joinSignals } from "../core/index.js";
import { VifPlugError } from "../network/index.js";
import { limited, resumeGuest, startGuest } from "./guest-actions.js";
import type { Guest } from "./guest.js";
import type { PluggedVif } from "./instance-record.js";
import { bootGuest, changePower } from "./operation-steps.js";
import type { Operation } from "./operation.js";

/**
 * Where the plugger can say when a port is active, the guest is started paused, and resumed once all of them are (Nova's wait for `network-vif-plugged`); on a hypervisor that can't pause
 * it is started then. A failing operation stops it again. @throws VifPlugError when one does not become active within `vifActiveMs`
 */
export async function bootWhenConnected(
  operation: Operation,
  guest: Guest,
  ports: readonly PluggedVif[],
): Promise<void> {
  const { host, instance, signal } = operation;
  const { vifs } = host.collaborators;
  const waitUntilActive = vifs.waitUntilActive?.bind(vifs);
  if (waitUntilActive === undefined || ports.length === 0) return bootGuest(operation, guest);
  const { vifActiveMs } = host.timeouts;
  const boot = async (limit: AbortSignal): Promise<void> => {
    const stop = new AbortController();
    const { signal: waiting, release } = joinSignals([limit, stop.signal]);
    // Before the start, so that nothing which follows from it is missed.
    const active = Promise.all(ports.map(({ vif }) => waitUntilActive(vif, instance.uuid, { signal: waiting })));
    const settled = active.then(
      () => undefined,
      (error: unknown) => asError(error),
    );
    const connected = async (): Promise<void> => {
      operation.progress("network");
      const failure = await settled;
      if (failure !== undefined) throw failure;
    };
    try {
      operation.progress("boot");
      if (!host.lifecycle.capabilities.features.has("pause")) {
        await connected();
        return await startGuest(host, guest, limit);
      }
      await startGuest(host, guest, limit, { paused: true });
      await connected();
      await resumeGuest(host, guest, limit);
    } finally {
      stop.abort(abortErrorOf(waiting, "waiting for the ports"));
      await settled;
      release();
    }
  };
  await changePower(operation, guest, () =>
    limited(host, vifActiveMs, "waiting for the ports to become active", signal, boot).catch((error: unknown) => {
      if (signal.aborted || !isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
      throw new VifPlugError(`the instance's ports did not become active within ${vifActiveMs} ms`, {
        instance,
        cause: error,
      });
    }),
  );
}
