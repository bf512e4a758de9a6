/** What earlier operations on an instance could neither undo nor finish. */
import type { HostContext } from "./host-context.js";

/** Tries once more; resolves to what still fails. Call it within the instance's turn. */
export async function settleLeftovers(host: HostContext, uuid: string): Promise<readonly Error[]> {
  if (!host.unsettled.has(uuid)) return [];
  const report = await host.journal.recover(host.completions, (operation) => operation.instanceUuid === uuid);
  if (report.clean) host.unsettled.delete(uuid);
  return report.operations.flatMap((operation) => operation.errors);
}
