// What groups mean, said once more, plainly: for holding drivers against.
import { BlockList, isIPv6 } from "node:net";
import type { ProviderRule, SecurityGroup, SecurityGroupRule } from "../../../src/firewall/index.js";

/** The first packet of a flow between two hosts. */
export interface ModelPacket {
  readonly version: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly destinationPort?: number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
}

export interface ModelPolicy {
  readonly groups: readonly SecurityGroup[];
  /** Addresses of the members of groups, by group. */
  readonly members: ReadonlyMap<string, readonly string[]>;
  readonly providerRules: readonly ProviderRule[];
  /** Ids of the groups of the port that has the address; undefined: it is not filtered. */
  groupsOf(address: string): readonly string[] | undefined;
}

const NAMES = { icmp: 1, tcp: 6, udp: 17, dccp: 33, icmpv6: 58, sctp: 132, udplite: 136 } as const;

export function comesThrough(policy: ModelPolicy, packet: ModelPacket): boolean {
  return mayLeave(policy, packet) && mayEnter(policy, packet);
}

function mayLeave(policy: ModelPolicy, packet: ModelPacket): boolean {
  const ids = policy.groupsOf(packet.source);
  if (ids === undefined) return true;
  const groups = policy.groups.filter(({ id }) => ids.includes(id));
  if (groups.some(({ egress }) => egress !== "rules")) return true;
  return permits(policy, groups, "egress", packet, packet.destination);
}

function mayEnter(policy: ModelPolicy, packet: ModelPacket): boolean {
  const ids = policy.groupsOf(packet.destination);
  if (ids === undefined) return true;
  const isBarred = policy.providerRules.some((rule) => matches(rule, packet) && isIn(packet.source, [rule.cidr]));
  if (isBarred) return false;
  const groups = policy.groups.filter(({ id }) => ids.includes(id));
  return permits(policy, groups, "ingress", packet, packet.source);
}

function permits(
  policy: ModelPolicy,
  groups: readonly SecurityGroup[],
  direction: "ingress" | "egress",
  packet: ModelPacket,
  other: string,
): boolean {
  const rules = groups.flatMap((group) => group.rules).filter((rule) => rule.direction === direction);
  return rules.some((rule) => matches(rule, packet) && isRemote(policy, rule, other));
}

function isRemote(policy: ModelPolicy, { remote }: SecurityGroupRule, other: string): boolean {
  if (remote === undefined) return true;
  return isIn(other, "cidr" in remote ? [remote.cidr] : (policy.members.get(remote.groupId) ?? []));
}

function matches(rule: SecurityGroupRule | ProviderRule, packet: ModelPacket): boolean {
  if (rule.ipVersion !== packet.version) return false;
  if (rule.protocol !== undefined) {
    const named = typeof rule.protocol === "number" ? rule.protocol : NAMES[rule.protocol];
    if ((named === 1 && rule.ipVersion === 6 ? 58 : named) !== packet.protocol) return false;
  }
  const { portFrom = rule.portTo, portTo = rule.portFrom, icmpType, icmpCode } = rule;
  if (portFrom !== undefined && portTo !== undefined) {
    const port = packet.destinationPort ?? -1;
    if (port < portFrom || port > portTo) return false;
  }
  return (icmpType ?? packet.icmpType) === packet.icmpType && (icmpCode ?? packet.icmpCode) === packet.icmpCode;
}

function isIn(address: string, cidrs: readonly string[]): boolean {
  const list = new BlockList();
  const family = isIPv6(address) ? "ipv6" : "ipv4";
  for (const cidr of cidrs) {
    const [base = "", length] = cidr.split("/");
    if (isIPv6(base) !== isIPv6(address)) continue;
    list.addSubnet(base, Number(length ?? (family === "ipv6" ? 128 : 32)), family);
  }
  return list.check(address, family);
}
