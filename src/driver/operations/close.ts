/** `close`: lets go of the host, guests run on. */
import type { HostContext } from "../host-context.js";
import { thawAll } from "./guest-agent.js";

const closings = new WeakMap<HostContext, Promise<void>>();

/**
 * Aborts what is under way and waits for it to be undone, at most `closeMs`; what has not ended by then stays in the journal. Thaws what is frozen, lets go of the
 * hypervisor and ends the event streams. A second call joins the first.
 */
export function close(host: HostContext): Promise<void> {
  let closing = closings.get(host);
  if (closing === undefined) {
    closing = closeNow(host);
    closings.set(host, closing);
  }
  return closing;
}

async function closeNow(host: HostContext): Promise<void> {
  const { lifecycle } = host;
  const wasOpen = lifecycle.state === "ready";
  lifecycle.closed();
  try {
    await lifecycle.stopAll(host.clock, host.timeouts.closeMs);
    if (!wasOpen) return;
    await thawAll(host);
    await host.hypervisor.close();
  } finally {
    host.events.close();
  }
}
