/** Ganeti's text of CPU pinning, such as `0-1,4:all:3`. Pure. */
import type { CpuPinning } from "../../driver/index.js";
import { corrupt } from "./runtime-text.js";

const MAX_CPU = 8_191;

/**
 * One list: for the threads of the emulator and every vCPU. Several: one a vCPU. `all` binds nothing.
 * @throws StateCorruptError for a mask that is none, or has another number of lists than there are vCPUs
 */
export function pinningOfMask(mask: string, vcpus: number): CpuPinning | undefined {
  const lists = mask.split(":").map(parseList);
  if (lists.every((list) => list.length === 0)) return undefined;
  const [first = []] = lists;
  if (lists.length === 1) return { vcpus: Array.from({ length: vcpus }, () => first), emulator: first };
  if (lists.length !== vcpus) throw corrupt(`its CPU mask has ${lists.length} lists for ${vcpus} vCPUs`);
  return { vcpus: lists };
}

/** Empty for `all`. */
function parseList(list: string): readonly number[] {
  if (list.trim() === "all") return [];
  const cpus = list.split(",").flatMap(parseRange);
  return [...new Set(cpus)].sort((one, other) => one - other);
}

function parseRange(range: string): readonly number[] {
  const match = /^\s*(\d{1,4})(?:-(\d{1,4}))?\s*$/.exec(range);
  const first = Number(match?.[1]);
  const last = match?.[2] === undefined ? first : Number(match[2]);
  if (match === null || last > MAX_CPU || first > last) throw corrupt("its CPU mask can't be read");
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
