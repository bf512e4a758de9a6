/** The filters that are the same for all ports; what differs comes by variables. Pure. */
import type { FilterDocument, FilterEntry, FilterRule } from "./filter-document.js";
import { reference } from "./filter-document.js";
import type { NwFilterProtocol } from "../../libvirt/xml/index.js";
import { ICMPV6_FROM_PORT, ICMPV6_TO_PORT } from "../policy/permits.js";
import { ALL, PACKET, PRIORITY, ruleOf, TRACKED } from "./match-rules.js";
import { sharedName } from "./names.js";
import type { SharedFilter } from "./names.js";

/** Variables of a port. Those of `sources` go in step: the first MAC address with the first network, and so on. */
export const VARIABLES = {
  mac: "SOURCE_MAC",
  sources: { mac: "PAIR_MAC", address: "PAIR_IP", mask: "PAIR_MASK" },
  dhcpServer: "DHCPSERVER",
  network: { address: "PROJNET", mask: "PROJMASK" },
} as const;

const [MAC, PAIR_MAC, PAIR_IP, PAIR_MASK] = [
  `$${VARIABLES.mac}`,
  `$${VARIABLES.sources.mac}[@1]`,
  `$${VARIABLES.sources.address}[@1]`,
  `$${VARIABLES.sources.mask}[@1]`,
];
const [NETWORK, NETWORK_MASK] = [`$${VARIABLES.network.address}[@1]`, `$${VARIABLES.network.mask}[@1]`];

/** Frames that any port may get: to all, and to those that have asked for them. */
const TO_MANY = [
  { dstmacaddr: "ff:ff:ff:ff:ff:ff" },
  { dstmacaddr: "01:00:5e:00:00:00", dstmacmask: "ff:ff:ff:00:00:00" },
  { dstmacaddr: "33:33:00:00:00:00", dstmacmask: "ff:ff:00:00:00:00" },
] as const;

/** Of the chain that looks at untracked protocols. */
export const UNTRACKED_CHAIN = { 4: "ipv4-other", 6: "ipv6-other" } as const;

const VERSIONS = [4, 6] as const;

/**
 * All but the provider's. `mark` goes into the filter that all ports refer to, where nothing but libvirt sees it: with another mark, libvirt makes the rules of all ports anew.
 */
export function sharedFilters(prefix: string, mark: string): FilterDocument[] {
  const root = (filter: SharedFilter, entries: readonly FilterEntry[]): FilterDocument => ({
    name: sharedName(prefix, filter),
    chain: "root",
    entries,
  });
  const untracked = (filter: SharedFilter, version: 4 | 6, entries: readonly FilterEntry[]): FilterDocument => ({
    ...root(filter, entries),
    chain: UNTRACKED_CHAIN[version],
  });
  return [
    root("no-server", [
      rule("drop", "out", PRIORITY.never, "ipv6", { protocol: "58", type: "134" }),
      rule("drop", "out", PRIORITY.never, "ipv6", { protocol: "58", type: "137" }),
      rule("drop", "out", PRIORITY.never, "ipv6", { protocol: "17", srcportstart: "547", dstportstart: "546" }),
      rule("drop", "out", PRIORITY.never, "ip", { protocol: "17", srcportstart: "67", dstportstart: "68" }),
    ]),
    root("configuration", [
      accept("out", "ip", {
        srcmacaddr: MAC,
        srcipaddr: "0.0.0.0",
        dstipaddr: "255.255.255.255",
        protocol: "17",
        srcportstart: "68",
        dstportstart: "67",
      }),
      accept("out", "arp", { srcmacaddr: MAC, arpsrcmacaddr: MAC, arpsrcipaddr: "0.0.0.0" }),
      ...[{ type: "131", typeend: "133" }, { type: "135" }, { type: "143" }].map((types) =>
        accept("out", "ipv6", { srcmacaddr: MAC, srcipaddr: "::", protocol: "58", ...types }),
      ),
    ]),
    root("ipv4", [
      accept("out", "ip", { srcmacaddr: PAIR_MAC, srcipaddr: PAIR_IP, srcipmask: PAIR_MASK }),
      accept("out", "arp", {
        srcmacaddr: PAIR_MAC,
        arpsrcmacaddr: PAIR_MAC,
        arpsrcipaddr: PAIR_IP,
        arpsrcipmask: PAIR_MASK,
      }),
      accept("in", "ip", { dstipaddr: PAIR_IP, dstipmask: PAIR_MASK }),
    ]),
    root("ipv6", [
      accept("out", "ipv6", { srcmacaddr: PAIR_MAC, srcipaddr: PAIR_IP, srcipmask: PAIR_MASK }),
      accept("in", "ipv6", { dstipaddr: PAIR_IP, dstipmask: PAIR_MASK }),
    ]),
    root("any-address", [
      accept("out", "ip", { srcmacaddr: MAC }),
      accept("out", "arp", { srcmacaddr: MAC, arpsrcmacaddr: MAC }),
      accept("out", "ipv6", { srcmacaddr: MAC }),
      ...VERSIONS.map((version) => accept("in", PACKET[version], {})),
    ]),
    root("base", [
      reference(sharedName(prefix, "no-server")),
      ...TO_MANY.map((destination) => accept("in", "mac", destination)),
      rule("drop", "in", PRIORITY.end, "ip", {}),
      rule("drop", "in", PRIORITY.end, "ipv6", {}),
      rule("drop", "out", PRIORITY.end, "mac", { comment: mark }),
    ]),
    root("stateful", [
      ...VERSIONS.flatMap((version) =>
        (["in", "out"] as const).map((direction) =>
          rule("accept", direction, PRIORITY.reply, ALL[version], { state: "ESTABLISHED,RELATED" }),
        ),
      ),
      ...ICMPV6_TO_PORT.map((type) => neighbourly("in", type)),
      ...ICMPV6_FROM_PORT.map((type) => neighbourly("out", type)),
      accept("out", "udp", { srcportstart: "68", dstportstart: "67", state: "NEW" }),
      accept("out", "udp-ipv6", { srcportstart: "546", dstportstart: "547", state: "NEW" }),
    ]),
    root("dhcp-server", [
      accept("in", "udp", {
        srcipaddr: `$${VARIABLES.dhcpServer}`,
        srcportstart: "67",
        dstportstart: "68",
        state: "NEW",
      }),
    ]),
    root("dhcpv6-server", [accept("in", "udp-ipv6", { srcportstart: "547", dstportstart: "546", state: "NEW" })]),
    ...VERSIONS.map((version) =>
      root(version === 4 ? "same-network" : "same-network-v6", [
        accept("in", ALL[version], { srcipaddr: NETWORK, srcipmask: NETWORK_MASK, state: "NEW" }),
      ]),
    ),
    root(
      "closed",
      VERSIONS.map((version) => end(ALL[version])),
    ),
    root(
      "closed-tracked",
      VERSIONS.flatMap((version) => Object.values(TRACKED[version]).map(end)),
    ),
    ...VERSIONS.map((version) =>
      untracked(`same-network-ipv${version}`, version, [
        rule("return", "in", PRIORITY.group, PACKET[version], { srcipaddr: NETWORK, srcipmask: NETWORK_MASK }),
      ]),
    ),
    ...VERSIONS.map((version) =>
      untracked(`closed-ipv${version}`, version, [
        ...Object.keys(TRACKED[version]).map((protocol) =>
          rule("return", "inout", PRIORITY.known, PACKET[version], { protocol }),
        ),
        rule("drop", "inout", PRIORITY.end, PACKET[version], {}),
      ]),
    ),
  ];
}

/** Drops all packets of a protocol, whatever their connection. */
function end(protocol: NwFilterProtocol): FilterRule {
  return { ...rule("drop", "inout", PRIORITY.end, protocol, {}), stateMatch: false };
}

/** The kernel does not track how neighbours and routers are found. */
function neighbourly(direction: "in" | "out", type: number): FilterRule {
  return { ...accept(direction, "icmpv6", { type: String(type) }), stateMatch: false };
}

function accept(
  direction: "in" | "out",
  protocol: NwFilterProtocol,
  match: Readonly<Record<string, string>>,
): FilterRule {
  return rule("accept", direction, PRIORITY.basic, protocol, match);
}

function rule(
  action: FilterRule["action"],
  direction: FilterRule["direction"],
  priority: number,
  protocol: NwFilterProtocol,
  match: Readonly<Record<string, string>>,
): FilterRule {
  return ruleOf({ action, direction, priority }, protocol, match);
}
