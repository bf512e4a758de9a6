/** Security groups with names resolved to numbers. Pure. */
import type { PacketMatch, ProviderRule, SecurityGroup, SecurityGroupMember } from "../security-group.js";
import type { IpVersion } from "../security-group.js";
import { mergeRanges, rangeOf } from "./address-range.js";
import type { AddressRange } from "./address-range.js";
import { protocolNumber } from "./ip-protocol.js";

/** What is matched of a packet, but for the addresses. */
export interface CompiledMatch {
  readonly version: IpVersion;
  readonly protocol?: number;
  readonly ports?: { readonly from: number; readonly to: number };
  readonly icmpType?: number;
  readonly icmpCode?: number;
}

export interface CompiledRule extends CompiledMatch {
  readonly remote?: { readonly range: AddressRange } | { readonly groupId: string };
}

export interface CompiledProviderRule extends CompiledMatch {
  readonly source: AddressRange;
}

export interface GroupPolicy {
  readonly id: string;
  readonly ingress: readonly CompiledRule[];
  readonly egress: readonly CompiledRule[];
  /** Everything may be sent. */
  readonly egressAny: boolean;
  /** Groups whose members the rules refer to. */
  readonly remotes: ReadonlySet<string>;
}

/** A group that its source does not know permits nothing. */
export function compileGroup(id: string, group: SecurityGroup | undefined): GroupPolicy {
  const rules = (direction: "ingress" | "egress"): CompiledRule[] => {
    const own = (group?.rules ?? []).filter((rule) => rule.direction === direction);
    const compiled = own.map(({ remote, ...match }): CompiledRule => {
      if (remote === undefined) return compileMatch(match);
      return {
        ...compileMatch(match),
        remote: "cidr" in remote ? { range: rangeOf(remote.cidr) } : { groupId: remote.groupId },
      };
    });
    return unique(compiled);
  };
  const [ingress, egress] = [rules("ingress"), rules("egress")];
  return {
    id,
    ingress,
    egress,
    egressAny: group !== undefined && group.egress !== "rules",
    remotes: remoteGroups([...ingress, ...egress]),
  };
}

export function compileMembers(members: readonly SecurityGroupMember[]): AddressRange[] {
  return mergeRanges(members.flatMap(({ addresses }) => addresses.map((address) => rangeOf(address))));
}

export function compileProviderRules(rules: readonly ProviderRule[]): CompiledProviderRule[] {
  return unique(rules.map(({ cidr, ...match }) => ({ ...compileMatch(match), source: rangeOf(cidr) })));
}

/** The rule as text: the same for rules that are the same. */
export function ruleKey(rule: CompiledRule | CompiledProviderRule): string {
  return JSON.stringify(rule, (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value));
}

function compileMatch({ ipVersion, protocol, portFrom, portTo, icmpType, icmpCode }: PacketMatch): CompiledMatch {
  const ports = portFrom === undefined && portTo === undefined ? undefined : [portFrom ?? portTo, portTo ?? portFrom];
  return {
    version: ipVersion,
    ...(protocol === undefined ? {} : { protocol: protocolNumber(protocol, ipVersion) }),
    ...(ports === undefined ? {} : { ports: { from: ports[0] as number, to: ports[1] as number } }),
    ...(icmpType === undefined ? {} : { icmpType }),
    ...(icmpCode === undefined ? {} : { icmpCode }),
  };
}

function unique<T extends CompiledRule | CompiledProviderRule>(rules: readonly T[]): T[] {
  return [...new Map(rules.map((rule) => [ruleKey(rule), rule])).values()];
}

function remoteGroups(rules: readonly CompiledRule[]): ReadonlySet<string> {
  return new Set(rules.flatMap(({ remote }) => (remote !== undefined && "groupId" in remote ? [remote.groupId] : [])));
}
