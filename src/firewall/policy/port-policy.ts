/** A port's filter with every choice made. Pure. */
import type { FilteredInstance, FilteredPort } from "../firewall-driver.js";
import type { IpVersion } from "../security-group.js";
import { linkLocalOf, mergeRanges, rangeOf } from "./address-range.js";
import type { AddressRange } from "./address-range.js";

/** Addresses that a port may send from with one MAC address. */
export interface PortAddresses {
  readonly macAddress: string;
  /** No two overlap. */
  readonly ranges: readonly AddressRange[];
}

export interface PortPolicy {
  readonly id: string;
  readonly deviceName: string;
  /** The bridge that the interface is a port of. */
  readonly bridge?: string;
  readonly macAddress: string;
  /** MAC addresses that it may send from, the port's first, each with its IP addresses. */
  readonly sources: readonly PortAddresses[];
  /** False: its IP addresses are not known, and so not checked. */
  readonly addressesKnown: boolean;
  /** All its IP addresses; no two overlap. */
  readonly addresses: readonly AddressRange[];
  readonly dhcpServers: Readonly<Record<IpVersion, readonly AddressRange[]>>;
  /** Networks whose hosts may always reach it. */
  readonly neighbours: readonly AddressRange[];
  /** Ids of its security groups, each once; absent: none apply. */
  readonly groups?: readonly string[];
  /** Whether its groups are in force; until then nothing passes but what every port needs. */
  readonly applied: boolean;
}

/** How far an instance's filters have come. `basic`: anti-spoofing, and nothing else passes. `prepared`: its groups are known. `applied`: they are in force. */
export const FILTER_PHASES = ["basic", "prepared", "applied"] as const;
export type FilterPhase = (typeof FILTER_PHASES)[number];

export interface InstancePolicy {
  readonly uuid: string;
  readonly name: string;
  readonly phase: FilterPhase;
  readonly ports: readonly PortPolicy[];
  /** As it was given. */
  readonly given: FilteredInstance;
}

export interface CompileOptions {
  /** Hosts of a port's own subnets may always reach it (Nova's `allow_same_net_traffic`). */
  readonly allowSameNetwork: boolean;
}

/** An instance without the ports that are not filtered; those in `applied`, by id, have their groups in force. It was checked before. */
export function compileInstance(
  given: FilteredInstance,
  phase: FilterPhase,
  options: CompileOptions,
  applied: ReadonlySet<string> = new Set(),
): InstancePolicy {
  const { uuid, name } = given;
  const ports = given.ports.flatMap((port) => {
    const compiled = compilePort(port, options);
    return compiled === undefined ? [] : [{ ...compiled, applied: phase === "applied" || applied.has(port.id) }];
  });
  return { uuid, name, phase, ports, given };
}

function compilePort(
  port: FilteredPort,
  { allowSameNetwork }: CompileOptions,
): Omit<PortPolicy, "applied"> | undefined {
  const { id, deviceName, bridge, macAddress, fixedIps, allowedAddressPairs = [], subnets = [], securityGroups } = port;
  if (deviceName === undefined || port.portSecurityEnabled === false) return undefined;
  const byMac = new Map<string, AddressRange[]>([[macAddress, [linkLocalOf(macAddress)]]]);
  const allow = (mac: string, address: string): void => {
    const ranges = byMac.get(mac) ?? [linkLocalOf(mac)];
    ranges.push(rangeOf(address));
    byMac.set(mac, ranges);
  };
  for (const { address } of fixedIps ?? []) allow(macAddress, address);
  for (const pair of allowedAddressPairs) allow(pair.macAddress ?? macAddress, pair.address);
  const sources = [...byMac].map(([mac, ranges]) => ({ macAddress: mac, ranges: mergeRanges(ranges) }));
  const servers = subnets.flatMap(({ dhcpServer }) => (dhcpServer === undefined ? [] : [rangeOf(dhcpServer)]));
  return {
    id,
    deviceName,
    ...(bridge === undefined ? {} : { bridge }),
    macAddress,
    sources,
    addressesKnown: fixedIps !== undefined,
    addresses: mergeRanges(sources.flatMap(({ ranges }) => ranges)),
    dhcpServers: { 4: ofVersion(servers, 4), 6: ofVersion(servers, 6) },
    neighbours: allowSameNetwork ? mergeRanges(subnets.map(({ cidr }) => rangeOf(cidr))) : [],
    ...(securityGroups === undefined ? {} : { groups: [...new Set(securityGroups)] }),
  };
}

export function ofVersion(ranges: readonly AddressRange[], version: IpVersion): AddressRange[] {
  return mergeRanges(ranges.filter((range) => range.version === version));
}
