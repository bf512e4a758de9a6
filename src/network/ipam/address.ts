/** Addresses and prefixes as numbers. Pure. */
import ipaddr from "ipaddr.js";
import { InvalidArgumentError, check } from "../../core/index.js";

export type IpVersion = 4 | 6;

export interface Address {
  readonly version: IpVersion;
  readonly value: bigint;
}

/** A prefix: `first` to `last`, both included. */
export interface Cidr {
  readonly version: IpVersion;
  readonly length: number;
  readonly first: bigint;
  readonly last: bigint;
}

const BITS = { 4: 32, 6: 128 } as const;

/** @throws InvalidArgumentError naming the field */
export function parseAddress(text: unknown, field: string, version?: IpVersion): Address {
  const checked = check.ipAddress(version === undefined ? {} : { version })(text, field);
  const parsed = ipaddr.parse(checked);
  const value = parsed.toByteArray().reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return { version: parsed.kind() === "ipv4" ? 4 : 6, value };
}

/** In RFC 5952's spelling. */
export function formatAddress({ version, value }: Address): string {
  const bytes: number[] = [];
  for (let shift = BigInt(BITS[version] - 8); shift >= 0n; shift -= 8n) bytes.push(Number((value >> shift) & 0xffn));
  return ipaddr.fromByteArray(bytes).toString();
}

/** The one spelling under which an address is kept. @throws InvalidArgumentError naming the field */
export function canonicalAddress(text: unknown, field: string, version?: IpVersion): string {
  return formatAddress(parseAddress(text, field, version));
}

/** The prefix of this length that an address is in. */
export function cidrOf({ version, value }: Address, length: number): Cidr {
  const host = (1n << BigInt(BITS[version] - length)) - 1n;
  return { version, length, first: value & ~host, last: value | host };
}

/** Bits beyond the prefix may be set. @throws InvalidArgumentError naming the field */
export function parseCidr(text: unknown, field: string, version?: IpVersion): Cidr {
  const checked = check.cidr(version === undefined ? {} : { version })(text, field);
  const [address = "", length = ""] = checked.split("/");
  return cidrOf(parseAddress(address, field), Number(length));
}

export function formatCidr(cidr: Cidr): string {
  return `${formatAddress({ version: cidr.version, value: cidr.first })}/${cidr.length}`;
}

/** How many addresses. */
export function sizeOf(cidr: Cidr): bigint {
  return cidr.last - cidr.first + 1n;
}

export function contains(cidr: Cidr, inner: Address | Cidr): boolean {
  const { first, last } = "first" in inner ? inner : { first: inner.value, last: inner.value };
  return cidr.version === inner.version && first >= cidr.first && last <= cidr.last;
}

export function overlaps(a: Cidr, b: Cidr): boolean {
  return a.version === b.version && a.first <= b.last && b.first <= a.last;
}

/** The prefix of the same length behind it; undefined behind the last one. */
export function nextCidr(cidr: Cidr): Cidr | undefined {
  const first = cidr.last + 1n;
  if (first >> BigInt(BITS[cidr.version]) !== 0n) return undefined;
  return { ...cidr, first, last: first + sizeOf(cidr) - 1n };
}

/** The address at a place of a prefix, counted from 0. */
export function addressAt(cidr: Cidr, place: number | bigint): Address {
  return { version: cidr.version, value: cidr.first + BigInt(place) };
}

export function netmaskOf(cidr: Cidr): string {
  const bits = BITS[cidr.version];
  const value = ((1n << BigInt(cidr.length)) - 1n) << BigInt(bits - cidr.length);
  return formatAddress({ version: cidr.version, value });
}

/** @throws InvalidArgumentError unless the address is inside */
export function parseInside(text: unknown, cidr: Cidr, field: string): Address {
  const address = parseAddress(text, field, cidr.version);
  if (contains(cidr, address)) return address;
  throw new InvalidArgumentError({ field, value: text, expected: `an address of ${formatCidr(cidr)}` });
}
