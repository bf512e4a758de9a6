/** The chains and sets of a firewall, kept in step with its ports at the cost of what moves. Touches nothing but the tables that it is given. */
import { AddressPlaces, portKey } from "../policy/address-places.js";
import type { OwnedPort, Place } from "../policy/address-places.js";
import type { AddressRange } from "../policy/address-range.js";
import type { PolicyState } from "../policy/policy-state.js";
import type { IpVersion } from "../security-group.js";
import { fixedRules, groupRules, groupsInForce, instanceRules, providerRules, sendRules } from "./filter-rules.js";
import type { IpSet } from "./ip-sets.js";
import type { IptablesTable } from "./iptables-table.js";
import { CHAINS, groupChain, instanceChain, linkChain, linkSet, memberSet, sendChain } from "./names.js";
import { prefixesOf, setEntriesOf } from "../policy/prefixes.js";

const VERSIONS = [4, 6] as const;

export type FilterTables = Readonly<Record<IpVersion, IptablesTable>>;

/** Sets to change; `undefined`: not wanted any more. */
export type SetChanges = ReadonlyMap<string, IpSet | undefined>;

/** What decides for a place. */
export interface Decision {
  readonly place: Place;
  readonly instance: string;
  readonly send: string;
}

/** Chains that many places may share. */
interface Shared<T> {
  readonly of: T;
  places: number;
}

export interface LayoutChange {
  readonly after: PolicyState;
  readonly out: readonly OwnedPort[];
  readonly come: readonly OwnedPort[];
  readonly groups: Iterable<string>;
  readonly members: Iterable<string>;
  readonly providerRules: boolean;
}

export class FilterLayout {
  readonly #owner: string;
  readonly #tables: FilterTables;
  readonly #index = new AddressPlaces((port) => port.bridge ?? port.deviceName, true);
  /** By link, then by name. */
  readonly #decisions = new Map<string, Map<string, Decision>>();
  readonly #instances = new Map<string, Shared<readonly OwnedPort[]>>();
  readonly #sends = new Map<string, Shared<readonly string[]>>();

  constructor(owner: string, tables: FilterTables) {
    this.#owner = owner;
    this.#tables = tables;
  }

  /** Writes the chains that are always there. `mark`: by it these are known from others of the same names. */
  begin(mark: string, state: PolicyState): void {
    for (const version of VERSIONS) {
      for (const [chain, rules] of fixedRules(version, mark)) this.#tables[version].replaceRules(chain, rules);
      this.#tables[version].replaceRules(CHAINS.provider, providerRules(state.providerRules, version));
    }
    this.#writeLinks();
  }

  /** Writes what a change changes; returns the sets that it changes. */
  change({ after, out, come, groups, members, providerRules: isProvider }: LayoutChange): SetChanges {
    const sets = new Map<string, IpSet | undefined>();
    const changedGroups = [...groups];
    for (const id of members) this.#writeMembers(id, after, sets);
    if (isProvider)
      for (const version of VERSIONS)
        this.#tables[version].replaceRules(CHAINS.provider, providerRules(after.providerRules, version));
    for (const id of changedGroups.filter((one) => after.groups.has(one))) this.#writeGroup(id, after);
    this.#move(out, come, after, sets);
    for (const [chain, { of: ids }] of this.#sends)
      if (ids.some((id) => changedGroups.includes(id))) this.#writeSend(chain, ids, after);
    for (const id of changedGroups.filter((one) => !after.groups.has(one)))
      for (const version of VERSIONS) this.#tables[version].removeChain(groupChain(id));
    return sets;
  }

  /** Forgets a change whose writing into tables and sets was taken back. */
  forget({ out, come }: Pick<LayoutChange, "out" | "come">): void {
    this.#place(come, out);
  }

  /** Places of a port, each with the chains that decide there. */
  placesOf(owned: OwnedPort): readonly Decision[] {
    const link = this.#decisions.get(owned.port.bridge ?? owned.port.deviceName);
    const isOwner = (owner: OwnedPort): boolean => portKey(owner) === portKey(owned);
    return [...(link?.values() ?? [])].filter(({ place }) => place.owners.some(isOwner));
  }

  /** Chains that say what ports of a group may send. */
  sendChainsOf(groupId: string): readonly string[] {
    return [...this.#sends].filter(([, { of: ids }]) => ids.includes(groupId)).map(([chain]) => chain);
  }

  #move(
    out: readonly OwnedPort[],
    come: readonly OwnedPort[],
    state: PolicyState,
    sets: Map<string, IpSet | undefined>,
  ): void {
    const { links, instances, sends } = this.#place(out, come);
    for (const [chain, owners] of instances)
      this.#write(chain, this.#instances.has(chain) ? (version) => instanceRules(owners, version) : undefined);
    for (const [chain, ids] of sends)
      if (this.#sends.has(chain)) this.#writeSend(chain, ids, state);
      else this.#write(chain, undefined);
    for (const link of links) this.#writeLink(link, sets);
    if (links.size > 0) this.#writeLinks();
  }

  /** What the move touches. */
  #place(
    out: readonly OwnedPort[],
    come: readonly OwnedPort[],
  ): {
    readonly links: ReadonlySet<string>;
    readonly instances: ReadonlyMap<string, readonly OwnedPort[]>;
    readonly sends: ReadonlyMap<string, readonly string[]>;
  } {
    const links = new Set<string>();
    const instances = new Map<string, readonly OwnedPort[]>();
    const sends = new Map<string, readonly string[]>();
    const count = ({ place, instance, send }: Decision, by: 1 | -1): void => {
      const ids = groupsInForce(place.owners);
      tally(this.#instances, instance, place.owners, by);
      tally(this.#sends, send, ids, by);
      instances.set(instance, place.owners);
      sends.set(send, ids);
      links.add(place.link);
    };
    for (const [name, place] of this.#index.move(out, come)) {
      const link = linkOf(name);
      const decisions = this.#decisions.get(link) ?? new Map<string, Decision>();
      const was = decisions.get(name);
      if (was !== undefined) count(was, -1);
      if (place === undefined) decisions.delete(name);
      else {
        const { owners } = place;
        const is = { place, instance: instanceChain(owners), send: sendChain(groupsInForce(owners)) };
        count(is, 1);
        decisions.set(name, is);
      }
      if (decisions.size === 0) this.#decisions.delete(link);
      else this.#decisions.set(link, decisions);
    }
    return { links, instances, sends };
  }

  #writeMembers(id: string, state: PolicyState, sets: Map<string, IpSet | undefined>): void {
    const ranges = state.members.get(id);
    for (const version of VERSIONS)
      sets.set(memberSet(this.#owner, id, version), ranges === undefined ? undefined : setOf(version, ranges));
  }

  #writeGroup(id: string, state: PolicyState): void {
    const group = state.groups.get(id);
    this.#write(groupChain(id), (version) => (group === undefined ? [] : groupRules(group, version, this.#owner)));
  }

  #writeSend(chain: string, ids: readonly string[], state: PolicyState): void {
    const groups = ids.flatMap((id) => state.groups.get(id) ?? []);
    this.#write(chain, (version) => sendRules(groups, version, this.#owner));
  }

  #write(chain: string, rules: ((version: IpVersion) => readonly string[]) | undefined): void {
    for (const version of VERSIONS) {
      if (rules === undefined) this.#tables[version].removeChain(chain);
      else this.#tables[version].replaceRules(chain, rules(version));
    }
  }

  #writeLink(link: string, sets: Map<string, IpSet | undefined>): void {
    const decisions = [...(this.#decisions.get(link)?.values() ?? [])];
    const ranges = decisions.flatMap(({ place }) => place.range ?? []);
    for (const version of VERSIONS) {
      sets.set(linkSet(this.#owner, link, version), ranges.length === 0 ? undefined : setOf(version, ranges));
      const rules = (side: "s" | "d", kind: "send" | "instance"): string[] =>
        decisions.flatMap((decision) => {
          const { range } = decision.place;
          if (range?.version !== version) return [];
          return prefixesOf(range).map((prefix) => `-${side} ${prefix} -g $${decision[kind]}`);
        });
      for (const [way, side, kind] of [
        ["from", "s", "send"],
        ["to", "d", "instance"],
      ] as const) {
        if (ranges.length === 0) this.#tables[version].removeChain(linkChain(way, link));
        else this.#tables[version].replaceRules(linkChain(way, link), rules(side, kind));
      }
    }
  }

  /** Which links there are. */
  #writeLinks(): void {
    const links = [...this.#decisions.keys()];
    const isBridged = "-m physdev --physdev-is-bridged";
    for (const version of VERSIONS) {
      const match = (link: string, side: "src" | "dst"): string =>
        `-m set --match-set ${linkSet(this.#owner, link, version)} ${side}`;
      const table = this.#tables[version];
      const bridged = links.map((link) => `-i ${link} ${isBridged} -j ACCEPT`);
      table.replaceRules(CHAINS.bridged, bridged);
      table.replaceRules(CHAINS.tracked, [
        ...bridged,
        ...links.map((link) => `-o ${link} ${match(link, "dst")} -j ACCEPT`),
      ]);
      table.replaceRules(
        CHAINS.egress,
        links.map((link) => `-i ${link} ${match(link, "src")} -g $${linkChain("from", link)}`),
      );
      table.replaceRules(
        CHAINS.ingress,
        links.map((link) => `-o ${link} ${match(link, "dst")} -g $${linkChain("to", link)}`),
      );
    }
  }
}

function setOf(version: IpVersion, ranges: readonly AddressRange[]): IpSet {
  return { version, entries: new Set(ranges.filter((range) => range.version === version).flatMap(setEntriesOf)) };
}

function tally<T>(shared: Map<string, Shared<T>>, key: string, of: T, by: 1 | -1): void {
  const places = (shared.get(key)?.places ?? 0) + by;
  if (places === 0) shared.delete(key);
  else shared.set(key, { of, places });
}

function linkOf(place: string): string {
  return place.split("/")[1] ?? "";
}
