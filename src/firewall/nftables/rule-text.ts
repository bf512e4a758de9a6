/** Matches of packets in nft's language, for the families inet and bridge alike. Pure: all that is written are numbers, checked addresses and names of ours. */
import { formatRange } from "../policy/address-range.js";
import type { AddressRange } from "../policy/address-range.js";
import type { CompiledMatch, CompiledProviderRule, CompiledRule } from "../policy/group-policy.js";
import { memberSet } from "./names.js";

const ICMP = 1;
const ICMPV6 = 58;
const IP = { 4: { header: "ip", type: "ip" }, 6: { header: "ip6", type: "ip6" } } as const;

/** One rule of a group; the other end is the sender of what comes in and the receiver of what goes out. */
export function groupRule(rule: CompiledRule, direction: "ingress" | "egress"): string {
  const side = direction === "ingress" ? "saddr" : "daddr";
  const { remote, version } = rule;
  if (remote === undefined) return matchText(rule);
  const other = "range" in remote ? formatRange(remote.range) : `@${memberSet(remote.groupId, version)}`;
  return `${matchText(rule)} ${IP[version].header} ${side} ${other}`;
}

export function providerRule(rule: CompiledProviderRule): string {
  return `${matchText(rule)} ${addressMatch("saddr", rule.source)}`;
}

export function addressMatch(side: "saddr" | "daddr", range: AddressRange): string {
  return `${IP[range.version].header} ${side} ${formatRange(range)}`;
}

function matchText({ version, protocol, ports, icmpType, icmpCode }: CompiledMatch): string {
  const words = [`meta protocol ${IP[version].type}`];
  if (protocol !== undefined) words.push(`meta l4proto ${protocol}`);
  if (ports !== undefined) words.push(`th dport ${ports.from === ports.to ? ports.from : `${ports.from}-${ports.to}`}`);
  const icmp = protocol === ICMPV6 ? "icmpv6" : protocol === ICMP ? "icmp" : undefined;
  if (icmp !== undefined && icmpType !== undefined) words.push(`${icmp} type ${icmpType}`);
  if (icmp !== undefined && icmpCode !== undefined) words.push(`${icmp} code ${icmpCode}`);
  return words.join(" ");
}
