/** Sets and maps that ports put their addresses into. Single addresses stand in hashes, where a change costs the same however many there are; the few ranges stand apart. */
import { formatAddress, formatRange } from "../policy/address-range.js";
import type { AddressRange } from "../policy/address-range.js";
import type { TrackingMode } from "./tracking-mode.js";

export type SetKind = "sources" | "destinations" | "targets" | "from" | "to" | "refused";

/** The set for a range: `sources4`, or `wide_sources4` for more than one address. */
export function setFor(kind: SetKind, range: AddressRange): string {
  return setName(kind, range.version, range.first !== range.last);
}

export function setName(kind: SetKind, version: 4 | 6, wide: boolean): string {
  return `${wide ? "wide_" : ""}${kind}${version}`;
}

/** Interfaces that are filtered; their MAC addresses; those whose IP addresses are not known. */
export const INTERFACES = { ports: "ports", macs: "macs", unknown: "unknown" } as const;

/** Where flows are tracked in the bridge, verdicts are by interface alone. */
export const BY_INTERFACE = { from: "from", to: "to", refused: "refused_by_interface" } as const;

export function quoted(name: string): string {
  return `"${name}"`;
}

/** What a set of a kind has for a range. */
export function elementOf(kind: SetKind, holder: string, range: AddressRange): string {
  return `${holder} . ${kind === "targets" ? hexRange(range) : formatRange(range)}`;
}

export function declarationOf(kind: SetKind, version: 4 | 6, wide: boolean, mode: TrackingMode): string {
  const interval = wide ? " flags interval;" : "";
  const address = `ipv${version}_addr`;
  switch (kind) {
    case "sources":
      return `set ${setName(kind, version, wide)} { type ifname . ether_addr . ${address};${interval} }`;
    case "destinations":
      return `set ${setName(kind, version, wide)} { type ifname . ${address};${interval} }`;
    case "targets":
      return `set ${setName(kind, version, wide)} { typeof iifname . @th,64,128;${interval} }`;
    case "refused":
      return `set ${setName(kind, version, wide)} { type ifname . ${address};${interval} counter; }`;
    case "from":
    case "to":
      return mode === "inet"
        ? `map ${setName(kind, version, wide)} { type ifname . ${address} : verdict;${interval} counter; }`
        : "";
  }
}

function hexRange({ version, first, last }: AddressRange): string {
  if (version === 4) return formatAddress(4, first);
  const hex = (value: bigint): string => `0x${value.toString(16).padStart(32, "0")}`;
  return first === last ? hex(first) : `${hex(first)}-${hex(last)}`;
}
