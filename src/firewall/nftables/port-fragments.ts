/** What one port brings into our tables. Pure. */
import type { OwnedPort } from "../policy/address-places.js";
import { formatRange } from "../policy/address-range.js";
import type { AddressRange } from "../policy/address-range.js";
import type { PolicyState } from "../policy/policy-state.js";
import type { PortPolicy } from "../policy/port-policy.js";
import type { Fragment, TableKey } from "./fragment.js";
import { FIXED, groupNames, hashed } from "./names.js";
import { elementOf, INTERFACES, quoted, setFor } from "./port-sets.js";
import type { SetKind } from "./port-sets.js";
import { addressMatch } from "./rule-text.js";

/** Against false senders. */
export function sourceFragment({ port }: OwnedPort): Fragment {
  const { deviceName, sources, addresses, addressesKnown } = port;
  const device = quoted(deviceName);
  const elements: Record<string, Map<string, undefined>> = {};
  const put = (set: string, key: string): void => {
    (elements[set] ??= new Map<string, undefined>()).set(key, undefined);
  };
  const putAll = (kind: SetKind, holder: string, ranges: readonly AddressRange[]): void => {
    for (const range of ranges) put(setFor(kind, range), elementOf(kind, holder, range));
  };
  put(INTERFACES.ports, device);
  if (!addressesKnown) put(INTERFACES.unknown, device);
  for (const { macAddress, ranges } of sources) {
    put(INTERFACES.macs, `${device} . ${macAddress}`);
    putAll("sources", `${device} . ${macAddress}`, ranges);
  }
  putAll("destinations", device, addresses);
  putAll(
    "targets",
    device,
    addresses.filter(({ version }) => version === 6),
  );
  return { table: "bridge", elements };
}

/** Chains that decide for all ports of which the same is permitted. */
export interface Profile {
  readonly name: string;
  readonly to: string;
  readonly from: string;
  readonly fragment: Fragment;
}

/** What is permitted to and from an address that these ports have: what any of them may. The rest is dropped. */
export function profileOf(owners: readonly OwnedPort[], state: PolicyState, table: TableKey): Profile {
  const ports = owners.map(({ port }) => port);
  const ingress = [
    "ct state invalid counter drop",
    `jump ${FIXED.provider}`,
    ...unique(ports.flatMap(dhcpReplies)),
    `jump ${FIXED.icmpToPort}`,
    ...unique(
      ports.flatMap((port) =>
        (port.applied ? port.neighbours : []).map((range) => `${addressMatch("saddr", range)} accept`),
      ),
    ),
    ...unique(ports.flatMap(groupsInForce).map((id) => `jump ${groupNames(id).ingress}`)),
    `goto ${FIXED.refused}`,
  ];
  const groups = unique(ports.flatMap(groupsInForce));
  const sendsAny = groups.some((id) => state.groups.get(id)?.egressAny === true);
  const egress = [
    "ct state invalid counter drop",
    ...(sendsAny
      ? [`goto ${FIXED.ingress}`]
      : [
          `meta protocol ip udp sport 68 udp dport 67 goto ${FIXED.ingress}`,
          `meta protocol ip6 udp sport 546 udp dport 547 goto ${FIXED.ingress}`,
          `jump ${FIXED.icmpFromPort}`,
          ...groups.map((id) => `jump ${groupNames(id).egress}`),
          "counter drop",
        ]),
  ];
  const name = hashed(...ingress, "\0", ...egress);
  const [to, from] = [`to_${name}`, `from_${name}`];
  return {
    name: `profile/${name}`,
    to,
    from,
    fragment: { table, chains: { [to]: { rules: ingress }, [from]: { rules: egress } } },
  };
}

function groupsInForce({ applied, groups = [] }: PortPolicy): readonly string[] {
  return applied ? groups : [];
}

function dhcpReplies({ dhcpServers }: PortPolicy): string[] {
  const four = dhcpServers[4].map((range) => `ip saddr ${formatRange(range)} udp sport 67 udp dport 68 accept`);
  return dhcpServers[6].length === 0 ? four : [...four, "meta protocol ip6 udp sport 547 udp dport 546 accept"];
}

function unique<T>(list: readonly T[]): T[] {
  return [...new Set(list)];
}
