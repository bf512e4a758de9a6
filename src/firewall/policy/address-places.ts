/** Which ports have which address of which link: an address that several ports have is decided for by all of them. */
import { formatRange, partitionRanges } from "./address-range.js";
import type { AddressRange } from "./address-range.js";
import type { InstancePolicy, PortPolicy } from "./port-policy.js";

/** A port and whose it is. */
export interface OwnedPort {
  readonly instance: Pick<InstancePolicy, "uuid" | "name">;
  readonly port: PortPolicy;
}

export function portKey({ instance, port }: OwnedPort): string {
  return `port/${instance.uuid}/${port.id}`;
}

export function portsOf(instance: InstancePolicy | undefined): OwnedPort[] {
  return (instance?.ports ?? []).map((port) => ({ instance: instance as InstancePolicy, port }));
}

/** Whether groups decide for the port. */
export function isDecided({ port }: OwnedPort): boolean {
  return port.groups !== undefined;
}

export interface Place {
  readonly link: string;
  /** Absent: the whole link. */
  readonly range?: AddressRange;
  readonly owners: readonly OwnedPort[];
}

interface Link {
  readonly ports: Map<string, OwnedPort>;
  /** Ports by each single address that they have. */
  readonly byAddress: Map<string, Map<string, OwnedPort>>;
  /** How many ranges of more than one address there are. */
  wide: number;
  readonly places: Set<string>;
}

/** Addresses of a link to look at anew. */
type Touched = Map<string, Map<string, AddressRange> | "all">;

/** An index, kept in step with the ports of a host at the cost of what moves. No two places of a link overlap. */
export class AddressPlaces {
  readonly #linkOf: (port: PortPolicy) => string;
  readonly #byAddress: boolean;
  readonly #links = new Map<string, Link>();

  /** Without `byAddress` each link is one place. */
  constructor(linkOf: (port: PortPolicy) => string, byAddress: boolean) {
    this.#linkOf = linkOf;
    this.#byAddress = byAddress;
  }

  /** Takes ports out and puts ports in. Returns the places that either had or has, by name; `undefined` for those that are gone. */
  move(out: readonly OwnedPort[], come: readonly OwnedPort[]): ReadonlyMap<string, Place | undefined> {
    const touched: Touched = new Map();
    for (const owned of out) this.#take(owned, touched);
    for (const owned of come) this.#put(owned, touched);
    const changed = new Map<string, Place | undefined>();
    for (const [link, addresses] of touched) this.#rebuild(link, addresses, changed);
    return changed;
  }

  #take(owned: OwnedPort, touched: Touched): void {
    const name = this.#linkOf(owned.port);
    const link = this.#links.get(name);
    if (link?.ports.delete(portKey(owned)) !== true) return;
    for (const range of owned.port.addresses) {
      touch(touched, name, range, link.wide > 0);
      if (range.first !== range.last) link.wide -= 1;
      else {
        const holders = link.byAddress.get(formatRange(range));
        holders?.delete(portKey(owned));
        if (holders?.size === 0) link.byAddress.delete(formatRange(range));
      }
    }
    touch(touched, name, undefined, false);
  }

  #put(owned: OwnedPort, touched: Touched): void {
    const name = this.#linkOf(owned.port);
    const link: Link = this.#links.get(name) ?? { ports: new Map(), byAddress: new Map(), wide: 0, places: new Set() };
    this.#links.set(name, link);
    link.ports.set(portKey(owned), owned);
    for (const range of owned.port.addresses) {
      if (range.first !== range.last) link.wide += 1;
      else {
        const holders = link.byAddress.get(formatRange(range)) ?? new Map<string, OwnedPort>();
        link.byAddress.set(formatRange(range), holders.set(portKey(owned), owned));
      }
      touch(touched, name, range, link.wide > 0);
    }
    touch(touched, name, undefined, false);
  }

  #rebuild(name: string, addresses: Map<string, AddressRange> | "all", changed: Map<string, Place | undefined>): void {
    const link = this.#links.get(name);
    if (link === undefined) return;
    const wanted = this.#byAddress ? addressPlaces(name, link, addresses) : wholeLink(name, link);
    const looked =
      this.#byAddress && addresses !== "all"
        ? [...addresses.keys()].map((address) => placeName(name, address))
        : [...link.places];
    for (const place of looked) if (!wanted.has(place) && link.places.delete(place)) changed.set(place, undefined);
    for (const [place, value] of wanted) {
      link.places.add(place);
      changed.set(place, value);
    }
    if (link.ports.size === 0) this.#links.delete(name);
  }
}

function touch(touched: Touched, link: string, range: AddressRange | undefined, overlapping: boolean): void {
  const known = touched.get(link) ?? new Map<string, AddressRange>();
  const wide = range !== undefined && range.first !== range.last;
  if (known === "all" || overlapping || wide) touched.set(link, "all");
  else touched.set(link, range === undefined ? known : known.set(formatRange(range), range));
}

function wholeLink(name: string, link: Link): Map<string, Place> {
  const owners = [...link.ports.values()];
  return new Map(owners.length === 0 ? [] : [[placeName(name, ""), { link: name, owners }]]);
}

function addressPlaces(name: string, link: Link, addresses: Map<string, AddressRange> | "all"): Map<string, Place> {
  const places = new Map<string, Place>();
  if (addresses !== "all") {
    for (const [address, range] of addresses) {
      const owners = [...(link.byAddress.get(address)?.values() ?? [])];
      if (owners.length > 0) places.set(placeName(name, address), { link: name, range, owners });
    }
    return places;
  }
  const entries = [...link.ports.values()].flatMap((value) => value.port.addresses.map((range) => ({ range, value })));
  for (const { range, values } of partitionRanges(entries))
    places.set(placeName(name, formatRange(range)), { link: name, range, owners: values });
  return places;
}

function placeName(link: string, address: string): string {
  return `dispatch/${link}/${address}`;
}
