/** The clock of a guest that has stood still. */
import type { GuestCore } from "../guest-core.js";
import { inBackground } from "../hotplug/background.js";
import type { LibvirtGuestAgent } from "./guest-agent.js";

/**
 * Sets a guest's clock to the host's, by its agent. Nobody waits for it, and it may fail: the guest may have no agent.
 * @param agentIsAway the agent opens its channel anew before it answers
 */
export function setClockSoon(
  core: GuestCore,
  agent: LibvirtGuestAgent | undefined,
  { agentIsAway = false } = {},
): void {
  if (agent === undefined || !core.definition.guestAgent || core.agentConnected === false) return;
  const { agentMs } = core.host.timeouts;
  const isThere = (): true | undefined => (core.agentConnected === true || !core.inMemory ? true : undefined);
  inBackground(async () => {
    if (agentIsAway) await core.until(isThere, { operation: "waiting for the guest agent", deadlineMs: agentMs });
    if (core.inMemory) await agent.setClock();
  });
}
