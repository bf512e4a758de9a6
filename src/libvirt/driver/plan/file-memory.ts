/** Hosts where the memory of all guests is in files. Pure. */
import type { GuestDefinition } from "../../../driver/index.js";
import type { DomainPlanOptions } from "./plan-options.js";
import { unsupported } from "./refuse.js";

/** The definition with its memory in files: shared, so that the files have what the guest writes, and there from the start. @throws NotSupportedError for other memory */
export function withFileMemory(
  definition: GuestDefinition,
  { memoryDirectory: directory }: Pick<DomainPlanOptions, "memoryDirectory">,
): GuestDefinition {
  const { memory = {}, ...hardware } = definition.hardware ?? {};
  if (memory.backing !== undefined && memory.backing !== "file")
    throw unsupported("hardware.memory.backing", "the memory of all guests of this host is in files");
  if (memory.shared === false) throw unsupported("hardware.memory.shared", "guests' memory in files is shared");
  const place = directory === undefined ? {} : { directory };
  const files = {
    ...place,
    ...memory,
    backing: "file",
    shared: true,
    preallocated: memory.preallocated ?? true,
  } as const;
  return { ...definition, hardware: { ...hardware, memory: files } };
}
