/** Sums with IP addresses, for plans of a host's devices. Pure. */
import ipaddr from "ipaddr.js";
import { InvalidArgumentError } from "../../core/index.js";

export interface Prefix {
  readonly version: 4 | 6;
  /** The address as it was given, in its short spelling. */
  readonly address: string;
  readonly length: number;
}

/** Reads `10.0.0.1/24`, or an address alone as one with the longest prefix. @throws InvalidArgumentError */
export function parsePrefix(text: string, field = "address"): Prefix {
  const [address = "", length, ...rest] = text.split("/");
  if (rest.length > 0 || !isAddress(address)) throw invalid(field, text);
  const parsed = ipaddr.parse(address);
  const version = parsed.kind() === "ipv4" ? 4 : 6;
  const bits = version === 4 ? 32 : 128;
  const size = length === undefined ? bits : Number(length);
  if ((length !== undefined && !/^(?:0|[1-9]\d{0,2})$/.test(length)) || size > bits) throw invalid(field, text);
  return { version, address: parsed.toString(), length: size };
}

/** An address in its short spelling, as the kernel's tools print it. @throws InvalidArgumentError */
export function normalAddress(text: string, field = "address"): string {
  if (!isAddress(text)) throw invalid(field, text);
  return ipaddr.parse(text).toString();
}

export function formatPrefix({ address, length }: Prefix): string {
  return `${address}/${length}`;
}

/** The prefix without what stands in its host part: `10.0.0.0/24` of `10.0.0.7/24`. */
export function networkOf(prefix: Prefix): string {
  const bytes = ipaddr.parse(prefix.address).toByteArray();
  const kept = bytes.map((byte, index) => {
    const bits = Math.min(8, Math.max(0, prefix.length - 8 * index));
    return byte & (0xff << (8 - bits)) & 0xff;
  });
  return `${ipaddr.fromByteArray(kept).toString()}/${prefix.length}`;
}

/** All bits of an address, as `0x…`. */
export function hexOf(address: string): string {
  return `0x${Buffer.from(ipaddr.parse(address).toByteArray()).toString("hex")}`;
}

/** `255.255.255.0` of a length of 24. */
export function netmaskOf(length: number): string {
  return ipaddr.IPv4.subnetMaskFromPrefixLength(length).toString();
}

/** How many addresses an IPv4 prefix has. */
export function sizeOf(prefix: Prefix): number {
  return 2 ** ((prefix.version === 4 ? 32 : 128) - prefix.length);
}

export function contains(cidr: string, address: string): boolean {
  const prefix = parsePrefix(cidr);
  const other = parsePrefix(address);
  if (prefix.version !== other.version) return false;
  return networkOf({ ...other, length: prefix.length }) === networkOf(prefix);
}

export function versionOf(address: string): 4 | 6 {
  return address.includes(":") ? 6 : 4;
}

/** Of the many spellings of IPv4 addresses only four decimal numbers, which all readers read alike. */
function isAddress(text: string): boolean {
  if (text.includes(":")) return !text.includes("%") && ipaddr.IPv6.isValid(text);
  return ipaddr.IPv4.isValidFourPartDecimal(text) && !/(?:^|\.)0\d/.test(text);
}

function invalid(field: string, value: string): InvalidArgumentError {
  return new InvalidArgumentError({ field, value, expected: "an IP address or a CIDR" });
}
