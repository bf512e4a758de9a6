/** Which chains decide for which address of which link. */
import { AddressPlaces, portKey } from "../policy/address-places.js";
import type { OwnedPort, Place } from "../policy/address-places.js";
import type { PolicyState } from "../policy/policy-state.js";
import type { PortPolicy } from "../policy/port-policy.js";
import type { Fragment, TableKey } from "./fragment.js";
import { profileOf } from "./port-fragments.js";
import type { Profile } from "./port-fragments.js";
import { BY_INTERFACE, elementOf, quoted, setFor } from "./port-sets.js";
import type { TrackingMode } from "./tracking-mode.js";

/** Fragments that a move of ports has changed, by name; without entries for those that are gone. */
export interface DispatchChange {
  readonly names: ReadonlySet<string>;
  readonly fragments: ReadonlyMap<string, Fragment>;
}

interface PlacedProfile extends Place {
  readonly profile: Profile;
}

/** An index of the ports whose groups are in force, kept in step with what the host has. */
export class Dispatch {
  readonly #table: TableKey;
  readonly #index: AddressPlaces;
  readonly #linkOf: (port: PortPolicy) => string;
  readonly #places = new Map<string, PlacedProfile>();
  /** Profiles, and how many places each decides for. */
  readonly #profiles = new Map<string, { readonly profile: Profile; places: number }>();

  constructor(mode: TrackingMode, table: TableKey) {
    this.#table = table;
    this.#linkOf = (port) => (mode === "bridge" ? port.deviceName : (port.bridge ?? port.deviceName));
    this.#index = new AddressPlaces(this.#linkOf, mode === "inet");
  }

  /** Takes ports out and puts ports in, whose groups are those of the state. The same with both exchanged, and the state before, takes it back. */
  move(out: readonly OwnedPort[], come: readonly OwnedPort[], state: PolicyState): DispatchChange {
    const names = new Set<string>();
    for (const [name, place] of this.#index.move(out, come))
      this.#setPlace(
        name,
        place === undefined ? undefined : { ...place, profile: profileOf(place.owners, state, this.#table) },
        names,
      );
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
      ({ link, owners }) =>
        link === this.#linkOf(owned.port) && owners.some((owner) => portKey(owner) === portKey(owned)),
    );
    return {
      to: places.map((place) => placeElement("to", place)),
      refused: places.map((place) => placeElement("refused", place)),
    };
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
}

export interface Element {
  readonly set: string;
  readonly key: string;
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
