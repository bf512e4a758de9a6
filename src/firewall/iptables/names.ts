/** Names of chains and sets: iptables takes 28 characters with the owner's, ipset 31, so what comes from outside is hashed. */
import { createHash } from "node:crypto";
import type { OwnedPort } from "../policy/address-places.js";
import { portKey } from "../policy/address-places.js";
import type { IpVersion } from "../security-group.js";

/** Longest name of an owner that leaves room for ours. */
export const MAX_FILTER_OWNER = 12;

/** Chains without their owner's name. */
export const CHAINS = {
  fallback: "sg-fallback",
  provider: "provider",
  discovery: "discovery",
  tracked: "tracked",
  bridged: "bridged",
  egress: "egress",
  ingress: "ingress",
} as const;

/** What is permitted to ports that have the same addresses; most often one port. */
export function instanceChain(owners: readonly OwnedPort[]): string {
  return `inst-${hashed(...owners.map(portKey).sort())}`;
}

/** What ports in just these groups may send. */
export function sendChain(groupIds: readonly string[]): string {
  return `send-${hashed(...groupIds)}`;
}

export function groupChain(groupId: string): string {
  return `sg-${hashed(groupId)}`;
}

export function linkChain(way: "from" | "to", link: string): string {
  return `${way}-${hashed(link)}`;
}

export function memberSet(owner: string, groupId: string, version: IpVersion): string {
  return `${owner}-m${version}-${hashed(groupId)}`;
}

/** The addresses of a link that ports have. */
export function linkSet(owner: string, link: string, version: IpVersion): string {
  return `${owner}-a${version}-${hashed(link)}`;
}

/** 10 characters. */
function hashed(...parts: readonly string[]): string {
  const digest = createHash("sha256").update(parts.join("\0")).digest("hex");
  return BigInt(`0x${digest.slice(0, 12)}`)
    .toString(36)
    .padStart(10, "0");
}
