/** Names of our filters: all begin with one prefix, and none can be made to look like another by a name from outside. */
import { createHash } from "node:crypto";
import { check } from "../../core/index.js";
import type { Check } from "../../core/index.js";

export const DEFAULT_PREFIX = "hypervise";

export const checkPrefix: Check<string> = check.string({
  max: 32,
  pattern: /^[A-Za-z][A-Za-z0-9]*$/,
  expected: "a name of A-Z a-z 0-9",
});

/** Filters that are the same for all ports. */
export type SharedFilter =
  | "base"
  | "no-server"
  | "configuration"
  | "ipv4"
  | "ipv6"
  | "any-address"
  | "stateful"
  | "dhcp-server"
  | "dhcpv6-server"
  | "same-network"
  | "same-network-v6"
  | "closed"
  | "closed-tracked"
  | "closed-ipv4"
  | "closed-ipv6"
  | "same-network-ipv4"
  | "same-network-ipv6"
  | "provider-rules";

/** What a filter's name may have; longer ones would not fit into the name of libvirt's file. */
const PLAIN = /^[A-Za-z0-9_.-]{1,120}$/;

export function sharedName(prefix: string, filter: SharedFilter): string {
  return `${prefix}-${filter}`;
}

/** `<prefix>-secgroup-<id>`. */
export function groupName(prefix: string, groupId: string): string {
  return named(prefix, "secgroup", groupId);
}

/** Of a group's rules about protocols that libvirt tracks no connections of. */
export function untrackedGroupName(prefix: string, groupId: string, version: 4 | 6): string {
  return named(prefix, version === 4 ? "untracked4" : "untracked6", groupId);
}

/** `<prefix>-instance-<name>-<mac>`, as Nova has it. */
export function portName(prefix: string, instanceName: string, macAddress: string): string {
  return `${named(prefix, "instance", instanceName)}-${macAddress.replaceAll(":", "").toLowerCase()}`;
}

export function isPortName(prefix: string, name: string): boolean {
  return name.startsWith(`${prefix}-instance-`) || name.startsWith(`${prefix}-instance${HASHED}-`);
}

export function isOurs(prefix: string, name: string): boolean {
  return name.startsWith(`${prefix}-`);
}

const HASHED = "hash";

/** With the text, or where it does not fit with a hash of it, which its kind tells: so neither can be mistaken for the other. */
function named(prefix: string, kind: string, text: string): string {
  if (PLAIN.test(text)) return `${prefix}-${kind}-${text}`;
  return `${prefix}-${kind}${HASHED}-${createHash("sha256").update(text).digest("hex").slice(0, 32)}`;
}
