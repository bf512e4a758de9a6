/** The rules of the chains of a firewall. Pure. */
import type { OwnedPort } from "../policy/address-places.js";
import type { CompiledProviderRule, CompiledRule, GroupPolicy } from "../policy/group-policy.js";
import { ICMPV6_FROM_PORT, ICMPV6_TO_PORT } from "../policy/permits.js";
import type { IpVersion } from "../security-group.js";
import { CHAINS, groupChain } from "./names.js";
import { prefixesOf } from "../policy/prefixes.js";
import { groupMatch, providerMatch } from "./rule-text.js";

const INVALID = "-m conntrack --ctstate INVALID -j DROP";
const DHCP = { 4: { client: 68, server: 67 }, 6: { client: 546, server: 547 } } as const;

export function markRule(mark: string): string {
  return `-m comment --comment ${mark}`;
}

/**
 * `local` is come to by what is forwarded and what the host sends, `INPUT` by what is for the host. Flows that are known pass, those that ports begin are asked about where they come from, and
 * then where they go. What is bridged comes here for our sake only, and passes where we have nothing against it; of what is routed others may have something to say.
 */
export function fixedRules(version: IpVersion, mark: string): ReadonlyMap<string, readonly string[]> {
  const { egress, ingress, tracked, bridged, fallback, discovery } = CHAINS;
  return new Map([
    [fallback, ["-j DROP"]],
    [discovery, version === 6 ? ICMPV6_TO_PORT.map((type) => `${icmpv6(type)} -j ACCEPT`) : []],
    [
      "local",
      [
        markRule(mark),
        `-m conntrack --ctstate RELATED,ESTABLISHED -g $${tracked}`,
        `-j $${egress}`,
        `-j $${ingress}`,
        `-j $${bridged}`,
      ],
    ],
    ["INPUT", [`-m conntrack ! --ctstate RELATED,ESTABLISHED -j $${egress}`]],
  ]);
}

export function providerRules(rules: readonly CompiledProviderRule[], version: IpVersion): string[] {
  return ofVersion(rules, version).flatMap((rule) => verdict(providerMatch(rule), "-j DROP"));
}

/** What may come to an address that these ports have: what any of them may get. */
export function instanceRules(owners: readonly OwnedPort[], version: IpVersion): string[] {
  const ports = owners.map(({ port }) => port);
  const { client, server } = DHCP[version];
  const reply = `-p udp -m udp --sport ${server} --dport ${client} -j ACCEPT`;
  const servers = ports.flatMap(({ dhcpServers }) => dhcpServers[version]);
  const replies = version === 4 ? servers.flatMap(prefixesOf).map((server4) => `-s ${server4} ${reply}`) : [reply];
  const neighbours = ports.flatMap((port) => (port.applied ? port.neighbours : []));
  return unique([
    INVALID,
    `-j $${CHAINS.provider}`,
    ...(servers.length === 0 ? [] : replies),
    ...(version === 6 ? [`-p ipv6-icmp -j $${CHAINS.discovery}`] : []),
    ...ofVersion(neighbours, version)
      .flatMap(prefixesOf)
      .map((prefix) => (prefix.endsWith("/0") ? "-j ACCEPT" : `-s ${prefix} -j ACCEPT`)),
    ...groupsInForce(owners).map((id) => `-j $${groupChain(id)}`),
    `-j $${CHAINS.fallback}`,
  ]);
}

/** What ports in just these groups may send: what returns from here goes on to where it is for. */
export function sendRules(groups: readonly GroupPolicy[], version: IpVersion, owner: string): string[] {
  if (groups.some(({ egressAny }) => egressAny)) return [INVALID];
  const { client, server } = DHCP[version];
  const permitted = groups.flatMap((group) =>
    ofVersion(group.egress, version).flatMap((rule) =>
      verdict(groupMatch(rule, "egress", owner), `${markRule(groupChain(group.id))} -j RETURN`),
    ),
  );
  return [
    INVALID,
    `-p udp -m udp --sport ${client} --dport ${server} -j RETURN`,
    ...(version === 6 ? ICMPV6_FROM_PORT.map((type) => `${icmpv6(type)} -j RETURN`) : []),
    ...permitted,
    `-j $${CHAINS.fallback}`,
  ];
}

/** What a group permits to come. */
export function groupRules(group: GroupPolicy, version: IpVersion, owner: string): string[] {
  const permit = (rule: CompiledRule): string[] => verdict(groupMatch(rule, "ingress", owner), "-j ACCEPT");
  return ofVersion(group.ingress, version).flatMap(permit);
}

/** Ids of the groups that any of the ports has in force, sorted. */
export function groupsInForce(owners: readonly OwnedPort[]): string[] {
  return unique(owners.flatMap(({ port }) => (port.applied ? (port.groups ?? []) : []))).sort();
}

function verdict(match: string | undefined, end: string): string[] {
  if (match === undefined) return [];
  return [match === "" ? end : `${match} ${end}`];
}

function icmpv6(type: number): string {
  return `-p ipv6-icmp -m icmp6 --icmpv6-type ${type}`;
}

function ofVersion<T extends { readonly version: IpVersion }>(list: readonly T[], version: IpVersion): T[] {
  return list.filter((one) => one.version === version);
}

function unique<T>(list: readonly T[]): T[] {
  return [...new Set(list)];
}
