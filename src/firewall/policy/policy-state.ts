/** All that a firewall has to put in force, as plain data, and what a change of it touches. Pure. */
import type { AddressRange } from "./address-range.js";
import type { CompiledProviderRule, GroupPolicy } from "./group-policy.js";
import type { InstancePolicy } from "./port-policy.js";

export interface PolicyState {
  readonly instances: ReadonlyMap<string, InstancePolicy>;
  /** Groups of the instances. */
  readonly groups: ReadonlyMap<string, GroupPolicy>;
  /** Addresses of the groups that rules refer to; no two ranges of a group overlap. */
  readonly members: ReadonlyMap<string, readonly AddressRange[]>;
  readonly providerRules: readonly CompiledProviderRule[];
  /** How many ports are in each group. */
  readonly groupUses: ReadonlyMap<string, number>;
}

export const EMPTY_POLICY: PolicyState = {
  instances: new Map(),
  groups: new Map(),
  members: new Map(),
  providerRules: [],
  groupUses: new Map(),
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

/** Edits of one state after another, made to one change. Costs what is edited, and one copy of what was there. */
export class PolicyDraft {
  readonly #before: PolicyState;
  readonly #instances: Copy<InstancePolicy>;
  readonly #groups: Copy<GroupPolicy>;
  readonly #members: Copy<readonly AddressRange[]>;
  readonly #uses: Copy<number>;
  #providerRules: readonly CompiledProviderRule[];
  #edits = 0;

  constructor(before: PolicyState) {
    this.#before = before;
    this.#instances = new Copy(before.instances);
    this.#groups = new Copy(before.groups);
    this.#members = new Copy(before.members);
    this.#uses = new Copy(before.groupUses);
    this.#providerRules = before.providerRules;
  }

  /** As edited so far; only good until the next edit. */
  get state(): PolicyState {
    return {
      instances: this.#instances.map,
      groups: this.#groups.map,
      members: this.#members.map,
      groupUses: this.#uses.map,
      providerRules: this.#providerRules,
    };
  }

  edit({ instances, groups, members, providerRules }: PolicyEdit): void {
    for (const [uuid, policy] of instances ?? []) {
      this.#use(this.#instances.map.get(uuid), -1);
      this.#use(policy, 1);
      this.#instances.set(uuid, policy);
      this.#edits += 1;
    }
    for (const [id, group] of groups ?? []) this.#groups.set(id, group);
    for (const [id, ranges] of members ?? []) this.#members.set(id, ranges);
    this.#edits += (groups?.size ?? 0) + (members?.size ?? 0);
    if (providerRules === undefined) return;
    this.#providerRules = providerRules;
    this.#edits += 1;
  }

  /** From what was to what is, without the groups that nothing refers to any more. `undefined` when nothing was edited. */
  change(): PolicyChange | undefined {
    if (this.#edits === 0) return undefined;
    for (const id of this.#groups.map.keys()) if (!this.#uses.map.has(id)) this.#groups.set(id, undefined);
    if (this.#groups.changed.size > 0 || this.#members.changed.size > 0) {
      const used = new Set([...this.#groups.map.values()].flatMap(({ remotes }) => [...remotes]));
      for (const id of this.#members.map.keys()) if (!used.has(id)) this.#members.set(id, undefined);
    }
    return {
      before: this.#before,
      after: this.state,
      instances: this.#instances.changed,
      groups: this.#groups.changed,
      members: this.#members.changed,
      providerRules: this.#providerRules !== this.#before.providerRules,
    };
  }

  #use(instance: InstancePolicy | undefined, by: 1 | -1): void {
    for (const id of instance === undefined ? [] : groupsOf(instance)) {
      const uses = (this.#uses.map.get(id) ?? 0) + by;
      this.#uses.set(id, uses === 0 ? undefined : uses);
    }
  }
}

/** A map that is copied when it is first changed. */
class Copy<T> {
  readonly #original: ReadonlyMap<string, T>;
  #copy: Map<string, T> | undefined;
  readonly changed = new Set<string>();

  constructor(original: ReadonlyMap<string, T>) {
    this.#original = original;
  }

  get map(): ReadonlyMap<string, T> {
    return this.#copy ?? this.#original;
  }

  /** `undefined` takes out. */
  set(key: string, value: T | undefined): void {
    if (this.map.get(key) === value) return;
    this.#copy ??= new Map(this.#original);
    if (value === undefined) this.#copy.delete(key);
    else this.#copy.set(key, value);
    this.changed.add(key);
  }
}

/** A whole state. */
export function policyOf(parts: Omit<PolicyState, "groupUses">): PolicyState {
  const draft = new PolicyDraft({ ...EMPTY_POLICY, groups: parts.groups, members: parts.members });
  draft.edit({ instances: parts.instances, providerRules: parts.providerRules });
  return draft.change()?.after ?? EMPTY_POLICY;
}

/** Ids of the groups that must be known of an instance. */
export function groupsOf({ phase, ports }: InstancePolicy): readonly string[] {
  return ports.flatMap(({ groups = [], applied }) => (applied || phase !== "basic" ? groups : []));
}
