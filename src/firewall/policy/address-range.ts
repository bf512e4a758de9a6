/** Ranges of IP addresses as numbers, for sets of a kernel that take no two that overlap. Pure. */
import ipaddr from "ipaddr.js";
import { InvalidArgumentError } from "../../core/index.js";
import type { IpVersion } from "../security-group.js";

/** `first` to `last`, both included. */
export interface AddressRange {
  readonly version: IpVersion;
  readonly first: bigint;
  readonly last: bigint;
}

const BITS = { 4: 32n, 6: 128n } as const;

/**
 * The range of an address or a CIDR whose bits beyond the prefix may be set.
 * @throws InvalidArgumentError
 */
export function rangeOf(text: string, path = "address"): AddressRange {
  const [address = "", length, ...rest] = text.split("/");
  if (rest.length > 0 || !isStrict(address)) throw invalid(text, path);
  const parsed = ipaddr.parse(address);
  const version: IpVersion = parsed.kind() === "ipv4" ? 4 : 6;
  const bits = Number(BITS[version]);
  const prefix = length === undefined ? bits : Number(length);
  if (prefix > bits || (length !== undefined && !/^(?:0|[1-9]\d{0,2})$/.test(length))) throw invalid(text, path);
  const value = parsed.toByteArray().reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  const host = (1n << BigInt(bits - prefix)) - 1n;
  return { version, first: value & ~host, last: value | host };
}

/** As `10.0.0.0/24` where the range is a prefix, `10.0.0.1` where it is one address, else `10.0.0.1-10.0.0.9`: what nft and ipset take. */
export function formatRange({ version, first, last }: AddressRange): string {
  const size = last - first + 1n;
  const isPrefix = (size & (size - 1n)) === 0n && (first & (size - 1n)) === 0n;
  if (size === 1n) return formatAddress(version, first);
  if (isPrefix) return `${formatAddress(version, first)}/${BITS[version] - BigInt(size.toString(2).length - 1)}`;
  return `${formatAddress(version, first)}-${formatAddress(version, last)}`;
}

/** One address, in RFC 5952's spelling. */
export function formatAddress(version: IpVersion, value: bigint): string {
  const bytes: number[] = [];
  for (let shift = BITS[version] - 8n; shift >= 0n; shift -= 8n) bytes.push(Number((value >> shift) & 0xffn));
  return ipaddr.fromByteArray(bytes).toString();
}

/** The same addresses in the fewest ranges, in order; IPv4 before IPv6. */
export function mergeRanges(ranges: readonly AddressRange[]): AddressRange[] {
  const sorted = [...ranges].sort(compareRanges);
  const merged: AddressRange[] = [];
  for (const range of sorted) {
    const previous = merged.at(-1);
    if (previous?.version === range.version && range.first <= previous.last + 1n)
      merged[merged.length - 1] = { ...previous, last: range.last > previous.last ? range.last : previous.last };
    else merged.push(range);
  }
  return merged;
}

/** Ranges with what they are for, cut where others begin and end: no two of the result overlap, and each has all that was meant for it. */
export function partitionRanges<T>(
  entries: readonly { readonly range: AddressRange; readonly value: T }[],
): { readonly range: AddressRange; readonly values: readonly T[] }[] {
  return ([4, 6] as const).flatMap((version) => {
    const own = entries.filter(({ range }) => range.version === version);
    const cuts = [...new Set(own.flatMap(({ range }) => [range.first, range.last + 1n]))].sort(compareNumbers);
    const parts = cuts.slice(0, -1).map((first, index) => {
      const last = (cuts[index + 1] as bigint) - 1n;
      const covers = ({ range }: { readonly range: AddressRange }): boolean =>
        range.first <= first && last <= range.last;
      return { range: { version, first, last }, values: own.filter(covers).map(({ value }) => value) };
    });
    return parts.filter(({ values }) => values.length > 0);
  });
}

export function rangeContains(outer: AddressRange, inner: AddressRange): boolean {
  return outer.version === inner.version && outer.first <= inner.first && inner.last <= outer.last;
}

/** The link-local address that a Linux guest makes of its MAC address (RFC 4291, appendix A). */
export function linkLocalOf(macAddress: string): AddressRange {
  const bytes = macAddress.split(":").map((part) => parseInt(part, 16));
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = bytes;
  const host = [a ^ 2, b, c, 0xff, 0xfe, d, e, f].reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  const value = (0xfe80n << 112n) | host;
  return { version: 6, first: value, last: value };
}

function compareRanges(one: AddressRange, other: AddressRange): number {
  return one.version - other.version || compareNumbers(one.first, other.first) || compareNumbers(one.last, other.last);
}

function compareNumbers(one: bigint, other: bigint): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

/** Of the many spellings of IPv4 addresses only four decimal numbers, which all readers read alike. */
function isStrict(address: string): boolean {
  return ipaddr.IPv4.isValidFourPartDecimal(address) ? !/(?:^|\.)0\d/.test(address) : isIpv6(address);
}

function isIpv6(address: string): boolean {
  return address.includes(":") && !address.includes("%") && ipaddr.IPv6.isValid(address);
}

function invalid(value: string, field: string): InvalidArgumentError {
  return new InvalidArgumentError({ field, value, expected: "an IP address or a CIDR" });
}
