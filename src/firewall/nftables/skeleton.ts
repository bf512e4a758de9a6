/** The parts of our tables that are always there: where packets come in, and what holds for all ports. Pure. */
import { ICMPV6_FROM_PORT, ICMPV6_TO_PORT } from "../policy/permits.js";
import type { TableKey } from "./fragment.js";
import { FIXED } from "./names.js";

/**
 * Where flows are tracked. `bridge`: in the bridge itself, where the kernel can (`nf_conntrack_bridge`). `inet`: where routed packets are, to which each bridge of a filtered port hands
 * its own (`nf_call_iptables` of that bridge).
 */
export type TrackingMode = "bridge" | "inet";

/** Sets and maps that ports put their elements into. */
export const PORT_SETS = {
  ports: "ports",
  macs: "macs",
  sources: { 4: "sources4", 6: "sources6" },
  unknown: "unknown",
  neighbours: "neighbours",
  destinations: { 4: "destinations4", 6: "destinations6" },
  /** Which chain decides for what an address sends, and is sent. */
  from: { 4: "from4", 6: "from6" },
  to: { 4: "to4", 6: "to6" },
} as const;

const list = (numbers: readonly number[]): string => `{ ${numbers.join(", ")} }`;

/** Against false senders: stateless, on every frame, before anything else looks at it. */
function antiSpoofing(): string {
  const { ports, macs, sources, unknown, neighbours, destinations } = PORT_SETS;
  return `
  set ${ports} { type ifname; }
  set ${macs} { type ifname . ether_addr; }
  set ${sources[4]} { type ifname . ether_addr . ipv4_addr; flags interval; }
  set ${sources[6]} { type ifname . ether_addr . ipv6_addr; flags interval; }
  set ${unknown} { type ifname; }
  map ${neighbours} { type ifname : verdict; }
  set ${destinations[4]} { type ifname . ipv4_addr; flags interval; }
  set ${destinations[6]} { type ifname . ipv6_addr; flags interval; }
  chain source_arp {
    iifname . arp saddr ether . arp saddr ip @${sources[4]} accept
    arp saddr ip 0.0.0.0 iifname . arp saddr ether @${macs} accept
    iifname @${unknown} iifname . arp saddr ether @${macs} accept
    counter drop
  }
  chain source_ip4 {
    ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
    udp sport 67 udp dport 68 counter drop
    iifname . ether saddr . ip saddr @${sources[4]} accept
    iifname @${unknown} accept
    counter drop
  }
  chain source_ip6 {
    icmpv6 type { nd-router-advert, nd-redirect } counter drop
    udp sport 547 udp dport 546 counter drop
    icmpv6 type nd-neighbor-advert iifname vmap @${neighbours}
    ip6 saddr :: icmpv6 type { 131, 132, 133, 135, 143 } accept
    iifname . ether saddr . ip6 saddr @${sources[6]} accept
    iifname @${unknown} accept
    counter drop
  }
  chain source {
    iifname . ether saddr != @${macs} counter drop
    ether type vmap { arp : goto source_arp, ip : goto source_ip4, ip6 : goto source_ip6 }
    counter drop
  }
  chain destination {
    ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 return
    oifname @${unknown} return
    ether type ip oifname . ip daddr != @${destinations[4]} counter drop
    ether type ip6 oifname . ip6 daddr != @${destinations[6]} counter drop
  }
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    iifname @${ports} jump source
  }
  chain postrouting {
    type filter hook postrouting priority -300; policy accept;
    oifname @${ports} jump destination
  }
`;
}

/** What groups permit: each new flow once on its way out of a port and once on its way into one. */
function permissions(mode: TrackingMode): string {
  const { from, to } = PORT_SETS;
  const typeOf = (version: 4 | 6): string =>
    mode === "inet" ? `type ifname . ipv${version}_addr : verdict; flags interval;` : "type ifname : verdict;";
  const dispatch = (side: "iifname" | "oifname", address: "saddr" | "daddr", maps: { 4: string; 6: string }): string =>
    mode === "inet"
      ? `    ${side} . ip ${address} vmap @${maps[4]}\n    ${side} . ip6 ${address} vmap @${maps[6]}`
      : `    ${side} vmap @${maps[4]}`;
  const hook = (name: string, first: string): string =>
    [
      `  chain hook_${name} {`,
      `    type filter hook ${name} priority filter - 5; policy accept;`,
      "    ct state established,related accept",
      `    goto ${first}`,
      "  }",
    ].join("\n");
  return `
  map ${from[4]} { ${typeOf(4)} }
  map ${from[6]} { ${typeOf(6)} }
  map ${to[4]} { ${typeOf(4)} }
  map ${to[6]} { ${typeOf(6)} }
  chain ${FIXED.icmpToPort} {
    icmpv6 type ${list(ICMPV6_TO_PORT)} accept
  }
  chain ${FIXED.ingress} {
${dispatch("oifname", "daddr", to)}
    accept
  }
  chain ${FIXED.icmpFromPort} {
    icmpv6 type ${list(ICMPV6_FROM_PORT)} goto ${FIXED.ingress}
  }
  chain ${FIXED.egress} {
${dispatch("iifname", "saddr", from)}
    goto ${FIXED.ingress}
  }
  chain ${FIXED.provider} {
  }
${hook("forward", FIXED.egress)}
${hook("input", FIXED.egress)}
${hook("output", FIXED.ingress)}
`;
}

/** Our tables without a port, and the table that permissions stand in. */
export function skeleton(
  mode: TrackingMode,
  tableNames: Readonly<Record<TableKey, string>>,
): { readonly text: string; readonly permissions: TableKey } {
  const table = (key: TableKey, body: string): string =>
    `add table ${key} ${tableNames[key]}\ndelete table ${key} ${tableNames[key]}\ntable ${key} ${tableNames[key]} {${body}}\n`;
  if (mode === "inet")
    return { text: table("bridge", antiSpoofing()) + table("inet", permissions(mode)), permissions: "inet" };
  const none = `add table inet ${tableNames.inet}\ndelete table inet ${tableNames.inet}\n`;
  return { text: none + table("bridge", antiSpoofing() + permissions(mode)), permissions: "bridge" };
}
