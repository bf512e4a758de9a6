/** Memory beside that which a guest boots with: modules in slots, or one virtio-mem device. Pure. */
import type { GuestDefinition, GuestMemory } from "../../driver/index.js";
import type { DeviceBinding, Hardware } from "./hardware-layout.js";
import type { JsonObject } from "../../core/index.js";

/** Id and handle of the virtio-mem device. */
export const VIRTIO_MEM = "virtiomem0";

/** What memory can be plugged in and out by: x86 guests take it in blocks of this. */
export const MEMORY_STEP_MIB = 128;

/** Slots of a guest that can be given memory and doesn't say how many. */
const DEFAULT_MEMORY_SLOTS = 16;

const BYTES_PER_MIB = 1_048_576;

type MemoryOf = Pick<GuestDefinition, "memoryMiB" | "hardware">;

/** Most that the guest may have, MiB. */
export function maxMemoryMiB({ memoryMiB, hardware }: MemoryOf): number {
  return Math.max(memoryMiB, hardware?.memory?.maxMiB ?? memoryMiB);
}

/** Slots for memory modules; 0 for a guest that can't be given memory. */
export function memorySlots(definition: MemoryOf): number {
  const memory = definition.hardware?.memory;
  if (memory?.maxMiB === undefined || memory.hotplug === "virtio-mem") return 0;
  return memory.slots ?? DEFAULT_MEMORY_SLOTS;
}

/** Whether the guest has a virtio-mem device. */
export function wantsVirtioMem({ memoryMiB, hardware }: MemoryOf): boolean {
  const memory = hardware?.memory;
  return memory?.hotplug === "virtio-mem" && (memory.maxMiB ?? 0) > memoryMiB;
}

/** Memory that the guest boots with, MiB. */
export function bootMemoryMiB(definition: MemoryOf, { bootMemoryMiB: noted }: Pick<Hardware, "bootMemoryMiB">): number {
  return noted ?? definition.memoryMiB;
}

/** Of an earlier start's plugged memory, that which the definition still counts: all or nothing. */
export function keptMemory(
  definition: MemoryOf,
  previous: Pick<Hardware, "bindings" | "bootMemoryMiB"> | undefined,
): Pick<Hardware, "bindings" | "bootMemoryMiB"> {
  const bindings = previous?.bindings.filter(({ kind }) => kind === "memory") ?? [];
  const boot = previous?.bootMemoryMiB;
  if (boot === undefined || bindings.length === 0) return { bindings: [] };
  const plugged = bindings.reduce((sum, { sizeMiB = 0 }) => sum + sizeMiB, 0);
  const fits =
    boot + plugged === definition.memoryMiB &&
    bindings.every(({ pool, slot, id }) =>
      pool === "dimm" ? slot < memorySlots(definition) : id === VIRTIO_MEM && isVirtioMem(definition),
    );
  return fits ? { bindings, bootMemoryMiB: boot } : { bindings: [] };
}

function isVirtioMem({ hardware }: MemoryOf): boolean {
  return hardware?.memory?.hotplug === "virtio-mem";
}

/** The guest's choices with what follows from them: a file system over virtiofs and a switch in user space need memory that their process can map. */
export function memoryOf({ hardware, nics }: Pick<GuestDefinition, "hardware" | "nics">): GuestMemory {
  const memory = hardware?.memory ?? {};
  const virtiofs = hardware?.filesystems?.some(({ driver }) => driver === "virtiofs") === true;
  const vhostUser = nics.some(({ backend }) => backend.type === "vhostUser");
  return virtiofs || vhostUser ? { ...memory, backing: memory.backing ?? "memfd", shared: true } : memory;
}

/** Id of the back end of memory that is plugged. */
export function memoryBackend(handle: string): string {
  return `${handle}-ram`;
}

/** Where the bytes of plugged memory are: of the same kind as those that the guest boots with. */
export function memoryObject(id: string, sizeMiB: number, memory: GuestMemory = {}): JsonObject {
  const { backing = "anonymous", hugepageKiB, directory, shared, preallocated, mergeable, hotplug } = memory;
  const common = {
    id,
    size: sizeMiB * BYTES_PER_MIB,
    ...(shared === true ? { share: true } : {}),
    ...(mergeable === false ? { merge: false } : {}),
    dump: false,
    // Of a virtio-mem device only that which the guest was given is ever taken.
    ...(hotplug === "virtio-mem" ? { reserve: false } : preallocated === true ? { prealloc: true } : {}),
  };
  switch (backing) {
    case "anonymous":
      return { "qom-type": "memory-backend-ram", ...common };
    case "memfd":
      return { "qom-type": "memory-backend-memfd", ...common };
    case "hugepages":
      return {
        "qom-type": "memory-backend-memfd",
        ...common,
        hugetlb: true,
        ...(hugepageKiB === undefined ? {} : { hugetlbsize: hugepageKiB * 1024 }),
      };
    case "file":
      return { "qom-type": "memory-backend-file", ...common, "mem-path": directory ?? "/dev/shm" };
  }
}

/** The device that plugged memory is to QEMU. */
export function memoryDevice(binding: DeviceBinding, address: JsonObject): JsonObject {
  const { handle, pool, slot, sizeMiB = 0 } = binding;
  const common = { id: handle, memdev: memoryBackend(handle) };
  if (pool === "dimm") return { driver: "pc-dimm", ...common, slot };
  return { driver: "virtio-mem-pci", ...common, "requested-size": sizeMiB * BYTES_PER_MIB, ...address };
}

/** How large the back end of plugged memory is, MiB: a virtio-mem device's holds all that the guest may ever have. */
export function memoryObjectMiB(binding: DeviceBinding, definition: MemoryOf, hardware: Hardware): number {
  if (binding.pool === "dimm") return binding.sizeMiB ?? 0;
  const room = maxMemoryMiB(definition) - bootMemoryMiB(definition, hardware);
  return Math.floor(room / MEMORY_STEP_MIB) * MEMORY_STEP_MIB;
}
