/** Which chains decide for which address of which link: an address that several ports have is decided for by all of them. */
import { formatRange, partitionRanges } from "../policy/address-range.js";
import type { AddressRange } from "../policy/address-range.js";
import type { Fragment, TableKey } from "./fragment.js";
import { ownerChains, portNames } from "./names.js";
import { portKey, quoted } from "./port-fragments.js";
import type { OwnedPort } from "./port-fragments.js";
import { PORT_SETS } from "./skeleton.js";
import type { TrackingMode } from "./skeleton.js";

/** Fragments that a move of ports has changed, by name; without entries for those that are gone. */
export interface DispatchChange {
  readonly names: ReadonlySet<string>;
  readonly fragments: ReadonlyMap<string, Fragment>;
}

interface Place {
  readonly link: string;
  readonly range: AddressRange | undefined;
  readonly owners: readonly OwnedPort[];
}

interface Link {
  readonly ports: Map<string, OwnedPort>;
  /** Ports by address, of those that have single addresses. */
  readonly byAddress: Map<string, Map<string, OwnedPort>>;
  /** Ranges of more than one address. */
  wide: number;
}

/** An index of the ports whose groups are in force, kept in step with what the host has. */
export class Dispatch {
  readonly #mode: TrackingMode;
  readonly #table: TableKey;
  readonly #links = new Map<string, Link>();
  readonly #places = new Map<string, Place>();
  /** How many places each set of owners decides for. */
  readonly #owners = new Map<string, { readonly owners: readonly OwnedPort[]; places: number }>();

  constructor(mode: TrackingMode, table: TableKey) {
    this.#mode = mode;
    this.#table = table;
  }

  /** Takes ports out and puts ports in. The same with both exchanged takes it back. */
  move(out: readonly OwnedPort[], come: readonly OwnedPort[]): DispatchChange {
    const touched = new Map<string, Set<string> | "all">();
    for (const owned of out) this.#take(owned, touched);
    for (const owned of come) this.#put(owned, touched);
    const names = new Set<string>();
    for (const [link, addresses] of touched) this.#rebuild(link, addresses, names);
    const fragments = new Map<string, Fragment>();
    for (const name of names) {
      const fragment = this.#fragmentOf(name);
      if (fragment !== undefined) fragments.set(name, fragment);
    }
    return { names, fragments };
  }

  #take(owned: OwnedPort, touched: Map<string, Set<string> | "all">): void {
    const name = this.#linkOf(owned);
    const link = this.#links.get(name);
    if (link === undefined) return;
    link.ports.delete(portKey(owned));
    for (const range of rangesOf(owned)) {
      if (range.first !== range.last) link.wide -= 1;
      else {
        const address = formatRange(range);
        const holders = link.byAddress.get(address);
        holders?.delete(portKey(owned));
        if (holders?.size === 0) link.byAddress.delete(address);
      }
      touch(touched, name, range, link.wide > 0);
    }
    touch(touched, name, undefined, false);
  }

  #put(owned: OwnedPort, touched: Map<string, Set<string> | "all">): void {
    const name = this.#linkOf(owned);
    const link: Link = this.#links.get(name) ?? { ports: new Map(), byAddress: new Map(), wide: 0 };
    this.#links.set(name, link);
    link.ports.set(portKey(owned), owned);
    for (const range of rangesOf(owned)) {
      if (range.first !== range.last) link.wide += 1;
      else {
        const address = formatRange(range);
        const holders: Map<string, OwnedPort> = link.byAddress.get(address) ?? new Map<string, OwnedPort>();
        holders.set(portKey(owned), owned);
        link.byAddress.set(address, holders);
      }
      touch(touched, name, range, link.wide > 0);
    }
    touch(touched, name, undefined, false);
  }

  #rebuild(name: string, addresses: Set<string> | "all", names: Set<string>): void {
    const link = this.#links.get(name);
    if (link === undefined) return;
    const wanted = this.#mode === "bridge" ? devicePlaces(name, link) : this.#addressPlaces(name, link, addresses);
    const prefix = `dispatch/${name}/`;
    const looked =
      addresses === "all" || this.#mode === "bridge"
        ? [...this.#places.keys()].filter((place) => place.startsWith(prefix))
        : [...addresses].map((address) => `${prefix}${address}`);
    for (const place of looked) if (!wanted.has(place)) this.#setPlace(place, undefined, names);
    for (const [place, value] of wanted) this.#setPlace(place, value, names);
    if (link.ports.size === 0) this.#links.delete(name);
  }

  #addressPlaces(name: string, link: Link, addresses: Set<string> | "all"): Map<string, Place> {
    if (addresses !== "all") {
      const places = [...addresses].flatMap((address): [string, Place][] => {
        const holders = link.byAddress.get(address);
        const [first] = holders?.values() ?? [];
        const range = first && rangesOf(first).find((own) => formatRange(own) === address);
        return holders === undefined || range === undefined
          ? []
          : [[`dispatch/${name}/${address}`, { link: name, range, owners: [...holders.values()] }]];
      });
      return new Map(places);
    }
    const entries = [...link.ports.values()].flatMap((value) => rangesOf(value).map((range) => ({ range, value })));
    return new Map(
      partitionRanges(entries).map(({ range, values }) => [
        `dispatch/${name}/${formatRange(range)}`,
        { link: name, range, owners: values },
      ]),
    );
  }

  #setPlace(name: string, place: Place | undefined, names: Set<string>): void {
    const was = this.#places.get(name);
    if (was !== undefined) this.#count(was.owners, -1, names);
    if (place === undefined) this.#places.delete(name);
    else {
      this.#places.set(name, place);
      this.#count(place.owners, 1, names);
    }
    names.add(name);
  }

  #count(owners: readonly OwnedPort[], by: 1 | -1, names: Set<string>): void {
    const name = ownersName(owners);
    const entry = this.#owners.get(name) ?? { owners, places: 0 };
    entry.places += by;
    if (entry.places === 0) this.#owners.delete(name);
    else this.#owners.set(name, entry);
    names.add(name);
  }

  #fragmentOf(name: string): Fragment | undefined {
    const owned = this.#owners.get(name);
    if (owned !== undefined) return ownersFragment(owned.owners, this.#table);
    const place = this.#places.get(name);
    return place === undefined ? undefined : placeFragment(place, this.#table);
  }

  #linkOf({ port }: OwnedPort): string {
    return this.#mode === "bridge" ? port.deviceName : (port.bridge ?? port.deviceName);
  }
}

function touch(
  touched: Map<string, Set<string> | "all">,
  link: string,
  range: AddressRange | undefined,
  overlapping: boolean,
): void {
  const known = touched.get(link) ?? new Set<string>();
  const wide = range !== undefined && range.first !== range.last;
  if (known === "all" || overlapping || wide) touched.set(link, "all");
  else {
    if (range !== undefined) known.add(formatRange(range));
    touched.set(link, known);
  }
}

function devicePlaces(name: string, link: Link): Map<string, Place> {
  const owners = [...link.ports.values()];
  return new Map(owners.length === 0 ? [] : [[`dispatch/${name}/`, { link: name, range: undefined, owners }]]);
}

function rangesOf({ port }: OwnedPort): readonly AddressRange[] {
  return port.addresses;
}

function ownersName(owners: readonly OwnedPort[]): string {
  return `owners/${owners.map(portKey).sort().join("+")}`;
}

function placeFragment({ link, range, owners }: Place, table: TableKey): Fragment {
  const chains = ownerChains(owners.map(portKey));
  const version = range?.version ?? 4;
  const key = range === undefined ? quoted(link) : `${quoted(link)} . ${formatRange(range)}`;
  return {
    table,
    elements: {
      [PORT_SETS.to[version]]: new Map([[key, `goto ${chains.to}`]]),
      [PORT_SETS.from[version]]: new Map([[key, `goto ${chains.from}`]]),
    },
  };
}

/** What none of them permits is dropped. */
function ownersFragment(owners: readonly OwnedPort[], table: TableKey): Fragment {
  const chains = ownerChains(owners.map(portKey));
  const names = owners.map(({ instance, port }) => portNames(instance.uuid, port.id));
  const count = (counter: "total" | "dropped"): string[] => names.map((name) => `counter name ${name[counter]}`);
  const refused = [...count("dropped"), "drop"];
  return {
    table,
    chains: {
      [chains.to]: {
        rules: [
          ...count("total"),
          "ct state invalid counter drop",
          ...names.map(({ ingress }) => `jump ${ingress}`),
          ...refused,
        ],
      },
      [chains.from]: {
        rules: ["ct state invalid counter drop", ...names.map(({ egress }) => `jump ${egress}`), "counter drop"],
      },
    },
  };
}
