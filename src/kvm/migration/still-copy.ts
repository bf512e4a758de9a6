/** Whether a guest may run while its memory is copied: QEMU has to notice all that it writes meanwhile. Pure. */
import type { KvmHost } from "../host.js";
import { versionNumber } from "../plan/capabilities.js";

/** From this QEMU on, TCG tells of every write: before, it forgets some of each pass but the first, and the guest breaks on the destination. */
const TCG_NOTICES = 9_000_000;

/** Whether the guest has to stand still while its memory is copied. */
export function mustStandStill({
  accelerator,
  capabilities,
  migration,
}: Pick<KvmHost, "accelerator" | "capabilities" | "migration">): boolean {
  if (migration.copy === "running") return false;
  return accelerator === "tcg" && versionNumber(capabilities) < TCG_NOTICES;
}
