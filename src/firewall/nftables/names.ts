/** Names within our tables: nft takes few characters and has words of its own, so what comes from outside is hashed. */
import { createHash } from "node:crypto";

/** 16 hexadecimal digits. */
export function hashed(...parts: readonly string[]): string {
  return createHash("sha256").update(parts.join("\0")).digest("hex").slice(0, 16);
}

export interface GroupNames {
  readonly ingress: string;
  readonly egress: string;
  readonly counter: string;
}

export function groupNames(id: string): GroupNames {
  const name = hashed(id);
  return { ingress: `gi_${name}`, egress: `ge_${name}`, counter: `g_${name}` };
}

export function memberSet(groupId: string, version: 4 | 6): string {
  return `m${version}_${hashed(groupId)}`;
}

/** Chains that are always there. */
export const FIXED = {
  /** Everything that was permitted to be sent goes on here. */
  ingress: "ingress",
  egress: "egress",
  provider: "provider",
  icmpToPort: "icmp_to_port",
  icmpFromPort: "icmp_from_port",
  refused: "refused",
} as const;
