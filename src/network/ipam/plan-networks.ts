/** The networks that a request amounts to, by Nova's rules of `create_networks`. Pure. */
import { InvalidArgumentError } from "../../core/index.js";
import {
  addressAt,
  contains,
  formatAddress,
  formatCidr,
  netmaskOf,
  parseCidr,
  parseInside,
  sizeOf,
} from "./address.js";
import type { Address, Cidr } from "./address.js";
import { MAX_POOL } from "./address-pool.js";
import { NetworkConflictError } from "./errors.js";
import type { AddressSpan, Network } from "./network.js";
import { MAX_VLAN, checkNetworkRequest } from "./network-request.js";
import type { CheckedRequest, NetworkRequest, NetworkTopology } from "./network-request.js";
import { carveSubnets } from "./subnet-walk.js";

export interface PlanContext {
  readonly topology: NetworkTopology;
  /** All networks that there are. */
  readonly existing: readonly Network[];
  readonly newId: () => string;
  readonly now: number;
}

/**
 * Plans networks; makes none.
 * @throws InvalidArgumentError naming the argument; NetworkConflictError when they would overlap one that is there
 */
export function planNetworks(input: NetworkRequest, context: PlanContext): readonly Network[] {
  const request = checkNetworkRequest(input, context.topology);
  const used = context.existing.flatMap((network) =>
    [network.cidr, network.cidrV6].flatMap((cidr) => (cidr === undefined ? [] : parseCidr(cidr, "cidr"))),
  );
  const count = request.numNetworks;
  const v4 = request.v4 === undefined ? [] : carveSubnets(request.v4, request.v4Length, count, used, "request.cidr");
  const v6 = request.v6 === undefined ? [] : carveSubnets(request.v6, request.v6Length, count, used, "request.cidrV6");
  const planned: Network[] = [];
  for (let index = 0; index < count; index++)
    planned.push(planOne(request, context, { index, v4: v4[index], v6: v6[index], planned }));
  return planned;
}

interface Place {
  readonly index: number;
  readonly v4: Cidr | undefined;
  readonly v6: Cidr | undefined;
  /** Those of the same request. */
  readonly planned: readonly Network[];
}

function planOne(request: CheckedRequest, context: PlanContext, place: Place): Network {
  const { label, numNetworks } = request;
  const { v4, v6, index } = place;
  return {
    id: request.id ?? context.newId(),
    label: numNetworks > 1 ? `${label}_${index}` : label,
    ...pick(request, "projectId", "bridge", "bridgeInterface", "mtu", "priority", "domain"),
    multiHost: request.multiHost,
    injected: request.injected,
    enableDhcp: request.enableDhcp,
    shareAddress: request.shareAddress,
    dnsServers: request.dnsServers,
    ...(v4 === undefined ? {} : planV4(request, context, place, v4)),
    ...(v6 === undefined ? {} : planV6(request, v6)),
    createdAt: context.now,
  };
}

function planV6(request: CheckedRequest, v6: Cidr): Pick<Network, "cidrV6" | "gatewayV6" | "ipv6Mode"> {
  const gateway =
    request.gatewayV6 === undefined ? addressAt(v6, 1) : parseInside(request.gatewayV6, v6, "request.gatewayV6");
  return { cidrV6: formatCidr(v6), gatewayV6: formatAddress(gateway), ipv6Mode: request.ipv6Mode };
}

function planV4(request: CheckedRequest, context: PlanContext, place: Place, v4: Cidr): Partial<Network> {
  const { topology } = context;
  const given = (name: "gateway" | "dhcpServer" | "allowedStart" | "allowedEnd"): Address | undefined =>
    request[name] === undefined ? undefined : parseInside(request[name], v4, `request.${name}`);
  const start = given("allowedStart");
  const end = given("allowedEnd");
  let current = start ?? addressAt(v4, 1);
  const gateway = given("gateway") ?? current;
  if (request.gateway === undefined) current = behind(current);
  const dhcpServer = given("dhcpServer") ?? gateway;
  let dhcpStart = current.value === dhcpServer.value ? behind(current) : current;
  const singles = [gateway, dhcpServer];
  const vpn = topology.vlans ? planVpn(request, context, place, dhcpStart) : undefined;
  if (vpn !== undefined) {
    singles.push(dhcpStart);
    dhcpStart = behind(dhcpStart);
  }
  if (!contains(v4, dhcpStart))
    throw new InvalidArgumentError({
      field: "request.allowedStart",
      value: request.allowedStart,
      expected: `an address that leaves some of ${formatCidr(v4)} for guests`,
    });
  const pool = request.fixedCidr === undefined ? v4 : parseCidr(request.fixedCidr, "request.fixedCidr", 4);
  if (!contains(v4, pool))
    throw new InvalidArgumentError({
      field: "request.fixedCidr",
      value: request.fixedCidr,
      expected: `a range inside ${formatCidr(v4)}`,
    });
  if (sizeOf(pool) > BigInt(MAX_POOL))
    throw new InvalidArgumentError({ field: "request.fixedCidr", value: formatCidr(pool), expected: "a /8 or less" });
  return {
    cidr: formatCidr(v4),
    netmask: netmaskOf(v4),
    broadcast: formatAddress({ version: 4, value: v4.last }),
    gateway: formatAddress(gateway),
    dhcpServer: formatAddress(dhcpServer),
    dhcpStart: formatAddress(dhcpStart),
    ...(request.fixedCidr === undefined ? {} : { pool: spanOf(pool.first, pool.last) }),
    reserved: reservedOf(topology, { v4, pool, start, end }, singles),
    ...vpn,
  };
}

/** The bottom and the top of the pool, the network's own addresses, and what is outside of the allowed span. */
function reservedOf(
  topology: NetworkTopology,
  range: { v4: Cidr; pool: Cidr; start: Address | undefined; end: Address | undefined },
  singles: readonly Address[],
): readonly AddressSpan[] {
  const { v4, pool, start, end } = range;
  const bottom = start === undefined ? BigInt(topology.bottomReserved) : start.value - v4.first;
  const top = end === undefined ? BigInt(topology.topReserved) : v4.last - end.value;
  const spans: AddressSpan[] = [];
  if (bottom > 0n) spans.push(spanOf(pool.first, min(pool.first + bottom - 1n, pool.last)));
  if (top > 0n) spans.push(spanOf(max(pool.last - top + 1n, pool.first), pool.last));
  for (const value of new Set(singles.map((single) => single.value)))
    if (contains(pool, { version: 4, value })) spans.push(spanOf(value, value));
  return spans;
}

function planVpn(request: CheckedRequest, context: PlanContext, place: Place, address: Address): Partial<Network> {
  const before = context.existing.length;
  const others = [...context.existing, ...place.planned];
  const vlan = request.vlan ?? freeVlan(request.vlanStart, place.index + before, others);
  if (vlan > MAX_VLAN)
    throw new InvalidArgumentError({
      field: "request.vlanStart",
      value: request.vlanStart,
      expected: "a start with free VLANs behind it",
    });
  const holder = others.find((network) => network.vlan === vlan);
  if (holder !== undefined)
    throw new NetworkConflictError({ field: "request.vlan", wanted: `VLAN ${vlan}`, other: `network ${holder.id}` });
  return {
    vlan,
    bridge: `br${vlan}`,
    vpnPrivateAddress: formatAddress(address),
    vpnPublicPort: freePort(request, place.index + before, others),
    ...pick(request, "vpnPublicAddress"),
  };
}

/** The one of the network's place; where it is taken the one behind the highest in use, and behind the last the first that is free. */
function freeVlan(start: number, index: number, others: readonly Network[]): number {
  const used = new Set(others.flatMap(({ vlan }) => vlan ?? []));
  let vlan = start + index;
  if (used.has(vlan)) vlan = Math.max(...used) + 1;
  if (vlan > MAX_VLAN) for (vlan = start; used.has(vlan);) vlan += 1;
  return vlan;
}

function freePort(request: CheckedRequest, index: number, others: readonly Network[]): number {
  const used = new Set(
    others.flatMap((other) => (other.vpnPublicAddress === request.vpnPublicAddress ? (other.vpnPublicPort ?? []) : [])),
  );
  let port = request.vpnStart + index;
  while (used.has(port)) port += 1;
  if (port <= 65_535) return port;
  throw new InvalidArgumentError({
    field: "request.vpnStart",
    value: request.vpnStart,
    expected: "a start with free ports behind it",
  });
}

function behind(address: Address): Address {
  return { ...address, value: address.value + 1n };
}

function spanOf(first: bigint, last: bigint): AddressSpan {
  return { first: formatAddress({ version: 4, value: first }), last: formatAddress({ version: 4, value: last }) };
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

/** The named properties, without those that are absent. */
function pick<T extends object, K extends keyof T>(
  from: T,
  ...names: readonly K[]
): { [P in K]?: Exclude<T[P], undefined> } {
  const result: { [P in K]?: Exclude<T[P], undefined> } = {};
  for (const name of names) if (from[name] !== undefined) result[name] = from[name] as Exclude<T[K], undefined>;
  return result;
}
