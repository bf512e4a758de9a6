/** Ranges of addresses as prefixes: what iptables and ipset take. Pure. */
import { formatAddress } from "./address-range.js";
import type { AddressRange } from "./address-range.js";

const BITS = { 4: 32, 6: 128 } as const;

/** The fewest prefixes that cover just the range, each with its length: `10.0.0.1/32`. */
export function prefixesOf({ version, first, last }: AddressRange): string[] {
  const prefixes: string[] = [];
  for (let start = first; start <= last;) {
    let host = 0;
    // As wide as where it begins and where the range ends allow.
    while (host < BITS[version] && isAligned(start, host + 1) && start + (1n << BigInt(host + 1)) - 1n <= last)
      host += 1;
    prefixes.push(`${formatAddress(version, start)}/${BITS[version] - host}`);
    start += 1n << BigInt(host);
  }
  return prefixes;
}

/** Members of an ipset: it takes no prefix of length 0. */
export function setEntriesOf(range: AddressRange): string[] {
  return prefixesOf(range).flatMap((prefix) => {
    if (prefix === "0.0.0.0/0") return ["0.0.0.0/1", "128.0.0.0/1"];
    return prefix === "::/0" ? ["::/1", "8000::/1"] : [prefix];
  });
}

function isAligned(value: bigint, bits: number): boolean {
  return (value & ((1n << BigInt(bits)) - 1n)) === 0n;
}
