/** Places of drives on their controllers: which are taken, and the next one. Pure. */
import type { LibvirtXml } from "../../xml/index.js";

type Address = LibvirtXml.DomainAddress;
type Disk = Pick<LibvirtXml.DomainDisk, "address" | "target">;

/** Most units of a target, and most targets of a controller that takes one unit of each. */
const MOST = 256;

export function isSameDrive(one: Address | undefined, other: Address | undefined): boolean {
  if (one?.type !== "drive" || other?.type !== "drive") return false;
  return (["controller", "bus", "target", "unit"] as const).every((key) => at(one, key) === at(other, key));
}

/**
 * A place on the controller of `wanted` that no disk has: the one after the highest, else the first that is free.
 * @param disks all of the guest, those it was started with too
 */
export function freeDrive(
  wanted: Address,
  bus: string | undefined,
  disks: readonly Disk[],
  most: number = MOST,
): Address | undefined {
  const taken = disks.flatMap(({ address, target }) =>
    target?.bus === bus && address?.type === "drive" && at(address, "controller") === at(wanted, "controller")
      ? [address]
      : [],
  );
  // Old controllers know disks by targets, each with one unit.
  const key = taken.some((address) => at(address, "target") > 0) || at(wanted, "target") > 0 ? "target" : "unit";
  const numbers = new Set(taken.map((address) => at(address, key)));
  const next = Math.max(-1, ...numbers) + 1;
  const free = next < most ? next : Array.from({ length: most }, (_, number) => number).find((n) => !numbers.has(n));
  return free === undefined ? undefined : { ...wanted, [key]: String(free) };
}

function at(address: Address, key: "controller" | "bus" | "target" | "unit"): number {
  return Number(address[key] ?? 0);
}
