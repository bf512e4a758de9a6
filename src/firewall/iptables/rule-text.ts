/** Matches of packets in the words of iptables, in the order in which `iptables-save` tells them. Pure: all that is written are numbers, checked addresses and names of ours. */
import type { CompiledMatch, CompiledProviderRule, CompiledRule } from "../policy/group-policy.js";
import type { AddressRange } from "../policy/address-range.js";
import { memberSet } from "./names.js";
import { prefixesOf } from "../policy/prefixes.js";

const ICMP = 1;
const ICMPV6 = 58;
const UDPLITE = 136;
const PROTOCOLS: Readonly<Record<number, string>> = {
  1: "icmp",
  6: "tcp",
  17: "udp",
  33: "dccp",
  58: "ipv6-icmp",
  132: "sctp",
  136: "udplite",
};
/** What the match `icmp` has for any type, and so can't say. */
const ANY_ICMP_TYPE = 255;

/** One rule of a group; the other end is the sender of what comes in and the receiver of what goes out. `undefined` for what no packet can be. */
export function groupMatch(rule: CompiledRule, direction: "ingress" | "egress", owner: string): string | undefined {
  const { remote, version } = rule;
  const matched = matchWords(rule);
  if (matched === undefined) return undefined;
  const side = direction === "ingress" ? "s" : "d";
  if (remote === undefined) return joined(matched);
  if ("range" in remote) return joined([...addressWords(side, remote.range), ...matched]);
  const set = memberSet(owner, remote.groupId, version);
  return joined([...matched, "-m", "set", "--match-set", set, direction === "ingress" ? "src" : "dst"]);
}

export function providerMatch(rule: CompiledProviderRule): string | undefined {
  const matched = matchWords(rule);
  return matched === undefined ? undefined : joined([...addressWords("s", rule.source), ...matched]);
}

/** `-s 10.0.0.0/24`; nothing for all addresses. The range must be a prefix. */
function addressWords(side: "s" | "d", range: AddressRange): string[] {
  const [prefix = ""] = prefixesOf(range);
  return prefix.endsWith("/0") ? [] : [`-${side}`, prefix];
}

function matchWords({ version, protocol, ports, icmpType, icmpCode }: CompiledMatch): string[] | undefined {
  if (protocol === undefined) return [];
  // To iptables 0 is any protocol; in IPv6 it is a header that is never the last one.
  if (protocol === 0) return version === 4 ? ["-m", "u32", "--u32", '"0x6&0xff=0x0"'] : undefined;
  const name = PROTOCOLS[protocol];
  const words = ["-p", name ?? String(protocol)];
  if (ports !== undefined && name !== undefined) {
    const { from, to } = ports;
    const range = from === to ? String(from) : `${from}:${to}`;
    words.push(...(protocol === UDPLITE ? ["-m", "multiport", "--dports", range] : ["-m", name, "--dport", range]));
  }
  if (icmpType === undefined) return words;
  const value = icmpCode === undefined ? String(icmpType) : `${icmpType}/${icmpCode}`;
  if (version === 6) return [...words, "-m", "icmp6", "--icmpv6-type", value];
  if (protocol === ICMP && icmpType !== ANY_ICMP_TYPE) return [...words, "-m", "icmp", "--icmp-type", value];
  if (protocol !== ICMP && protocol !== ICMPV6) return words;
  const code = icmpCode === undefined ? "" : `&&0x0>>0x16&0x3c@0x0>>0x10&0xff=0x${icmpCode.toString(16)}`;
  return [...words, "-m", "u32", "--u32", `"0x0>>0x16&0x3c@0x0>>0x18=0x${icmpType.toString(16)}${code}"`];
}

function joined(words: readonly string[]): string {
  return words.join(" ");
}
