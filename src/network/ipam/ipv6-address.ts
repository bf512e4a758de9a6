/** IPv6 addresses of VIFs. */
import { randomBytes } from "node:crypto";
import { formatAddress } from "./address.js";
import type { Cidr } from "./address.js";

/** `eui64`: made of the MAC address, as guests make their own from router advertisements (RFC 4862). `random`: by chance. */
export const IPV6_MODES = ["eui64", "random"] as const;
export type Ipv6Mode = (typeof IPV6_MODES)[number];

/** The address that a guest with this MAC address gives itself in a prefix of 64 bits or less. */
export function eui64Address(cidr: Cidr, macAddress: string): string {
  const bytes = macAddress.split(":").map((byte) => parseInt(byte, 16));
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = bytes;
  // The universal/local bit is turned over, and ff:fe stands in the middle.
  const identifier = [a ^ 0x02, b, c, 0xff, 0xfe, d, e, f].reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return formatAddress({ version: 6, value: ((cidr.first >> 64n) << 64n) | identifier });
}

/** An address of the prefix by chance, none of its first 256: those are for gateways and the like. */
export function randomAddress(cidr: Cidr, random: (size: number) => Uint8Array = randomBytes): string {
  const size = cidr.last - cidr.first + 1n;
  const value = [...random(16)].reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  const low = size > 512n ? 256n : 1n;
  return formatAddress({ version: 6, value: cidr.first + low + (value % (size - low)) });
}
