/** The guest's memory: how much, where it is, and how it comes and goes. Pure. */
import type { GuestDefinition, GuestMemory } from "../../../driver/index.js";
import type { DomainXml, LibvirtXml } from "../../xml/index.js";
import { defined } from "./defined.js";
import { deviceAlias } from "./device-alias.js";
import type { PlanContext } from "./plan-context.js";
import { invalid, unsupported } from "./refuse.js";

const KIB_PER_MIB = 1024;
const DEFAULT_SLOTS = 16;
/** What a transparent huge page of x86 is; memory of virtio-mem comes in such. */
const VIRTIO_MEM_BLOCK_MIB = 2;

type MemoryParts = Pick<DomainXml, "memory" | "maxMemory" | "currentMemory" | "memoryBacking">;

/** How much memory, which guests of all kinds have, and where it is, which only QEMU's can choose. */
export function planMemory(context: PlanContext): MemoryParts {
  const { definition, hardware, family } = context;
  const { memory = {} } = hardware;
  const max = memory.maxMiB !== undefined && memory.maxMiB > definition.memoryMiB ? memory.maxMiB : undefined;
  const virtioMiB = virtioMemMiB(context);
  return defined<MemoryParts>({
    memory: { unit: "MiB", $text: definition.memoryMiB + (virtioMiB ?? 0) },
    maxMemory:
      max === undefined
        ? undefined
        : { slots: virtioMiB === undefined ? (memory.slots ?? DEFAULT_SLOTS) : 1, unit: "MiB", $text: max },
    currentMemory: virtioMiB === undefined ? undefined : { unit: "MiB", $text: definition.memoryMiB },
    memoryBacking: family === "qemu" ? backing(context) : undefined,
  });
}

/** The device that a guest's memory grows by; none where it grows by modules, which are plugged when they are wanted. */
export function planMemoryDevices(context: PlanContext): readonly LibvirtXml.DomainDevicesMemory[] | undefined {
  const sizeMiB = virtioMemMiB(context);
  if (sizeMiB === undefined) return undefined;
  return [
    {
      model: "virtio-mem",
      target: {
        size: { unit: "KiB", $text: sizeMiB * KIB_PER_MIB },
        node: 0,
        block: { unit: "KiB", $text: VIRTIO_MEM_BLOCK_MIB * KIB_PER_MIB },
        requested: { unit: "KiB", $text: 0 },
      },
      alias: { name: deviceAlias("part", "virtio-mem") },
    },
  ];
}

function virtioMemMiB({ definition, hardware, guest }: PlanContext): number | undefined {
  const { maxMiB, hotplug } = hardware.memory ?? {};
  if (hotplug !== "virtio-mem" || maxMiB === undefined || maxMiB <= definition.memoryMiB) return undefined;
  if (guest.arch !== "x86_64")
    throw unsupported("hardware.memory.hotplug", "virtio-mem is planned for on x86-64 alone");
  const size = maxMiB - definition.memoryMiB;
  if (size % VIRTIO_MEM_BLOCK_MIB !== 0)
    throw invalid("hardware.memory.maxMiB", maxMiB, "the memory of the flavor and an even number of MiB");
  return size;
}

/** Whether another process reads the guest's memory: because somebody wants it to, or for a file system over virtiofs or a switch in user space. */
export function needsSharedMemory({ hardware, nics }: Pick<GuestDefinition, "hardware" | "nics">): boolean {
  const { memory = {}, filesystems = [] } = hardware ?? {};
  return memory.shared === true || filesystems.some(({ driver }) => driver === "virtiofs") || usesSwitch({ nics });
}

function usesSwitch({ nics }: Pick<GuestDefinition, "nics">): boolean {
  return nics.some(({ backend }) => backend.type === "vhostUser");
}

function backing(context: PlanContext): LibvirtXml.DomainMemoryBacking | undefined {
  const { hardware, definition, platform } = context;
  const { memory = {} } = hardware;
  const shared = needsSharedMemory(definition);
  if (usesSwitch(definition) && (memory.backing === "anonymous" || memory.shared === false))
    throw invalid(
      memory.backing === "anonymous" ? "hardware.memory.backing" : "hardware.memory.shared",
      memory.backing ?? memory.shared,
      "memory that a switch in user space can read: a NIC is on one",
    );
  const parts = defined<LibvirtXml.DomainMemoryBacking>({
    hugepages: memory.backing === "hugepages" ? hugepages(context, memory) : undefined,
    nosharepages: memory.mergeable === false ? true : undefined,
    // What the processor has encrypted can't be swapped.
    locked: memory.locked === true || platform.launchSecurity !== undefined ? true : undefined,
    source: sourceOf(context, shared),
    access: shared ? { mode: "shared" } : undefined,
    allocation: memory.preallocated === true ? { mode: "immediate" } : undefined,
    discard: memory.backing === "file" ? true : undefined,
  });
  return Object.keys(parts).length === 0 ? undefined : parts;
}

function sourceOf(context: PlanContext, shared: boolean): LibvirtXml.DomainMemoryBackingSource | undefined {
  const { facts, hardware, options } = context;
  const { memory = {} } = hardware;
  const implied = shared && memory.backing !== "hugepages" ? "memfd" : undefined;
  const type = memory.backing === undefined || memory.backing === "hugepages" ? implied : memory.backing;
  if (type === undefined) return undefined;
  if (facts?.memorySources?.includes(type) === false)
    throw unsupported("hardware.memory.backing", `guests on this host can't have memory of the kind ${type}`);
  if (type === "file" && memory.directory !== options.memoryDirectory)
    throw unsupported(
      "hardware.memory.directory",
      options.memoryDirectory === undefined
        ? "guests' memory is in files of a place that libvirt's configuration names; the driver was not told which"
        : `libvirt's configuration has files of guests' memory in ${options.memoryDirectory} alone`,
    );
  return { type };
}

function hugepages({ host, definition }: PlanContext, memory: GuestMemory): LibvirtXml.DomainMemoryBackingHugepages {
  const { hugepageKiB } = memory;
  if (host.hugepagesKiB.length === 0) throw unsupported("hardware.memory.backing", "this host has no huge pages");
  if (hugepageKiB === undefined) return {};
  if (!host.hugepagesKiB.includes(hugepageKiB))
    throw unsupported("hardware.memory.hugepageKiB", `this host has no huge pages of ${hugepageKiB} KiB`);
  if ((definition.memoryMiB * KIB_PER_MIB) % hugepageKiB !== 0)
    throw invalid("hardware.memory.hugepageKiB", hugepageKiB, "a size that divides the guest's memory");
  return { page: [{ size: hugepageKiB, unit: "KiB" }] };
}
