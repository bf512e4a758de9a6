/** What permissions and provider rules are in libvirt's rules. Pure. */
import { NotSupportedError } from "../../core/index.js";
import { rangeOf } from "../policy/address-range.js";
import type { AddressRange } from "../policy/address-range.js";
import type { CompiledMatch, CompiledProviderRule, CompiledRule, GroupPolicy } from "../policy/group-policy.js";
import type { NwFilterProtocol, NwFilterRuleOptions } from "../../libvirt/xml/index.js";
import { prefixesOf } from "../policy/prefixes.js";
import type { FilterRule } from "./filter-document.js";
import { prefixAttributes, addressPrefixesOf, rangeAttributes } from "./prefixes.js";

type Direction = "in" | "out";

/** Where in the order a rule stands: low ones first. */
export const PRIORITY = {
  provider: -900,
  never: -800,
  reply: -700,
  basic: 100,
  group: 500,
  known: 600,
  end: 1_000,
} as const;

/** Protocols that libvirt tracks connections of, by number. The others are looked at packet by packet. */
export const TRACKED = {
  4: { 1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 50: "esp", 51: "ah", 132: "sctp", 136: "udplite" },
  6: {
    6: "tcp-ipv6",
    17: "udp-ipv6",
    50: "esp-ipv6",
    51: "ah-ipv6",
    58: "icmpv6",
    132: "sctp-ipv6",
    136: "udplite-ipv6",
  },
} as const satisfies Readonly<Record<4 | 6, Readonly<Record<number, NwFilterProtocol>>>>;

const UDP_LITE = 136;

export const ALL = { 4: "all", 6: "all-ipv6" } as const;
export const PACKET = { 4: "ip", 6: "ipv6" } as const;

/** Whether a rule is about a protocol whose connections libvirt does not track. */
export function isUntracked({ version, protocol }: CompiledMatch): boolean {
  return protocol !== undefined && trackedName(version, protocol) === undefined;
}

/** Permits new connections; for a rule about members, a rule for each range of theirs. */
export function permissions(group: GroupPolicy, members: MembersOf): FilterRule[] {
  const rules = (["ingress", "egress"] as const).flatMap((side) =>
    group[side]
      .filter((rule) => !isUntracked(rule))
      .flatMap((rule) =>
        remotesOf(rule, members).map((remote) => tracked("accept", side === "ingress" ? "in" : "out", rule, remote)),
      ),
  );
  const any = group.egressAny
    ? [tracked("accept", "out", { version: 4 }), tracked("accept", "out", { version: 6 })]
    : [];
  return [...rules, ...any];
}

/** Permits packets of untracked protocols, each way for itself: nothing tells an answer from a question. */
export function untrackedPermissions(group: GroupPolicy, version: 4 | 6, members: MembersOf): FilterRule[] {
  const rules = (["ingress", "egress"] as const).flatMap((side) =>
    group[side]
      .filter((rule) => rule.version === version && (rule.protocol === undefined || isUntracked(rule)))
      .flatMap((rule) =>
        remotesOf(rule, members).flatMap((remote) =>
          packets("return", side === "ingress" ? "in" : "out", rule, remote),
        ),
      ),
  );
  return [...rules, ...(group.egressAny ? packets("return", "out", { version }, undefined) : [])];
}

/** Ports of this group need their untracked protocols looked at. */
export function hasUntracked(group: GroupPolicy | undefined): boolean {
  return [...(group?.ingress ?? []), ...(group?.egress ?? [])].some(isUntracked);
}

export function providerDrops(rules: readonly CompiledProviderRule[]): FilterRule[] {
  return rules.flatMap((rule): FilterRule[] => {
    if (!isUntracked(rule)) return [{ ...tracked("drop", "in", rule, rule.source), priority: PRIORITY.provider }];
    return packets("drop", "in", rule, rule.source).map((drop) => ({ ...drop, priority: PRIORITY.provider }));
  });
}

export type MembersOf = (groupId: string) => readonly AddressRange[];

function remotesOf({ version, remote }: CompiledRule, members: MembersOf): readonly (AddressRange | undefined)[] {
  if (remote === undefined) return [undefined];
  if ("range" in remote) return [remote.range];
  const ranges = members(remote.groupId).filter((range) => range.version === version);
  // Up to 11.3 libvirt takes the last address of destinations (`dstipto`) for one of IPv4.
  return version === 6 ? ranges.flatMap((range) => prefixesOf(range).map((prefix) => rangeOf(prefix))) : ranges;
}

/** About the packet that begins a connection. */
function tracked(
  action: "accept" | "drop",
  direction: Direction,
  match: CompiledMatch,
  remote?: AddressRange,
): FilterRule {
  const { version, protocol, ports, icmpType, icmpCode } = match;
  if (protocol === UDP_LITE && ports !== undefined)
    throw new NotSupportedError({
      capability: "ports of UDP-Lite",
      message: "libvirt's filters can't tell ports of UDP-Lite apart",
      remedy: "Leave the ports out, or use the nftables driver.",
    });
  const name = protocol === undefined ? ALL[version] : (trackedName(version, protocol) ?? ALL[version]);
  const attributes = {
    ...rangeAttributes(direction === "in" ? "src" : "dst", remote),
    ...(ports === undefined ? {} : { dstportstart: String(ports.from), dstportend: String(ports.to) }),
    ...(icmpType === undefined ? {} : { type: String(icmpType) }),
    ...(icmpCode === undefined ? {} : { code: String(icmpCode) }),
    state: "NEW",
  };
  return ruleOf({ action, direction, priority: PRIORITY.group }, name, attributes);
}

/** About every packet. */
function packets(
  action: "return" | "drop",
  direction: Direction,
  { version, protocol, ports }: CompiledMatch,
  remote: AddressRange | undefined,
): FilterRule[] {
  const prefixes = remote === undefined ? [undefined] : addressPrefixesOf(remote);
  return prefixes.map((prefix) =>
    ruleOf({ action, direction, priority: PRIORITY.group }, PACKET[version], {
      ...(prefix === undefined ? {} : prefixAttributes(direction === "in" ? "src" : "dst", prefix)),
      ...(protocol === undefined ? {} : { protocol: String(protocol) }),
      ...(ports === undefined ? {} : { dstportstart: String(ports.from), dstportend: String(ports.to) }),
    }),
  );
}

/** Attributes of rules go by the protocol; libvirt takes all that are given here. */
export function ruleOf(
  rule: Pick<NwFilterRuleOptions, "action" | "direction" | "priority">,
  protocol: NwFilterProtocol,
  match: Readonly<Record<string, string>>,
): FilterRule {
  const entries = Object.entries(match);
  const isLeftOut = ([name]: [string, string]): boolean => LEFT_OUT[name]?.(protocol) === true;
  const named = Object.fromEntries(entries.filter((entry) => !isLeftOut(entry)));
  const others = entries.filter(isLeftOut);
  const $attributes = others.length === 0 ? {} : { $attributes: Object.fromEntries(others) };
  return { ...rule, protocol, match: { ...named, ...$attributes } };
}

/** What libvirt takes and documents, and its schemas have left out. */
const LEFT_OUT: Readonly<Record<string, (protocol: NwFilterProtocol) => boolean>> = {
  state: (protocol) => protocol.includes("v6"),
  arpsrcipmask: () => true,
};

function trackedName(version: 4 | 6, protocol: number): NwFilterProtocol | undefined {
  const names: Readonly<Record<number, NwFilterProtocol>> = TRACKED[version];
  return names[protocol];
}
