/** Which chains decide for which address of which link: an address that several ports have is decided for by all of them. */
import { formatRange, partitionRanges } from "../policy/address-range.js";
import type { AddressRange } from "../policy/address-range.js";
import type { PolicyState } from "../policy/policy-state.js";
import type { Fragment, TableKey } from "./fragment.js";
import { portKey, profileOf } from "./port-fragments.js";
import type { OwnedPort, Profile } from "./port-fragments.js";
import { BY_INTERFACE, elementOf, quoted, setFor } from "./port-sets.js";
import type { TrackingMode } from "./tracking-mode.js";

/** Fragments that a move of ports has changed, by name; without entries for those that are gone. */
export interface DispatchChange {
  readonly names: ReadonlySet<string>;
  readonly fragments: ReadonlyMap<string, Fragment>;
}

interface Place {
  readonly link: string;
  /** Absent: the whole link. */
  readonly range?: AddressRange;
  readonly owners: readonly OwnedPort[];
}

interface PlacedProfile extends Place {
  readonly profile: Profile;
}

interface Link {
  readonly ports: Map<string, OwnedPort>;
  /** Ports by each single address that they have. */
  readonly byAddress: Map<string, Map<string, OwnedPort>>;
  /** How many ranges of more than one address there are. */
  wide: number;
}

/** Addresses of a link to look at anew. */
type Touched = Map<string, Map<string, AddressRange> | "all">;

/** An index of the ports whose groups are in force, kept in step with what the host has. */
export class Dispatch {
  readonly #mode: TrackingMode;
  readonly #table: TableKey;
  readonly #links = new Map<string, Link>();
  readonly #places = new Map<string, PlacedProfile>();
  /** Profiles, and how many places each decides for. */
  readonly #profiles = new Map<string, { readonly profile: Profile; places: number }>();

  constructor(mode: TrackingMode, table: TableKey) {
    this.#mode = mode;
    this.#table = table;
  }

  /** Takes ports out and puts ports in, whose groups are those of the state. The same with both exchanged, and the state before, takes it back. */
  move(out: readonly OwnedPort[], come: readonly OwnedPort[], state: PolicyState): DispatchChange {
    const touched: Touched = new Map();
    for (const owned of out) this.#take(owned, touched);
    for (const owned of come) this.#put(owned, touched);
    const names = new Set<string>();
    for (const [link, addresses] of touched) this.#rebuild(link, addresses, state, names);
    const fragments = new Map<string, Fragment>();
    for (const name of names) {
      const fragment = this.#fragmentOf(name);
      if (fragment !== undefined) fragments.set(name, fragment);
    }
    return { names, fragments };
  }

  /** The elements that count what goes to a port, and what of it is refused, by set. */
  countersOf(owned: OwnedPort): { readonly to: readonly Element[]; readonly refused: readonly Element[] } {
    const places = [...this.#places.values()].filter(
      ({ link, owners }) => link === this.#linkOf(owned) && owners.some((owner) => portKey(owner) === portKey(owned)),
    );
    return {
      to: places.map((place) => placeElement("to", place)),
      refused: places.map((place) => placeElement("refused", place)),
    };
  }

  #take(owned: OwnedPort, touched: Touched): void {
    const name = this.#linkOf(owned);
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
    const name = this.#linkOf(owned);
    const link: Link = this.#links.get(name) ?? { ports: new Map(), byAddress: new Map(), wide: 0 };
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

  #rebuild(name: string, addresses: Map<string, AddressRange> | "all", state: PolicyState, names: Set<string>): void {
    const link = this.#links.get(name);
    if (link === undefined) return;
    const prefix = `dispatch/${name}/`;
    const whole = this.#mode === "bridge" || addresses === "all";
    const wanted = this.#mode === "bridge" ? wholeLink(name, link) : addressPlaces(name, link, addresses);
    const looked = whole
      ? [...this.#places.keys()].filter((place) => place.startsWith(prefix))
      : [...addresses.keys()].map((address) => `${prefix}${address}`);
    for (const place of looked) if (!wanted.has(place)) this.#setPlace(place, undefined, names);
    for (const [place, value] of wanted)
      this.#setPlace(place, { ...value, profile: profileOf(value.owners, state, this.#table) }, names);
    if (link.ports.size === 0) this.#links.delete(name);
  }

  #setPlace(name: string, place: PlacedProfile | undefined, names: Set<string>): void {
    const was = this.#places.get(name);
    if (place !== undefined) this.#count(place.profile, 1, names);
    if (was !== undefined) this.#count(was.profile, -1, names);
    if (place === undefined) this.#places.delete(name);
    else this.#places.set(name, place);
    names.add(name);
  }

  #count(profile: Profile, by: 1 | -1, names: Set<string>): void {
    const entry = this.#profiles.get(profile.name) ?? { profile, places: 0 };
    entry.places += by;
    if (entry.places === 0) this.#profiles.delete(profile.name);
    else this.#profiles.set(profile.name, entry);
    names.add(profile.name);
  }

  #fragmentOf(name: string): Fragment | undefined {
    const place = this.#places.get(name);
    return place === undefined ? this.#profiles.get(name)?.profile.fragment : placeFragment(place, this.#table);
  }

  #linkOf({ port }: OwnedPort): string {
    return this.#mode === "bridge" ? port.deviceName : (port.bridge ?? port.deviceName);
  }
}

export interface Element {
  readonly set: string;
  readonly key: string;
}

function touch(touched: Touched, link: string, range: AddressRange | undefined, overlapping: boolean): void {
  const known = touched.get(link) ?? new Map<string, AddressRange>();
  const wide = range !== undefined && range.first !== range.last;
  if (known === "all" || overlapping || wide) touched.set(link, "all");
  else touched.set(link, range === undefined ? known : known.set(formatRange(range), range));
}

function wholeLink(name: string, link: Link): Map<string, Place> {
  const owners = [...link.ports.values()];
  return new Map(owners.length === 0 ? [] : [[`dispatch/${name}/`, { link: name, owners }]]);
}

function addressPlaces(name: string, link: Link, addresses: Map<string, AddressRange> | "all"): Map<string, Place> {
  const places = new Map<string, Place>();
  if (addresses !== "all") {
    for (const [address, range] of addresses) {
      const owners = [...(link.byAddress.get(address)?.values() ?? [])];
      if (owners.length > 0) places.set(`dispatch/${name}/${address}`, { link: name, range, owners });
    }
    return places;
  }
  const entries = [...link.ports.values()].flatMap((value) => value.port.addresses.map((range) => ({ range, value })));
  for (const { range, values } of partitionRanges(entries))
    places.set(`dispatch/${name}/${formatRange(range)}`, { link: name, range, owners: values });
  return places;
}

function placeElement(kind: "from" | "to" | "refused", { link, range }: Place): Element {
  if (range === undefined) return { set: BY_INTERFACE[kind], key: quoted(link) };
  return { set: setFor(kind, range), key: elementOf(kind, quoted(link), range) };
}

function placeFragment(place: PlacedProfile, table: TableKey): Fragment {
  const { profile } = place;
  const [to, from, refused] = (["to", "from", "refused"] as const).map((kind) => placeElement(kind, place)) as [
    Element,
    Element,
    Element,
  ];
  return {
    table,
    elements: {
      [to.set]: new Map([[to.key, `goto ${profile.to}`]]),
      [from.set]: new Map([[from.key, `goto ${profile.from}`]]),
      [refused.set]: new Map([[refused.key, undefined]]),
    },
  };
}
