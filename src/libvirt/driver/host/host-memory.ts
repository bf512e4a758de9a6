/** The memory that guests are given: how much there is of it, and what its administrator has set aside. */
import { InvalidArgumentError, NotSupportedError, check } from "../../../core/index.js";
import type { GuestDefinition, NumaCell } from "../../../driver/index.js";
import { isLibvirtError } from "../../rpc/index.js";
import type { LibvirtClient } from "../../rpc/index.js";
import { parseCapabilitiesXml } from "../../xml/index.js";
import type { CapabilitiesXml } from "../../xml/index.js";
import type { LibvirtHostFacts } from "../plan/index.js";

/** Huge pages of a NUMA node that guests don't get. */
export interface ReservedHugepages {
  readonly node: number;
  readonly sizeKiB: number;
  readonly count: number;
}

/** What is checked when the driver opens: a mistake shows there, and not with the first guest. */
export interface LibvirtMemoryOptions {
  /** All guests' memory is in files, of which the host has so many MiB: that is what it counts as the memory of its guests. QEMU guests alone, and none of them in huge pages. */
  readonly fileBackedMiB?: number;
  /** At most one entry for each size of each node. */
  readonly reservedHugepages?: readonly ReservedHugepages[];
}

const count = check.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const shape = check.object({
  fileBackedMiB: check.optional(check.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
  reservedHugepages: check.optional(
    check.array(
      check.object({ node: count, sizeKiB: check.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), count }),
      {
        max: 1024,
      },
    ),
  ),
});

/** @throws InvalidArgumentError */
export function resolveMemoryOptions(options: LibvirtMemoryOptions = {}): LibvirtMemoryOptions {
  const resolved = shape(options, "options.memory");
  const seen = new Set<string>();
  for (const [index, { node, sizeKiB }] of (resolved.reservedHugepages ?? []).entries()) {
    const key = `${node} ${sizeKiB}`;
    if (seen.has(key))
      throw new InvalidArgumentError({
        field: `options.memory.reservedHugepages[${index}]`,
        value: key,
        expected: "a node and a size that no other entry has",
      });
    seen.add(key);
  }
  return resolved;
}

/** Whether the host has what its administrator says of it. @throws NotSupportedError, InvalidArgumentError that names the option */
export async function checkHostMemory(
  client: Pick<LibvirtClient, "getCapabilities">,
  { virtType, machines }: Pick<LibvirtHostFacts, "virtType" | "machines">,
  { fileBackedMiB, reservedHugepages = [] }: LibvirtMemoryOptions,
): Promise<void> {
  if (fileBackedMiB !== undefined) {
    const isQemu = virtType === "kvm" || virtType === "qemu";
    if (!isQemu || machines.some(({ memorySources }) => memorySources?.includes("file") === false))
      throw new NotSupportedError({
        capability: "options.memory.fileBackedMiB",
        message: `${virtType} guests of this host can't have memory in files`,
      });
  }
  if (reservedHugepages.length === 0) return;
  const nodes = numaCells(parseCapabilitiesXml(await client.getCapabilities()), []);
  for (const [index, { node, sizeKiB, count: reserved }] of reservedHugepages.entries()) {
    const field = `options.memory.reservedHugepages[${index}]`;
    const cell = nodes.find(({ id }) => id === node);
    if (cell === undefined)
      throw new InvalidArgumentError({
        field: `${field}.node`,
        value: node,
        expected: oneOf(nodes.map(({ id }) => id)),
      });
    const sizes = cell.hugepages ?? [];
    const pages = sizes.find((one) => one.sizeKiB === sizeKiB);
    if (pages === undefined)
      throw new InvalidArgumentError({
        field: `${field}.sizeKiB`,
        value: sizeKiB,
        expected: oneOf(sizes.map((one) => one.sizeKiB)),
      });
    if (reserved > pages.total)
      throw new InvalidArgumentError({
        field: `${field}.count`,
        value: reserved,
        expected: `at most ${pages.total}, as many as the node has`,
      });
  }
}

function oneOf(numbers: readonly number[]): string {
  return numbers.length === 0 ? "none: the host has none" : `one of ${numbers.join(", ")}`;
}

/** The host's NUMA nodes. Pure. */
export function numaCells({ host }: CapabilitiesXml, reserved: readonly ReservedHugepages[]): readonly NumaCell[] {
  const smallest = Math.min(...(host?.cpu?.pages ?? []).flatMap(({ size }) => size ?? []));
  return (host?.topology?.cells?.cell ?? []).flatMap(({ id, memory, cpus, pages = [] }) => {
    if (id === undefined) return [];
    const kib = Number(memory?.$text ?? 0);
    const hugepages = pages.flatMap(({ size, $text: total }) => {
      if (size === undefined || total === undefined || size <= smallest) return [];
      const aside = reserved.find(({ node, sizeKiB }) => node === id && sizeKiB === size)?.count ?? 0;
      return [{ sizeKiB: size, total: Number(total), reserved: aside }];
    });
    const cell = { id, cpus: (cpus?.cpu ?? []).flatMap(({ id: cpu }) => cpu ?? []), memoryMiB: Math.floor(kib / 1024) };
    return [hugepages.length === 0 ? cell : { ...cell, hugepages }];
  });
}

export interface MemoryUse {
  readonly memoryMiB: number;
  readonly memoryUsedMiB: number;
}

/** `virNodeGetMemoryStats`; where a hypervisor has no such call, `virNodeGetInfo` and `virNodeGetFreeMemory`. */
export async function hostMemory(
  client: LibvirtClient,
  limits: { readonly signal: AbortSignal | undefined; readonly deadlineMs: number },
): Promise<MemoryUse> {
  try {
    const memory = await client.nodeGetMemoryStats(-1, limits);
    const kib = (field: string): number => Number(memory[field] ?? 0n);
    return useOf(kib("total"), kib("free") + kib("buffers") + kib("cached"));
  } catch (error) {
    if (!isLibvirtError(error, "notSupported")) throw error;
    const [{ memory }, free] = await Promise.all([client.nodeGetInfo(limits), client.nodeGetFreeMemory(limits)]);
    return useOf(Number(memory), Number(free / 1024n));
  }
}

/** Where the files take all that guests have, it is the guests that use them. */
export function fileBackedMemory(fileBackedMiB: number, inMemory: readonly GuestDefinition[]): MemoryUse {
  const used = inMemory.reduce((sum, { memoryMiB }) => sum + memoryMiB, 0);
  return { memoryMiB: fileBackedMiB, memoryUsedMiB: Math.min(used, fileBackedMiB) };
}

function useOf(totalKiB: number, availableKiB: number): MemoryUse {
  return {
    memoryMiB: Math.floor(totalKiB / 1024),
    memoryUsedMiB: Math.floor((totalKiB - Math.min(totalKiB, availableKiB)) / 1024),
  };
}
