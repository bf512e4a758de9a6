/** Takes a guest out of memory as part of a larger operation: it is asked, and killed when it does not go. */
import { askToShutDown } from "./shutdown.js";
import type { Guest } from "./guest.js";
import { changePower } from "./operation-steps.js";
import { isInMemory, killGuest, powerStateOf } from "./guest-actions.js";
import type { Operation } from "./operation.js";

/** A failing operation brings the guest's power state back, though not what the guest had in memory. */
export async function stopGuest(operation: Operation, guest: Guest, graceMs: number): Promise<void> {
  const { host, signal } = operation;
  const state = await powerStateOf(guest, signal);
  if (!isInMemory(state)) return;
  operation.progress("shutdown");
  const request = { graceMs, resendMs: host.timeouts.shutdownResendMs, signal };
  await changePower(operation, guest, async () => {
    if (graceMs > 0 && state === "running" && (await askToShutDown(host, guest, request))) return;
    await killGuest(host, guest, signal);
  });
}
