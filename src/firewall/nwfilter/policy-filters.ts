/** The filters of ports and groups, and what binds the one to the other. Pure. */
import { ConflictError } from "../../core/index.js";
import type { AddressRange } from "../policy/address-range.js";
import type { OwnedPort } from "../policy/address-places.js";
import type { PolicyState } from "../policy/policy-state.js";
import type { PortPolicy } from "../policy/port-policy.js";
import type { FilterDocument, FilterEntry } from "./filter-document.js";
import { reference } from "./filter-document.js";
import { hasUntracked, permissions, PRIORITY, providerDrops, ruleOf, untrackedPermissions } from "./match-rules.js";
import { groupName, portName, sharedName, untrackedGroupName } from "./names.js";
import type { SharedFilter } from "./names.js";
import { addressPrefixesOf } from "./prefixes.js";
import type { AddressPrefix } from "./prefixes.js";
import { UNTRACKED_CHAIN, VARIABLES } from "./shared-filters.js";

const VERSIONS = [4, 6] as const;

export function nameOf(prefix: string, { instance, port }: OwnedPort): string {
  return portName(prefix, instance.name, port.macAddress);
}

/** What a group permits: one filter, and for each version of IP one about protocols without connections. */
export function groupFilters(prefix: string, groupId: string, state: PolicyState): FilterDocument[] {
  const group = state.groups.get(groupId);
  if (group === undefined) return [];
  const members = (id: string): readonly AddressRange[] => state.members.get(id) ?? [];
  return [
    ...VERSIONS.map((version) => ({
      name: untrackedGroupName(prefix, groupId, version),
      chain: UNTRACKED_CHAIN[version],
      entries: untrackedPermissions(group, version, members),
    })),
    { name: groupName(prefix, groupId), chain: "root", entries: permissions(group, members) },
  ];
}

export function providerFilter(prefix: string, state: PolicyState): FilterDocument {
  return { name: sharedName(prefix, "provider-rules"), chain: "root", entries: providerDrops(state.providerRules) };
}

/** `mark`: with another one, libvirt makes the port's rules anew. */
export function portFilter(prefix: string, owned: OwnedPort, state: PolicyState, mark?: string): FilterDocument {
  const { port } = owned;
  const shared = (
    filter: SharedFilter,
    parameters?: Readonly<Record<string, string | readonly string[]>>,
  ): FilterEntry => reference(sharedName(prefix, filter), parameters);
  const macs = { [VARIABLES.mac]: port.sources.map(({ macAddress }) => macAddress) };
  return {
    name: nameOf(prefix, owned),
    chain: "root",
    entries: [
      shared("base"),
      ...(mark === undefined
        ? []
        : [ruleOf({ action: "drop", direction: "out", priority: PRIORITY.end }, "mac", { comment: mark })]),
      shared("configuration", macs),
      ...(port.addressesKnown ? addressEntries(port, shared) : [shared("any-address", macs)]),
      ...(port.groups === undefined ? [] : policyEntries(prefix, port, port.groups, state, shared)),
    ],
  };
}

type Shared = (filter: SharedFilter, parameters?: Readonly<Record<string, string | readonly string[]>>) => FilterEntry;

function addressEntries(port: PortPolicy, shared: Shared): FilterEntry[] {
  return VERSIONS.flatMap((version) => {
    const pairs = port.sources.flatMap(({ macAddress, ranges }) =>
      ofVersion(ranges, version).map((prefix) => ({ macAddress, ...prefix })),
    );
    if (pairs.length === 0) return [];
    const { mac, address, mask } = VARIABLES.sources;
    const parameters = {
      [mac]: pairs.map(({ macAddress }) => macAddress),
      [address]: pairs.map((pair) => pair.address),
      [mask]: pairs.map(({ length }) => length),
    };
    return [shared(`ipv${version}`, parameters)];
  });
}

function policyEntries(
  prefix: string,
  { applied, dhcpServers, neighbours }: PortPolicy,
  groups: readonly string[],
  state: PolicyState,
  shared: Shared,
): FilterEntry[] {
  const inForce = applied ? groups : [];
  const looksAtUntracked = inForce.some((id) => hasUntracked(state.groups.get(id)));
  const networks = VERSIONS.flatMap((version) => {
    const own = ofVersion(neighbours, version);
    if (!applied || own.length === 0) return [];
    const { address, mask } = VARIABLES.network;
    const parameters = { [address]: own.map((one) => one.address), [mask]: own.map(({ length }) => length) };
    return [
      shared(version === 4 ? "same-network" : "same-network-v6", parameters),
      ...(looksAtUntracked ? [shared(`same-network-ipv${version}`, parameters)] : []),
    ];
  });
  const servers = ofVersion(dhcpServers[4], 4).map(({ address }) => address);
  return [
    shared("stateful"),
    shared("provider-rules"),
    ...(servers.length === 0 ? [] : [shared("dhcp-server", { [VARIABLES.dhcpServer]: servers })]),
    ...(dhcpServers[6].length === 0 ? [] : [shared("dhcpv6-server")]),
    ...networks,
    ...inForce.map((id) => reference(groupName(prefix, id))),
    ...(looksAtUntracked
      ? [
          ...VERSIONS.flatMap((version) => inForce.map((id) => reference(untrackedGroupName(prefix, id, version)))),
          ...VERSIONS.map((version) => shared(`closed-ipv${version}`)),
          shared("closed-tracked"),
        ]
      : [shared("closed")]),
  ];
}

function ofVersion(ranges: readonly AddressRange[], version: 4 | 6): AddressPrefix[] {
  return ranges.filter((range) => range.version === version).flatMap(addressPrefixesOf);
}

/** Filters by name. @throws ConflictError when two ports would share one */
export function byName(documents: readonly FilterDocument[]): Map<string, FilterDocument> {
  const found = new Map<string, FilterDocument>();
  for (const document of documents) {
    if (found.has(document.name))
      throw new ConflictError("two ports of the host have the same instance name and MAC address", {
        detail: document.name,
      });
    found.set(document.name, document);
  }
  return found;
}
