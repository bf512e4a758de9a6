/** The devices, addresses and routes of one network namespace, as `ip -json` prints them. */
import { StateCorruptError } from "../../core/index.js";
import { formatPrefix, normalAddress } from "./addresses.js";

export interface HostAddress {
  readonly version: 4 | 6;
  /** With prefix length, such as `10.0.0.1/24`. */
  readonly address: string;
  readonly scope: string;
  readonly broadcast?: string;
  /** Made by the kernel or by router advertisements; goes and comes by itself. */
  readonly dynamic: boolean;
}

export interface HostLink {
  readonly name: string;
  /** `bridge`, `vlan`, `tun`, `veth`, …; absent for hardware. */
  readonly kind?: string;
  readonly vlan?: number;
  /** The device that a VLAN or macvtap device stands on. */
  readonly parent?: string;
  readonly master?: string;
  readonly mtu?: number;
  readonly macAddress?: string;
  readonly alias?: string;
  readonly up: boolean;
  readonly addresses: readonly HostAddress[];
}

/** A route of the main table that somebody made: not the kernel's own for an address. */
export interface HostRoute {
  readonly version: 4 | 6;
  /** `default` or a CIDR or an address. */
  readonly destination: string;
  readonly device: string;
  readonly gateway?: string;
  readonly source?: string;
  readonly scope?: string;
  readonly protocol?: string;
  readonly metric?: number;
  readonly onlink?: boolean;
}

export interface HostState {
  readonly links: ReadonlyMap<string, HostLink>;
  readonly routes: readonly HostRoute[];
  /** Devices that routes with several next hops go through, which can't be moved. */
  readonly multipath: ReadonlySet<string>;
}

/** @param addresses what `ip -json -details address show` printed, `routes4` and `routes6` what `ip -json -4 (-6) route show` did. */
export function parseHostState(addresses: string, routes4: string, routes6: string): HostState {
  const links = list(addresses).flatMap((entry) => linkOf(entry) ?? []);
  const [four, six] = [list(routes4), list(routes6)];
  const multipath = [...four, ...six].flatMap((route) =>
    Array.isArray(route.nexthops) ? route.nexthops.flatMap((hop) => text(asRecord(hop)?.dev) ?? []) : [],
  );
  return {
    links: new Map(links.map((link) => [link.name, link])),
    routes: [...four.flatMap((route) => routeOf(4, route) ?? []), ...six.flatMap((route) => routeOf(6, route) ?? [])],
    multipath: new Set(multipath),
  };
}

/** Global addresses, in the kernel's order. */
export function globalAddresses(link: HostLink | undefined, version?: 4 | 6): readonly HostAddress[] {
  return (link?.addresses ?? []).filter(
    (address) => address.scope === "global" && (version === undefined || address.version === version),
  );
}

function linkOf(entry: Readonly<Record<string, unknown>>): HostLink | undefined {
  const name = text(entry.ifname);
  if (name === undefined) return undefined;
  const info = asRecord(entry.linkinfo);
  const kind = text(info?.info_kind);
  const id = asRecord(info?.info_data)?.id;
  const flags = Array.isArray(entry.flags) ? (entry.flags as unknown[]) : [];
  const addresses: readonly unknown[] = Array.isArray(entry.addr_info) ? entry.addr_info : [];
  const [parent, master, macAddress, alias] = [entry.link, entry.master, entry.address, entry.ifalias].map(text);
  return {
    name,
    ...(kind === undefined ? {} : { kind }),
    ...(kind === "vlan" && typeof id === "number" ? { vlan: id } : {}),
    ...(parent === undefined ? {} : { parent }),
    ...(master === undefined ? {} : { master }),
    ...(typeof entry.mtu === "number" ? { mtu: entry.mtu } : {}),
    ...(macAddress === undefined ? {} : { macAddress }),
    ...(alias === undefined ? {} : { alias }),
    up: flags.includes("UP"),
    addresses: addresses.flatMap((address) => addressOf(asRecord(address)) ?? []),
  };
}

function addressOf(entry: Readonly<Record<string, unknown>> | undefined): HostAddress | undefined {
  const local = text(entry?.local);
  if (entry === undefined || local === undefined || typeof entry.prefixlen !== "number") return undefined;
  const version = entry.family === "inet" ? 4 : entry.family === "inet6" ? 6 : undefined;
  if (version === undefined) return undefined;
  const broadcast = text(entry.broadcast);
  return {
    version,
    address: formatPrefix({ version, address: normalAddress(local), length: entry.prefixlen }),
    scope: text(entry.scope) ?? "global",
    ...(broadcast === undefined ? {} : { broadcast }),
    dynamic: entry.dynamic === true || entry.mngtmpaddr === true || entry.temporary === true,
  };
}

function routeOf(version: 4 | 6, entry: Readonly<Record<string, unknown>>): HostRoute | undefined {
  const [destination, device, protocol] = [entry.dst, entry.dev, entry.protocol].map(text);
  if (destination === undefined || device === undefined) return undefined;
  if (protocol === "kernel" || protocol === "ra" || (entry.type !== undefined && entry.type !== "unicast"))
    return undefined;
  const flags = Array.isArray(entry.flags) ? (entry.flags as unknown[]) : [];
  const [gateway, source, scope] = [entry.gateway, entry.prefsrc, entry.scope].map(text);
  return {
    version,
    destination,
    device,
    ...(gateway === undefined ? {} : { gateway }),
    ...(source === undefined ? {} : { source }),
    ...(scope === undefined ? {} : { scope }),
    ...(protocol === undefined ? {} : { protocol }),
    ...(typeof entry.metric === "number" ? { metric: entry.metric } : {}),
    ...(flags.includes("onlink") ? { onlink: true } : {}),
  };
}

function list(json: string): readonly Readonly<Record<string, unknown>>[] {
  if (json.trim() === "") return [];
  try {
    const parsed = JSON.parse(json) as unknown;
    if (!Array.isArray(parsed)) throw new TypeError("not a list");
    return (parsed as readonly unknown[]).map(asRecord).filter((entry) => entry !== undefined);
  } catch (error) {
    throw new StateCorruptError("ip printed something that is not a list", { cause: error });
  }
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
