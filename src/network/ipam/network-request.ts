/** What networks are asked for, checked at the door. */
import { check, InvalidArgumentError } from "../../core/index.js";
import { contains, formatAddress, parseAddress, parseCidr, sizeOf } from "./address.js";
import type { Address, Cidr } from "./address.js";
import { IPV6_MODES } from "./ipv6-address.js";
import type { Ipv6Mode } from "./ipv6-address.js";

/** The arguments of `createNetworks`, named as Nova names them. */
export interface NetworkRequest {
  /** 1 to 255 characters; `_0`, `_1`, … is added when there are several. */
  readonly label: string;
  /** IPv4 range that the networks are cut from. This or `cidrV6` is needed. */
  readonly cidr?: string;
  /** IPv6 range; each network gets a prefix of 64 bits or less of it. */
  readonly cidrV6?: string;
  /** Default 1. */
  readonly numNetworks?: number;
  /** Addresses of each; rounded up to a power of two. Default 256, or what is there for each if that is less. */
  readonly networkSize?: number;
  readonly multiHost?: boolean;
  readonly gateway?: string;
  readonly gatewayV6?: string;
  /** Default: the gateway. */
  readonly dhcpServer?: string;
  /** Default true. */
  readonly enableDhcp?: boolean;
  /** Default false. */
  readonly shareAddress?: boolean;
  readonly bridge?: string;
  readonly bridgeInterface?: string;
  /** At most 8. */
  readonly dnsServers?: readonly string[];
  /** Only these addresses are given out. */
  readonly fixedCidr?: string;
  /** First and last address that are given out. */
  readonly allowedStart?: string;
  readonly allowedEnd?: string;
  /** Bytes, 68 to 65535. */
  readonly mtu?: number;
  /** Whose they are from the beginning. */
  readonly projectId?: string;
  /** UUID of the one network that is made. */
  readonly id?: string;
  /** 1 to 4094; for one network. */
  readonly vlan?: number;
  /** Default 100. */
  readonly vlanStart?: number;
  /** First port of VPN servers. Default 1000. */
  readonly vpnStart?: number;
  readonly vpnPublicAddress?: string;
  /** Default `eui64`. */
  readonly ipv6Mode?: Ipv6Mode;
  readonly domain?: string;
  readonly injected?: boolean;
  readonly priority?: number;
}

/** What kind of networks a manager makes. */
export interface NetworkTopology {
  /** Each network is a VLAN with a bridge of its own and a VPN server among its guests. */
  readonly vlans: boolean;
  /** How many addresses at the bottom and top of the pool are never given out. */
  readonly bottomReserved: number;
  readonly topReserved: number;
  readonly required: readonly ("bridge" | "bridgeInterface")[];
}

/** Nova's defaults. */
export const DEFAULT_NETWORK_SIZE = 256;
export const DEFAULT_VLAN_START = 100;
export const DEFAULT_VPN_START = 1_000;
export const MAX_VLAN = 4_094;
const MAX_NETWORKS = 4_096;

const LINK = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,15}$/;
const link = check.string({ max: 15, pattern: LINK, expected: "a device name of 1 to 15 characters A-Za-z0-9._-" });

const shape = check.object({
  label: check.string({ max: 255 }),
  cidr: check.optional(check.cidr({ version: 4 })),
  cidrV6: check.optional(check.cidr({ version: 6 })),
  numNetworks: check.withDefault(check.integer({ min: 1, max: MAX_NETWORKS }), 1),
  networkSize: check.optional(check.integer({ min: 4, max: 2 ** 24 })),
  multiHost: check.withDefault(check.boolean(), false),
  gateway: check.optional(check.ipAddress({ version: 4 })),
  gatewayV6: check.optional(check.ipAddress({ version: 6 })),
  dhcpServer: check.optional(check.ipAddress({ version: 4 })),
  enableDhcp: check.withDefault(check.boolean(), true),
  shareAddress: check.withDefault(check.boolean(), false),
  bridge: check.optional(link),
  bridgeInterface: check.optional(link),
  dnsServers: check.withDefault(check.array(check.ipAddress(), { max: 8 }), []),
  fixedCidr: check.optional(check.cidr({ version: 4 })),
  allowedStart: check.optional(check.ipAddress({ version: 4 })),
  allowedEnd: check.optional(check.ipAddress({ version: 4 })),
  mtu: check.optional(check.integer({ min: 68, max: 65_535 })),
  projectId: check.optional(check.string({ max: 64, charset: "name" })),
  id: check.optional(check.uuid()),
  vlan: check.optional(check.integer({ min: 1, max: MAX_VLAN })),
  vlanStart: check.withDefault(check.integer({ min: 1, max: MAX_VLAN }), DEFAULT_VLAN_START),
  vpnStart: check.withDefault(check.integer({ min: 1, max: 65_535 }), DEFAULT_VPN_START),
  vpnPublicAddress: check.optional(check.ipAddress({ version: 4 })),
  ipv6Mode: check.withDefault(check.oneOf(IPV6_MODES), "eui64"),
  domain: check.optional(check.hostname()),
  injected: check.withDefault(check.boolean(), false),
  priority: check.optional(check.integer({ min: 0, max: 1_000_000 })),
});

export type CheckedRequest = ReturnType<typeof shape> & {
  readonly v4?: Cidr;
  readonly v6?: Cidr;
  /** Prefix length of each network. */
  readonly v4Length: number;
  readonly v6Length: number;
  readonly size: number;
};

function refuse(field: string, value: unknown, expected: string): never {
  throw new InvalidArgumentError({ field, value, expected });
}

/**
 * Checks what can be known without looking at other networks.
 * @throws InvalidArgumentError naming the argument
 */
export function checkNetworkRequest(input: NetworkRequest, topology: NetworkTopology): CheckedRequest {
  const request = shape(input, "request");
  const v4 = request.cidr === undefined ? undefined : parseCidr(request.cidr, "request.cidr", 4);
  const v6 = request.cidrV6 === undefined ? undefined : parseCidr(request.cidrV6, "request.cidrV6", 6);
  if (v4 === undefined && v6 === undefined) refuse("request.cidr", undefined, "a range in cidr or cidrV6");
  for (const name of topology.required)
    if (request[name] === undefined) refuse(`request.${name}`, undefined, "a device name");
  const size = request.networkSize ?? defaultSize(v4, request.numNetworks);
  const bits = Math.ceil(Math.log2(size));
  checkFits(request, topology, v4, v6, size, bits);
  checkVlans(request, topology, v4);
  checkSpans(request, v4);
  // The smallest IPv6 network of an Ethernet is a /64.
  const lengths = { v4Length: 32 - bits, v6Length: Math.min(128 - bits, 64) };
  return { ...request, ...(v4 === undefined ? {} : { v4 }), ...(v6 === undefined ? {} : { v6 }), ...lengths, size };
}

/** 256, or where there is less for each network, the largest power of two that there is. */
function defaultSize(v4: Cidr | undefined, count: number): number {
  if (v4 === undefined) return DEFAULT_NETWORK_SIZE;
  const each = Number(sizeOf(v4)) / count;
  if (each >= DEFAULT_NETWORK_SIZE) return DEFAULT_NETWORK_SIZE;
  return each < 1 ? 1 : 2 ** Math.floor(Math.log2(each));
}

function checkFits(
  request: ReturnType<typeof shape>,
  topology: NetworkTopology,
  v4: Cidr | undefined,
  v6: Cidr | undefined,
  size: number,
  bits: number,
): void {
  const { numNetworks } = request;
  if (v4 !== undefined && sizeOf(v4) < BigInt(numNetworks) * (1n << BigInt(bits)))
    refuse("request.cidr", request.cidr, `a range of at least ${numNetworks} networks of ${size} addresses`);
  if (v4 !== undefined && size < 4) refuse("request.networkSize", size, "at least 4 addresses for each network");
  if (v6 !== undefined && v6.length > 64) refuse("request.cidrV6", request.cidrV6, "a prefix of 64 bits or less");
  if (v6 !== undefined && sizeOf(v6) / (1n << 64n) < BigInt(numNetworks))
    refuse("request.cidrV6", request.cidrV6, `a range of at least ${numNetworks} networks of 64 bits`);
  if (topology.vlans && v4 === undefined) refuse("request.cidr", undefined, "an IPv4 range: VPN servers need one");
  if (numNetworks > 1 && request.id !== undefined) refuse("request.id", request.id, "nothing for several networks");
}

function checkVlans(request: ReturnType<typeof shape>, topology: NetworkTopology, v4: Cidr | undefined): void {
  const { vlan, vlanStart, numNetworks, vpnStart } = request;
  if (!topology.vlans) {
    if (vlan !== undefined) refuse("request.vlan", vlan, "nothing: these networks are no VLANs");
    return;
  }
  if (v4 === undefined) return;
  if (vlan === undefined && vlanStart + numNetworks > MAX_VLAN)
    refuse("request.vlanStart", vlanStart, `${MAX_VLAN} or less together with the number of networks`);
  if (vlan !== undefined && numNetworks > 1) refuse("request.vlan", vlan, "vlanStart for several networks");
  if (vpnStart + numNetworks > 65_536) refuse("request.vpnStart", vpnStart, "ports up to 65535 for all networks");
}

function checkSpans(request: ReturnType<typeof shape>, v4: Cidr | undefined): void {
  const inside = (name: "gateway" | "dhcpServer" | "allowedStart" | "allowedEnd"): Address | undefined => {
    const text = request[name];
    if (text === undefined) return undefined;
    const address = parseAddress(text, `request.${name}`, 4);
    if (v4 === undefined || !contains(v4, address)) refuse(`request.${name}`, text, "an address of cidr");
    return address;
  };
  inside("gateway");
  inside("dhcpServer");
  const start = inside("allowedStart");
  const end = inside("allowedEnd");
  if (start !== undefined && end !== undefined && end.value < start.value)
    refuse("request.allowedEnd", formatAddress(end), "an address behind allowedStart");
  if (request.fixedCidr === undefined) return;
  const fixed = parseCidr(request.fixedCidr, "request.fixedCidr", 4);
  if (v4 === undefined || !contains(v4, fixed)) refuse("request.fixedCidr", request.fixedCidr, "a range inside cidr");
}
