/** Work that an event has caused. */
import { asError, traceMessage } from "../../../core/index.js";

/** Does what nobody waits for. What fails is made good at the next look at the guest. */
export function inBackground(work: () => Promise<unknown>): void {
  work().catch((error: unknown) => {
    traceMessage("hypervise:libvirt:background-failure", () => ({ error: asError(error).message }));
  });
}
