/** In which order the children of an object are written. */
import type { ElementShape } from "./schema-table.js";

/** Members that hold children, each with how many it holds, in the order of the object. */
export type ChildCounts = ReadonlyMap<string, number>;

/**
 * One entry for each child: the member it is of. Without a hint, the members keep the order of the object as far as the schema
 * lets them. A hint (`$order`) that names more children than there are is cut short; children it does not name come after
 * their like, or at the end.
 */
export function childOrder(counts: ChildCounts, { before }: ElementShape, hint?: readonly string[]): string[] {
  const members = sortedMembers([...counts.keys()], before);
  const repeated = (member: string): string[] => Array<string>(counts.get(member) ?? 0).fill(member);
  if (hint === undefined) return members.flatMap(repeated);
  const left = new Map(counts);
  const named: string[] = [];
  for (const member of hint) {
    const count = left.get(member) ?? 0;
    if (count === 0) continue;
    left.set(member, count - 1);
    named.push(member);
  }
  for (const member of members) {
    const more = Array<string>(left.get(member) ?? 0).fill(member);
    const last = named.lastIndexOf(member);
    named.splice(last === -1 ? named.length : last + 1, 0, ...more);
  }
  return named;
}

/** The members so that each stands after those it has to, otherwise as they are. */
function sortedMembers(members: readonly string[], before: ElementShape["before"]): string[] {
  if (before.size === 0) return [...members];
  const left = new Set(members);
  const sorted: string[] = [];
  while (left.size > 0) {
    const isReady = (member: string): boolean => before.get(member)?.every((other) => !left.has(other)) ?? true;
    // Alternatives of a schema may contradict each other in a circle; then the object's order has to do.
    const next = [...left].find(isReady) ?? [...left][0];
    if (next === undefined) break;
    left.delete(next);
    sorted.push(next);
  }
  return sorted;
}
