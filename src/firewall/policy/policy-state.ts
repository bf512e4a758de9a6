/** All that a firewall has to put in force, as plain data, and what a change of it touches. Pure. */
import type { AddressRange } from "./address-range.js";
import { remoteGroups } from "./group-policy.js";
import type { CompiledProviderRule, GroupPolicy } from "./group-policy.js";
import type { InstancePolicy } from "./port-policy.js";

export interface PolicyState {
  readonly instances: ReadonlyMap<string, InstancePolicy>;
  /** Groups of the instances. */
  readonly groups: ReadonlyMap<string, GroupPolicy>;
  /** Addresses of the groups that rules refer to; no two ranges of a group overlap. */
  readonly members: ReadonlyMap<string, readonly AddressRange[]>;
  readonly providerRules: readonly CompiledProviderRule[];
}

export const EMPTY_POLICY: PolicyState = {
  instances: new Map(),
  groups: new Map(),
  members: new Map(),
  providerRules: [],
};

/** From one state to the next; the sets name all that differs, and perhaps more. */
export interface PolicyChange {
  readonly before: PolicyState;
  readonly after: PolicyState;
  readonly instances: ReadonlySet<string>;
  readonly groups: ReadonlySet<string>;
  readonly members: ReadonlySet<string>;
  readonly providerRules: boolean;
}

/** What of a state is to be another. `undefined` as a value takes out. */
export interface PolicyEdit {
  readonly instances?: ReadonlyMap<string, InstancePolicy | undefined>;
  readonly groups?: ReadonlyMap<string, GroupPolicy>;
  readonly members?: ReadonlyMap<string, readonly AddressRange[]>;
  readonly providerRules?: readonly CompiledProviderRule[];
}

/** Edits a state, and drops the groups that nothing refers to any more. */
export function editPolicy(before: PolicyState, edit: PolicyEdit): PolicyChange {
  const instances = edited(before.instances, edit.instances);
  const allGroups = edited(before.groups, edit.groups);
  const usedGroups = new Set([...instances.values()].flatMap(groupsOf));
  const groups = kept(allGroups, usedGroups);
  const usedMembers = new Set([...groups.values()].flatMap((group) => [...remoteGroups(group)]));
  const members = kept(edited(before.members, edit.members), usedMembers);
  const providerRules = edit.providerRules ?? before.providerRules;
  return {
    before,
    after: { instances, groups, members, providerRules },
    instances: new Set(edit.instances?.keys()),
    groups: differing(before.groups, groups),
    members: differing(before.members, members),
    providerRules: providerRules !== before.providerRules,
  };
}

/** One change after another as one. */
export function joinChanges(first: PolicyChange, second: PolicyChange): PolicyChange {
  return {
    before: first.before,
    after: second.after,
    instances: new Set([...first.instances, ...second.instances]),
    groups: new Set([...first.groups, ...second.groups]),
    members: new Set([...first.members, ...second.members]),
    providerRules: first.providerRules || second.providerRules,
  };
}

/** Ids of the groups that must be known of an instance. */
export function groupsOf({ phase, ports }: InstancePolicy): readonly string[] {
  return ports.flatMap(({ groups = [], applied }) => (applied || phase !== "basic" ? groups : []));
}

/** An edited copy; the same object where nothing is edited. */
function edited<T>(
  map: ReadonlyMap<string, T>,
  edits: ReadonlyMap<string, T | undefined> | undefined,
): ReadonlyMap<string, T> {
  if (edits === undefined || edits.size === 0) return map;
  const copy = new Map(map);
  for (const [key, value] of edits) {
    if (value === undefined) copy.delete(key);
    else copy.set(key, value);
  }
  return copy;
}

function kept<T>(map: ReadonlyMap<string, T>, keys: ReadonlySet<string>): ReadonlyMap<string, T> {
  return [...map.keys()].every((key) => keys.has(key)) ? map : new Map([...map].filter(([key]) => keys.has(key)));
}

function differing<T>(one: ReadonlyMap<string, T>, other: ReadonlyMap<string, T>): ReadonlySet<string> {
  if (one === other) return new Set();
  return new Set([...one.keys(), ...other.keys()].filter((key) => one.get(key) !== other.get(key)));
}
