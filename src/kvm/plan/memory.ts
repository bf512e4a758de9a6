/** Where the memory that a guest boots with is, and how it is spread over NUMA nodes. Pure. */
import type { JsonObject } from "../../core/index.js";
import type { GuestDefinition, GuestMemory, GuestNumaCell } from "../../driver/index.js";
import { object } from "./arguments.js";
import type { Hardware } from "./hardware.js";
import { bootMemoryMiB, memoryObject, memoryOf } from "./memory-slots.js";

/** Id of the back end of all memory of a guest without NUMA nodes. */
const WHOLE = "ram0";

export interface BootMemory {
  readonly args: readonly string[];
  /** A member of `-machine` that names the back end of all memory; undefined where QEMU or NUMA nodes have their own. */
  readonly machineOption?: string;
}

/** The back ends of the memory that a guest boots with. */
export function bootMemory(definition: GuestDefinition, hardware: Hardware): BootMemory {
  const memory = memoryOf(definition);
  const sizeMiB = bootMemoryMiB(definition, hardware);
  const cells = definition.hardware?.cpu?.numaCells;
  const lock = memory.locked === true ? ["-overcommit", "mem-lock=on"] : [];
  if (cells !== undefined) return { args: [...lock, ...numa(spread(cells, sizeMiB), memory)] };
  if (!needsBackEnd(memory)) return { args: lock };
  return {
    args: [...lock, ...object(memoryObject(WHOLE, sizeMiB, bootOf(memory)))],
    machineOption: `memory-backend=${WHOLE}`,
  };
}

function needsBackEnd({ backing = "anonymous", shared, preallocated }: GuestMemory): boolean {
  return backing !== "anonymous" || shared === true || preallocated === true;
}

/** Boot memory is taken and dumped like any memory of the guest, however more of it is plugged. */
function bootOf({ hotplug: _hotplug, ...memory }: GuestMemory): GuestMemory {
  return memory;
}

function numa(cells: readonly GuestNumaCell[], memory: GuestMemory): string[] {
  return cells.flatMap((cell, node) => {
    const id = `ram${node}`;
    const host: JsonObject =
      cell.hostNodes === undefined ? {} : { "host-nodes": [...cell.hostNodes], policy: cell.policy ?? "bind" };
    const cpus = cell.vcpus.map((vcpu) => `,cpus=${vcpu}`).join("");
    return [
      ...object({ ...memoryObject(id, cell.memoryMiB, bootOf(memory)), ...host }),
      "-numa",
      `node,nodeid=${node}${cpus},memdev=${id}`,
    ];
  });
}

/** What a guest was given or lost since its cells were drawn up, the first has or lacks. */
function spread(cells: readonly GuestNumaCell[], sizeMiB: number): readonly GuestNumaCell[] {
  const sum = cells.reduce((total, cell) => total + cell.memoryMiB, 0);
  return cells.map((cell, index) => (index === 0 ? { ...cell, memoryMiB: cell.memoryMiB + sizeMiB - sum } : cell));
}
