/** The parts of our tables that are always there: where packets come in, and what holds for all ports. Pure. */
import { ICMPV6_FROM_PORT, ICMPV6_TO_PORT } from "../policy/permits.js";
import type { TableKey } from "./fragment.js";
import { FIXED } from "./names.js";
import { BY_INTERFACE, declarationOf, INTERFACES, setName } from "./port-sets.js";
import type { SetKind } from "./port-sets.js";
import type { TrackingMode } from "./tracking-mode.js";

const VERSIONS = [4, 6] as const;
const WIDTHS = [false, true] as const;

/** Against false senders: stateless, on every frame, before anything else looks at it. */
function antiSpoofing(mode: TrackingMode): string {
  const { ports, macs, unknown } = INTERFACES;
  const sets = [
    `set ${ports} { type ifname; }`,
    `set ${macs} { type ifname . ether_addr; }`,
    `set ${unknown} { type ifname; }`,
    ...declarations(["sources", "destinations"], mode),
    ...WIDTHS.map((wide) => declarationOf("targets", 6, wide, mode)),
  ];
  const inEither = (match: string, kind: SetKind, version: 4 | 6, verdict: string): string[] =>
    WIDTHS.map((wide) => `${match} @${setName(kind, version, wide)} ${verdict}`);
  return [
    ...sets,
    ...chain("source_arp", [
      ...inEither("iifname . arp saddr ether . arp saddr ip", "sources", 4, "accept"),
      `arp saddr ip 0.0.0.0 iifname . arp saddr ether @${macs} accept`,
      `iifname @${unknown} iifname . arp saddr ether @${macs} accept`,
      "counter drop",
    ]),
    ...chain("source_ip4", [
      "ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
      "udp sport 67 udp dport 68 counter drop",
      ...inEither("iifname . ether saddr . ip saddr", "sources", 4, "accept"),
      `iifname @${unknown} accept`,
      "counter drop",
    ]),
    ...chain("advertisement", [
      `iifname @${unknown} return`,
      ...inEither("iifname . @th,64,128", "targets", 6, "return"),
      "counter drop",
    ]),
    ...chain("source_ip6", [
      "icmpv6 type { nd-router-advert, nd-redirect } counter drop",
      "udp sport 547 udp dport 546 counter drop",
      "icmpv6 type nd-neighbor-advert jump advertisement",
      "ip6 saddr :: icmpv6 type { 131, 132, 133, 135, 143 } accept",
      ...inEither("iifname . ether saddr . ip6 saddr", "sources", 6, "accept"),
      `iifname @${unknown} accept`,
      "counter drop",
    ]),
    ...chain("source", [
      `iifname . ether saddr != @${macs} counter drop`,
      "ether type vmap { arp : goto source_arp, ip : goto source_ip4, ip6 : goto source_ip6 }",
      "counter drop",
    ]),
    ...chain("destination", [
      "ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 return",
      `oifname @${unknown} return`,
      ...inEither("ether type ip oifname . ip daddr", "destinations", 4, "return"),
      ...inEither("ether type ip6 oifname . ip6 daddr", "destinations", 6, "return"),
      "ether type { ip, ip6 } counter drop",
    ]),
    ...chain("prerouting", [
      "type filter hook prerouting priority -300; policy accept",
      `iifname @${ports} jump source`,
    ]),
    ...chain("postrouting", [
      "type filter hook postrouting priority -300; policy accept",
      `oifname @${ports} jump destination`,
    ]),
  ].join("\n");
}

/** The table of anti-spoofing alone, without a port. */
export function antiSpoofingSkeleton(name: string): string {
  return tableText("bridge", name, antiSpoofing("inet"));
}

/** What groups permit: each new flow once on its way out of a port and once on its way into one. */
function permissions(mode: TrackingMode): string {
  const list = (numbers: readonly number[]): string => `{ ${numbers.join(", ")} }`;
  const dispatch = (side: "iifname" | "oifname", address: "saddr" | "daddr", kind: "from" | "to"): string[] =>
    mode === "bridge"
      ? [`${side} vmap @${BY_INTERFACE[kind]}`]
      : VERSIONS.flatMap((version) =>
          WIDTHS.map((wide) => `${side} . ${headerOf(version)} ${address} vmap @${setName(kind, version, wide)}`),
        );
  const refusals =
    mode === "bridge"
      ? [`oifname @${BY_INTERFACE.refused} drop`]
      : VERSIONS.flatMap((version) =>
          WIDTHS.map((wide) => `oifname . ${headerOf(version)} daddr @${setName("refused", version, wide)} drop`),
        );
  const hook = (name: string, first: string): string[] =>
    chain(`hook_${name}`, [
      `type filter hook ${name} priority filter - 5; policy accept`,
      "ct state established,related accept",
      `goto ${first}`,
    ]);
  const sets =
    mode === "bridge"
      ? [
          `map ${BY_INTERFACE.from} { type ifname : verdict; counter; }`,
          `map ${BY_INTERFACE.to} { type ifname : verdict; counter; }`,
          `set ${BY_INTERFACE.refused} { type ifname; counter; }`,
        ]
      : declarations(["from", "to", "refused"], mode);
  return [
    ...sets,
    ...chain(FIXED.refused, [...refusals, "drop"]),
    ...chain(FIXED.icmpToPort, [`icmpv6 type ${list(ICMPV6_TO_PORT)} accept`]),
    ...chain(FIXED.ingress, [...dispatch("oifname", "daddr", "to"), "accept"]),
    ...chain(FIXED.icmpFromPort, [`icmpv6 type ${list(ICMPV6_FROM_PORT)} goto ${FIXED.ingress}`]),
    ...chain(FIXED.egress, [...dispatch("iifname", "saddr", "from"), `goto ${FIXED.ingress}`]),
    ...chain(FIXED.provider, []),
    ...hook("forward", FIXED.egress),
    ...hook("input", FIXED.egress),
    ...hook("output", FIXED.ingress),
  ].join("\n");
}

/** Our tables without a port. */
export function skeleton(mode: TrackingMode, name: string): string {
  if (mode === "inet")
    return tableText("bridge", name, antiSpoofing(mode)) + tableText("inet", name, permissions(mode));
  return tableText("bridge", name, antiSpoofing(mode), permissions(mode));
}

/** The family of the table that permissions stand in. */
export function permissionsTable(mode: TrackingMode): TableKey {
  return mode === "inet" ? "inet" : "bridge";
}

function tableText(key: TableKey, name: string, ...parts: readonly string[]): string {
  return `table ${key} ${name} {\n${parts.join("\n")}\n}\n`;
}

function declarations(kinds: readonly SetKind[], mode: TrackingMode): string[] {
  return kinds.flatMap((kind) =>
    VERSIONS.flatMap((version) => WIDTHS.map((wide) => declarationOf(kind, version, wide, mode))),
  );
}

function chain(name: string, rules: readonly string[]): string[] {
  return [`chain ${name} {`, ...rules.map((rule) => `${rule};`), "}"];
}

function headerOf(version: 4 | 6): string {
  return version === 4 ? "ip" : "ip6";
}
