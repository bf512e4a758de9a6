/** What one port brings into our tables. Pure. */
import { formatRange } from "../policy/address-range.js";
import type { AddressRange } from "../policy/address-range.js";
import type { PolicyState } from "../policy/policy-state.js";
import type { InstancePolicy, PortPolicy } from "../policy/port-policy.js";
import type { Fragment, TableKey } from "./fragment.js";
import { FIXED, groupNames, portNames } from "./names.js";
import { addressMatch } from "./rule-text.js";
import { PORT_SETS } from "./skeleton.js";

/** A port and whose it is. */
export interface OwnedPort {
  readonly instance: Pick<InstancePolicy, "uuid" | "name">;
  readonly port: PortPolicy;
}

export function portKey({ instance, port }: OwnedPort): string {
  return `port/${instance.uuid}/${port.id}`;
}

export function quoted(name: string): string {
  return `"${name}"`;
}

/** Against false senders. */
export function sourceFragment({ instance, port }: OwnedPort): Fragment {
  const { deviceName, sources, addresses, addressesKnown } = port;
  const device = quoted(deviceName);
  const { neighbours } = portNames(instance.uuid, port.id);
  const of = (version: 4 | 6): ReadonlyMap<string, undefined> =>
    keys(
      sources.flatMap(({ macAddress, ranges }) =>
        ranges
          .filter((range) => range.version === version)
          .map((range) => `${device} . ${macAddress} . ${formatRange(range)}`),
      ),
    );
  const reached = (version: 4 | 6): ReadonlyMap<string, undefined> =>
    keys(addresses.filter((range) => range.version === version).map((range) => `${device} . ${formatRange(range)}`));
  const targets = addresses
    .filter(({ version }) => version === 6)
    .map((range) => `@th,64,128 ${hexRange(range)} return`);
  return {
    table: "bridge",
    chains: addressesKnown
      ? { [neighbours]: { rules: [...targets, "counter drop"], comment: commentOf({ instance, port }) } }
      : {},
    elements: {
      [PORT_SETS.ports]: keys([device]),
      [PORT_SETS.macs]: keys(sources.map(({ macAddress }) => `${device} . ${macAddress}`)),
      [PORT_SETS.sources[4]]: of(4),
      [PORT_SETS.sources[6]]: of(6),
      [PORT_SETS.unknown]: keys(addressesKnown ? [] : [device]),
      [PORT_SETS.neighbours]: addressesKnown ? new Map([[device, `jump ${neighbours}`]]) : new Map(),
      [PORT_SETS.destinations[4]]: reached(4),
      [PORT_SETS.destinations[6]]: reached(6),
    },
  };
}

/** What is permitted to the port and from it. The chains return for what is not. */
export function permissionFragment(owned: OwnedPort, state: PolicyState, table: TableKey): Fragment {
  const { instance, port } = owned;
  const names = portNames(instance.uuid, port.id);
  const groups = port.applied ? (port.groups ?? []) : [];
  const comment = commentOf(owned);
  return {
    table,
    counters: [names.total, names.dropped],
    chains: {
      [names.ingress]: {
        comment,
        rules: [
          `jump ${FIXED.provider}`,
          ...dhcpReplies(port),
          `jump ${FIXED.icmpToPort}`,
          ...(port.applied ? port.neighbours.map((range) => `${addressMatch("saddr", range)} accept`) : []),
          ...groups.map((id) => `jump ${groupNames(id).ingress}`),
        ],
      },
      [names.egress]: {
        comment,
        rules: [
          `udp sport 68 udp dport 67 meta protocol ip goto ${FIXED.ingress}`,
          `udp sport 546 udp dport 547 meta protocol ip6 goto ${FIXED.ingress}`,
          `jump ${FIXED.icmpFromPort}`,
          ...(groups.some((id) => state.groups.get(id)?.egressAny === true)
            ? [`goto ${FIXED.ingress}`]
            : groups.map((id) => `jump ${groupNames(id).egress}`)),
        ],
      },
    },
  };
}

function dhcpReplies({ dhcpServers }: PortPolicy): string[] {
  const four = dhcpServers[4].map((range) => `${addressMatch("saddr", range)} udp sport 67 udp dport 68 accept`);
  return dhcpServers[6].length === 0 ? four : [...four, "meta protocol ip6 udp sport 547 udp dport 546 accept"];
}

function commentOf({ instance, port }: OwnedPort): string {
  return `${instance.name} ${port.deviceName}`.slice(0, 100);
}

function keys(list: readonly string[]): ReadonlyMap<string, undefined> {
  return new Map(list.map((key) => [key, undefined]));
}

function hexRange({ first, last }: AddressRange): string {
  const hex = (value: bigint): string => `0x${value.toString(16).padStart(32, "0")}`;
  return first === last ? hex(first) : `${hex(first)}-${hex(last)}`;
}
