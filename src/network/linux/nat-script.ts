/** Our tables as text for `nft`: the whole of them in one transaction, or single floating addresses. Pure. */
import { InvalidArgumentError } from "../../core/index.js";
import { checkLinkName } from "../../host/index.js";
import { hexOf, networkOf, normalAddress, parsePrefix, versionOf } from "./addresses.js";
import { METADATA_ADDRESS } from "./plan-addresses.js";
import type { FloatingRule, PacketRules } from "./packet-rules.js";

/** Port of OpenVPN, which VPN servers among the guests listen on. */
const VPN_PORT = 1194;
const VERSIONS = [4, 6] as const;
type Version = (typeof VERSIONS)[number];
const HEADER = { 4: "ip", 6: "ip6" } as const;

/** @throws InvalidArgumentError unless it begins with a letter and has 1 to 32 letters, digits and underscores. */
export function checkTableName(name: string, field = "tableName"): string {
  if (!/^[a-z][a-z0-9_]{0,31}$/.test(name))
    throw new InvalidArgumentError({ field, value: name, expected: "1 to 32 of a-z 0-9 _, beginning with a letter" });
  return name;
}

/** Replaces our tables by what the rules say; `mark` names a counter that shows that they are these. */
export function fullScript(table: string, rules: PacketRules, mark: string): string {
  return [
    ...fresh("inet", table),
    ...fresh("bridge", table),
    `table inet ${table} {`,
    ...[`counter ${mark} { }`],
    ...declarations(rules),
    ...VERSIONS.flatMap((version) => floatingMaps(version, rules.floating)),
    ...chain(
      "to_floating",
      VERSIONS.map((version) => translation(version, "dnat", "daddr", "to_fixed")),
    ),
    ...chain("destinations", [...metadataForward(rules), ...vpnForward(rules), "jump to_floating"]),
    ...chain("prerouting", ["type nat hook prerouting priority dstnat; policy accept", "jump destinations"]),
    ...chain("output", ["type nat hook output priority -100; policy accept", "jump destinations"]),
    ...chain("postrouting", ["type nat hook postrouting priority srcnat; policy accept", ...sources(rules)]),
    ...chain("input", ["type filter hook input priority filter - 10; policy accept", ...hostAccess(rules)]),
    ...chain("forward", ["type filter hook forward priority filter - 10; policy accept", ...between(rules)]),
    "}",
    ...isolation(table, rules),
    "",
  ].join("\n");
}

/** Takes our tables away. */
export function removalScript(table: string): string {
  return [...fresh("inet", table), ...fresh("bridge", table), ""].join("\n");
}

/** From these floating addresses to those; nothing when they are the same. */
export function floatingScript(table: string, before: readonly FloatingRule[], after: readonly FloatingRule[]): string {
  const lines = VERSIONS.flatMap((version) => {
    const [old, now] = [mappings(version, before), mappings(version, after)];
    return (["to_fixed", "to_public"] as const).flatMap((name) => {
      const [had, has] = [old[name], now[name]];
      const gone = [...had].filter(([key, value]) => has.get(key) !== value);
      const come = [...has].filter(([key, value]) => had.get(key) !== value);
      return [
        ...elements(
          "delete",
          table,
          name + version,
          gone.map(([key]) => key),
        ),
        ...elements(
          "add",
          table,
          name + version,
          come.map(([key, value]) => `${key} : ${value}`),
        ),
      ];
    });
  });
  return lines.map((line) => `${line}\n`).join("");
}

/** One address per fixed one leads outwards: the first that was given. */
function mappings(
  version: Version,
  floating: readonly FloatingRule[],
): { readonly to_fixed: ReadonlyMap<string, string>; readonly to_public: ReadonlyMap<string, string> } {
  const toFixed = new Map<string, string>();
  const toPublic = new Map<string, string>();
  for (const rule of floating) {
    const [outer, inner] = [normalAddress(rule.floatingAddress), normalAddress(rule.fixedAddress)];
    if (versionOf(outer) !== version) continue;
    toFixed.set(outer, inner);
    if (!toPublic.has(inner)) toPublic.set(inner, outer);
  }
  return { to_fixed: toFixed, to_public: toPublic };
}

function declarations(rules: PacketRules): readonly string[] {
  const bridges = rules.networks.map(({ bridge }) => name(bridge));
  const routed = rules.networks.filter((network) => network.routed).map(({ bridge }) => name(bridge));
  const closed = rules.networks.filter((network) => !network.routed).map(({ bridge }) => name(bridge));
  const fixed = [...rules.fixedRanges, ...rules.networks.flatMap((network) => (network.routed ? network.cidrs : []))];
  return [
    ...set("guests", "type ifname", bridges),
    ...set("routed", "type ifname", routed),
    ...set("closed", "type ifname", closed),
    ...set(
      "itself",
      "type ifname . ifname",
      bridges.map((bridge) => `${bridge} . ${bridge}`),
    ),
    ...VERSIONS.flatMap((version) => [
      ...ranges(`fixed${version}`, version, fixed),
      ...ranges(`exceptions${version}`, version, exceptions(rules)),
    ]),
  ];
}

function exceptions({ snatExceptions, metadata }: PacketRules): readonly string[] {
  const served = metadata === undefined || isLoopback(metadata.address) ? [] : [metadata.address];
  return [...snatExceptions, ...served];
}

function metadataForward({ metadata }: PacketRules): readonly string[] {
  if (metadata === undefined) return [];
  const { address, port } = metadata;
  const match = `iifname @guests ip daddr ${METADATA_ADDRESS} tcp dport 80`;
  const checkedPort = portOf(port, "metadata.port");
  if (isLoopback(address)) return [`${match} redirect to :${checkedPort}`];
  const target = normalAddress(address, "metadata.address");
  return [`${match} dnat ip to ${target}:${checkedPort}`];
}

function vpnForward({ networks }: PacketRules): readonly string[] {
  return networks.flatMap(({ vpn }) => {
    if (vpn === undefined) return [];
    const { publicAddress, publicPort, privateAddress } = vpn;
    const [outer, inner] = [
      normalAddress(publicAddress, "vpn.publicAddress"),
      normalAddress(privateAddress, "vpn.privateAddress"),
    ];
    const header = HEADER[versionOf(outer)];
    const target = header === "ip6" ? `[${inner}]:${VPN_PORT}` : `${inner}:${VPN_PORT}`;
    return [`${header} daddr ${outer} udp dport ${portOf(publicPort, "vpn.publicPort")} dnat ${header} to ${target}`];
  });
}

/** What guests are seen as: themselves among each other, their floating address, the host's. */
function sources({ publicInterface, routingSourceAddress }: PacketRules): readonly string[] {
  const out = publicInterface === undefined ? undefined : `oifname ${name(publicInterface)}`;
  return VERSIONS.flatMap((version) => {
    const header = HEADER[version];
    const fixed = `${header} saddr @fixed${version}`;
    const source = routingSourceAddress === undefined ? undefined : normalAddress(routingSourceAddress);
    const hostSource =
      source !== undefined && versionOf(source) === version ? `snat ${header} to ${source}` : "masquerade";
    return [
      `${fixed} ${header} daddr @exceptions${version} accept`,
      `${fixed} ${header} daddr @fixed${version} ct status & dnat == 0 accept`,
      `${fixed} ${header} daddr @fixed${version} iifname . oifname @itself masquerade`,
      translation(version, "snat", "saddr", "to_public"),
      // A guest that reaches another by its floating address, having none itself.
      ...(version === 4 ? [`${fixed} ${header} daddr @fixed${version} iifname @guests masquerade`] : []),
      ...(out === undefined || version === 6 ? [] : [`${fixed} ${out} ${hostSource}`]),
    ];
  });
}

function hostAccess({ restrictHostAccess, metadata }: PacketRules): readonly string[] {
  const served =
    metadata === undefined
      ? []
      : [`iifname @guests ct status dnat tcp dport ${portOf(metadata.port, "metadata.port")} accept`];
  if (!restrictHostAccess) return [...served];
  return [
    "iifname != @guests accept",
    "ct state established,related accept",
    ...served,
    "udp dport { 53, 67, 547 } accept",
    "tcp dport 53 accept",
    "icmp type echo-request accept",
    "icmpv6 type { echo-request, nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-report, mld2-listener-report } accept",
    "drop",
  ];
}

/** What was translated on its way in is meant to come in. */
function between({ routeBetweenNetworks }: PacketRules): readonly string[] {
  return [
    "iifname . oifname @itself accept",
    "ct state established,related accept",
    "iifname @closed drop",
    "oifname @closed drop",
    ...(routeBetweenNetworks ? [] : ["iifname @routed oifname @routed ct status & dnat == 0 drop"]),
  ];
}

/** A gateway address that every host has is this host's alone on its own bridge. */
function isolation(table: string, { networks }: PacketRules): readonly string[] {
  const isolated = networks.flatMap(({ isolation: own }) => (own === undefined ? [] : [own]));
  const keys = (version: Version): readonly string[] =>
    isolated.flatMap(({ device, addresses }) =>
      addresses
        .map((address) => normalAddress(address))
        .filter((address) => versionOf(address) === version)
        .map((address) => `${name(device)} . ${version === 6 ? hexOf(address) : address}`),
    );
  const rules = (side: "iifname" | "oifname"): readonly string[] => [
    `${side} . arp daddr ip @shared4 drop`,
    `${side} . arp saddr ip @shared4 drop`,
    `${side} @isolated udp dport { 67, 68, 546, 547 } drop`,
    `${side} @isolated icmpv6 type nd-router-advert drop`,
    `icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ${side} . @th,64,128 @shared6 drop`,
  ];
  return [
    `table bridge ${table} {`,
    ...set(
      "isolated",
      "type ifname",
      isolated.map(({ device }) => name(device)),
    ),
    ...set("shared4", "type ifname . ipv4_addr", keys(4)),
    ...set("shared6", "typeof iifname . @th,64,128", keys(6)),
    ...chain("arriving", ["type filter hook prerouting priority -290; policy accept", ...rules("iifname")]),
    ...chain("leaving", ["type filter hook postrouting priority -290; policy accept", ...rules("oifname")]),
    "}",
  ];
}

function floatingMaps(version: Version, floating: readonly FloatingRule[]): readonly string[] {
  const type = version === 4 ? "ipv4_addr" : "ipv6_addr";
  const { to_fixed: toFixed, to_public: toPublic } = mappings(version, floating);
  const pairs = (map: ReadonlyMap<string, string>): readonly string[] =>
    [...map].map(([key, value]) => `${key} : ${value}`);
  return [
    ...block(`map to_fixed${version}`, [`type ${type} : ${type}`, ...contents(pairs(toFixed))]),
    ...block(`map to_public${version}`, [`type ${type} : ${type}`, ...contents(pairs(toPublic))]),
  ];
}

function translation(version: Version, kind: "dnat" | "snat", field: "daddr" | "saddr", map: string): string {
  const header = HEADER[version];
  return `${kind} ${header} to ${header} ${field} map @${map}${version}`;
}

function fresh(family: "inet" | "bridge", table: string): readonly string[] {
  return [`add table ${family} ${table}`, `delete table ${family} ${table}`];
}

function chain(chainName: string, rules: readonly string[]): readonly string[] {
  return block(`chain ${chainName}`, rules);
}

function block(head: string, lines: readonly string[]): readonly string[] {
  return [`${head} {`, ...lines.map((line) => `${line};`), "}"];
}

function set(setName: string, type: string, items: readonly string[]): readonly string[] {
  return block(`set ${setName}`, [type, ...contents([...new Set(items)])]);
}

function ranges(setName: string, version: Version, cidrs: readonly string[]): readonly string[] {
  const type = version === 4 ? "ipv4_addr" : "ipv6_addr";
  const own = cidrs
    .map((cidr) => parsePrefix(cidr, "cidr"))
    .filter((prefix) => prefix.version === version)
    .map(networkOf);
  return block(`set ${setName}`, [`type ${type}`, "flags interval", "auto-merge", ...contents([...new Set(own)])]);
}

function contents(items: readonly string[]): readonly string[] {
  return items.length === 0 ? [] : [`elements = { ${items.join(", ")} }`];
}

function elements(verb: "add" | "delete", table: string, map: string, items: readonly string[]): readonly string[] {
  return items.length === 0 ? [] : [`${verb} element inet ${table} ${map} { ${items.join(", ")} }`];
}

/** Quoted, since some names are words of nft. */
function name(device: string): string {
  checkLinkName(device, "device");
  return `"${device}"`;
}

function portOf(port: number, field: string): number {
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new InvalidArgumentError({ field, value: port, expected: "a port from 1 to 65535" });
  return port;
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}
