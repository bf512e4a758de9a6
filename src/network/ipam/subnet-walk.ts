/** Cutting networks from a range, past those that are there. Pure. */
import { contains, formatCidr, nextCidr, overlaps } from "./address.js";
import type { Cidr } from "./address.js";
import { NetworkConflictError } from "./errors.js";

/**
 * The first `count` subnets of the range; one that is taken, or has smaller taken ones in it, gives way to the next sibling
 * that is free, which then comes last. One inside a larger network has no sibling that would help.
 * @throws NetworkConflictError when nothing is left, naming what stands in the way
 */
export function carveSubnets(range: Cidr, length: number, count: number, used: readonly Cidr[], field: string): Cidr[] {
  const asked: Cidr[] = [];
  for (let next: Cidr | undefined = firstOf(range, length); asked.length < count && next !== undefined;)
    next = contains(range, next) ? (asked.push(next), nextCidr(next)) : undefined;
  const taken = new Set(asked.map(formatCidr));
  const result = [...asked];
  for (const subnet of asked) {
    let candidate: Cidr | undefined = subnet;
    for (;;) {
      const current: Cidr = candidate;
      const other = used.find((one) => overlaps(one, current));
      if (other === undefined) break;
      const isInside = contains(other, current) && other.length < current.length;
      candidate = isInside ? undefined : nextFree(current, taken, range);
      if (candidate === undefined)
        throw new NetworkConflictError({ field, wanted: formatCidr(current), other: formatCidr(other) });
      taken.add(formatCidr(candidate));
    }
    if (candidate === subnet) continue;
    result.splice(result.indexOf(subnet), 1);
    result.push(candidate);
  }
  return result;
}

function firstOf(range: Cidr, length: number): Cidr {
  const bits = range.version === 4 ? 32 : 128;
  return { ...range, length, last: range.first + (1n << BigInt(bits - length)) - 1n };
}

/** The next sibling that was neither asked for nor looked at. */
function nextFree(subnet: Cidr, taken: ReadonlySet<string>, range: Cidr): Cidr | undefined {
  let next = nextCidr(subnet);
  while (next !== undefined && taken.has(formatCidr(next))) next = nextCidr(next);
  return next !== undefined && contains(range, next) ? next : undefined;
}
