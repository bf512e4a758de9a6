/** Ranges of addresses in the two spellings that libvirt's rules take. Pure. */
import { prefixesOf } from "../policy/prefixes.js";
import { formatAddress } from "../policy/address-range.js";
import type { AddressRange } from "../policy/address-range.js";

export interface AddressPrefix {
  readonly address: string;
  /** Bits, as a decimal number. */
  readonly length: string;
}

/** The fewest prefixes that are just the range. */
export function addressPrefixesOf(range: AddressRange): AddressPrefix[] {
  return prefixesOf(range).map((text) => {
    const [address = "", length = ""] = text.split("/");
    return { address, length };
  });
}

type End = "src" | "dst";

/** For rules about tracked connections, which take any range. Empty: all addresses. */
export function rangeAttributes(end: End, range: AddressRange | undefined): Readonly<Record<string, string>> {
  if (range === undefined) return {};
  const [prefix, ...more] = addressPrefixesOf(range);
  if (prefix === undefined || prefix.length === "0") return {};
  if (more.length === 0) return prefixAttributes(end, prefix);
  return {
    [`${end}ipfrom`]: formatAddress(range.version, range.first),
    [`${end}ipto`]: formatAddress(range.version, range.last),
  };
}

export function prefixAttributes(end: End, { address, length }: AddressPrefix): Readonly<Record<string, string>> {
  return { [`${end}ipaddr`]: address, [`${end}ipmask`]: length };
}
