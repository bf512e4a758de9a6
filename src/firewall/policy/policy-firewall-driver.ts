/** The course of things that all filtering drivers share: what is read when, what follows what, and what happens when the host refuses. */
import { asError, ConflictError, MemoryStateStore } from "../../core/index.js";
import type { StateStore } from "../../core/index.js";
import { FirewallError } from "../errors.js";
import type { FilteredInstance, FirewallDriver } from "../firewall-driver.js";
import type { SecurityGroupSource } from "../security-group-source.js";
import { ChangeQueue } from "./change-queue.js";
import type { Mutation } from "./change-queue.js";
import type { FilterCounter, FirewallBackend, PortCounters } from "./firewall-backend.js";
import { FilterRecords } from "./filter-records.js";
import type { FlowCutter } from "./flow-cutter.js";
import type { AddressRange } from "./address-range.js";
import type { GroupPolicy } from "./group-policy.js";
import { GroupReader } from "./group-reader.js";
import type { ReadGroups } from "./group-reader.js";
import { EMPTY_POLICY, groupsOf, policyOf } from "./policy-state.js";
import type { PolicyState } from "./policy-state.js";
import { compileInstance } from "./port-policy.js";
import type { CompileOptions, FilterPhase, InstancePolicy } from "./port-policy.js";
import { checkFilteredInstance, groupIdCheck } from "./validate-security-group.js";

export interface PolicyFirewallOptions extends Partial<CompileOptions> {
  readonly groups: SecurityGroupSource;
  /** Where it is kept what is to be in force, so that a new process makes it so before it does anything else. Default: nowhere. */
  readonly state?: StateStore;
}

/** What is told of an instance that is to be unfiltered. */
type InstanceId = Pick<FilteredInstance, "uuid" | "name">;

/**
 * A firewall on a back end. Calls for different instances may overlap; what they change goes to the host in one transaction where it can. The first call puts in force what the
 * state store remembers, in place of whatever an earlier process left.
 */
export class PolicyFirewallDriver implements FirewallDriver {
  readonly #backend: FirewallBackend;
  readonly #reader: GroupReader;
  readonly #records: FilterRecords;
  readonly #queue: ChangeQueue;
  readonly #options: CompileOptions;
  #deferrals = 0;
  #deferred: Mutation[] = [];
  /** What was told to have changed since changes are deferred: read when they are applied, once. */
  readonly #stale = { groups: new Set<string>(), members: new Set<string>(), providerRules: false };
  /** What has been read since changes are deferred. */
  readonly #deferredGroups = {
    groups: new Map<string, GroupPolicy>(),
    members: new Map<string, readonly AddressRange[]>(),
  };
  /** Phases that deferred changes will bring, by instance. */
  readonly #promised = new Map<string, FilterPhase | undefined>();
  #opening: Promise<void> | undefined;

  constructor(backend: FirewallBackend, flows: FlowCutter, options: PolicyFirewallOptions) {
    const { groups, state = new MemoryStateStore(), allowSameNetwork = false } = options;
    this.#backend = backend;
    this.#reader = new GroupReader(groups);
    this.#records = new FilterRecords(state);
    this.#options = { allowSameNetwork };
    this.#queue = new ChangeQueue({ backend, records: this.#records, flows });
  }

  /** Ports that had their groups in force keep them, with their new addresses; new ones are shut until `applyInstanceFilter`. */
  async setupBasicFiltering(instance: FilteredInstance): Promise<void> {
    const given = this.#check(instance);
    await this.#open();
    await this.#change(given.uuid, "basic", (state) => {
      const previous = state.instances.get(given.uuid);
      const policy = compileInstance(given, "basic", this.#options, appliedPorts(previous));
      return { instances: new Map([[given.uuid, withGroupsOf(policy, previous)]]) };
    });
  }

  async prepareInstanceFilter(instance: FilteredInstance): Promise<void> {
    await this.#withGroups(instance, "prepared");
  }

  /** @throws ConflictError when the instance was not prepared */
  async applyInstanceFilter(instance: FilteredInstance): Promise<void> {
    const { uuid } = this.#check(instance);
    await this.#open();
    await this.#change(uuid, "applied", (state) => {
      const previous = state.instances.get(uuid);
      if (previous === undefined || previous.phase === "basic")
        throw new ConflictError("the instance's filter was not prepared", { instance: previous?.given ?? { uuid } });
      return { instances: new Map([[uuid, compileInstance(previous.given, "applied", this.#options)]]) };
    });
  }

  async refreshInstanceSecurityRules(instance: FilteredInstance): Promise<void> {
    await this.#withGroups(instance, "applied");
  }

  async unfilterInstance({ uuid }: InstanceId): Promise<void> {
    await this.#open();
    await this.#change(uuid, undefined, (state) =>
      state.instances.has(uuid) ? { instances: new Map([[uuid, undefined]]) } : {},
    );
  }

  async instanceFilterExists({ uuid }: InstanceId): Promise<boolean> {
    await this.#open();
    if (this.#promised.has(uuid)) return this.#promised.get(uuid) === "applied";
    return this.#queue.state.instances.get(uuid)?.phase === "applied";
  }

  async refreshSecurityGroupRules(securityGroupId: string): Promise<void> {
    const id = groupIdCheck(securityGroupId, "securityGroupId");
    await this.#open();
    this.#reader.markChanged(id);
    this.#deferredGroups.groups.delete(id);
    if (this.#deferrals > 0) {
      this.#stale.groups.add(id);
      return;
    }
    await this.#reader.inTurn(`rules/${id}`, async () => {
      for (;;) {
        const watch = this.#reader.watch();
        try {
          const { groups, members } = await this.#readRules(id, this.#queue.state);
          const done = await this.#submit((state) => {
            if (!state.groups.has(id)) return {};
            if (watch.isStale(members.keys()) || lacksMembers(groups.values(), state, members)) return undefined;
            return { groups, members };
          });
          if (done) return;
        } finally {
          watch.end();
        }
      }
    });
  }

  async refreshSecurityGroupMembers(securityGroupId: string): Promise<void> {
    const id = groupIdCheck(securityGroupId, "securityGroupId");
    await this.#open();
    this.#reader.markChanged(id);
    this.#deferredGroups.members.delete(id);
    if (this.#deferrals > 0) {
      this.#stale.members.add(id);
      return;
    }
    await this.#reader.inTurn(`members/${id}`, async () => {
      if (!this.#queue.state.members.has(id)) return;
      const members = await this.#reader.members(id);
      await this.#submit((state) => (state.members.has(id) ? { members: new Map([[id, members]]) } : {}));
    });
  }

  async refreshProviderFirewallRules(): Promise<void> {
    await this.#open();
    if (this.#deferrals > 0) {
      this.#stale.providerRules = true;
      return;
    }
    await this.#reader.inTurn("provider", async () => {
      const providerRules = await this.#reader.providerRules();
      await this.#submit(() => ({ providerRules }));
    });
  }

  filterDeferApplyOn(): void {
    this.#deferrals += 1;
  }

  /**
   * @throws what the first of the collected changes fails with; then none of them is in force. Groups that can't be read keep what they had; the rest is in force, and the first
   * of their errors is thrown.
   */
  async filterDeferApplyOff(): Promise<void> {
    if (this.#deferrals === 0) return;
    const errors: Error[] = [];
    // More may come while groups are read.
    while (this.#deferrals === 1 && this.#hasStale()) errors.push(...(await this.#readStale()));
    if (this.#deferrals === 0) return;
    this.#deferrals -= 1;
    if (this.#deferrals > 0) return;
    const mutations = this.#deferred;
    this.#deferred = [];
    this.#promised.clear();
    this.#deferredGroups.groups.clear();
    this.#deferredGroups.members.clear();
    if (mutations.length > 0) await this.#queue.submitAll(mutations);
    const [error] = errors;
    if (error !== undefined) throw error;
  }

  /** What would be put in force for an instance, as text for people; nothing is done. Groups are read from the source. */
  async plan(instance: FilteredInstance): Promise<string> {
    const given = this.#check(instance);
    const policy = compileInstance(given, "applied", this.#options);
    const { groups, members } = await this.#reader.missing(groupsOf(policy), this.#queue.state);
    const { state } = this.#queue;
    const planned = policyOf({
      instances: new Map([[policy.uuid, policy]]),
      groups: new Map([...state.groups, ...groups]),
      members: new Map([...state.members, ...members]),
      providerRules: state.providerRules,
    });
    return this.#backend.plan(planned, policy);
  }

  /** What the filters of an instance's ports have done. Empty for one that has none. */
  async portCounters({ uuid }: InstanceId): Promise<readonly PortCounters[]> {
    await this.#open();
    const policy = this.#queue.state.instances.get(uuid);
    return policy === undefined ? [] : this.#backend.portCounters(policy);
  }

  /** What the rules of a group have permitted on this host; zeros for a group that no port here is in. */
  async groupCounter(securityGroupId: string): Promise<FilterCounter> {
    const id = groupIdCheck(securityGroupId, "securityGroupId");
    await this.#open();
    return this.#queue.state.groups.has(id) ? this.#backend.groupCounter(id) : { packets: 0n, bytes: 0n };
  }

  /**
   * Makes the host's filters what they are to be, with groups read anew, whatever somebody has done to them. Atomic: there is no moment without filters.
   * @throws FirewallError; then what was there still is
   */
  async reconcile(): Promise<void> {
    await this.#open();
    await this.#queue.replaceAll((state) => this.#reload(state.instances));
  }

  /** Takes all filters of this driver out of the host and forgets them. For the end of a host's use, not of a process. */
  async remove(): Promise<void> {
    await this.#open();
    await this.#queue.removeAll();
  }

  /** All that the groups need, since what is deferred can't know what will be known at its turn. Each is read once. */
  async #readForLater(ids: readonly string[]): Promise<ReadGroups> {
    const known = this.#deferredGroups;
    const { groups, members } = await this.#reader.missing(ids, known);
    for (const [id, group] of groups) known.groups.set(id, group);
    for (const [id, ranges] of members) known.members.set(id, ranges);
    const needed = new Map(ids.flatMap((id) => [...entryOf(known.groups, id)]));
    const named = [...needed.values()].flatMap(({ remotes }) => [...remotes]);
    return { groups: needed, members: new Map(named.flatMap((id) => [...entryOf(known.members, id)])) };
  }

  /** A group, and of the members that its rules refer to those that a state lacks. */
  async #readRules(id: string, known: PolicyState): Promise<ReadGroups> {
    const group = await this.#reader.group(id);
    return { groups: new Map([[id, group]]), members: await this.#reader.missingMembers([group], known) };
  }

  #hasStale(): boolean {
    const { groups, members, providerRules } = this.#stale;
    return groups.size > 0 || members.size > 0 || providerRules;
  }

  /** Adds to what is deferred what was told to have changed. Resolves to what could not be read. */
  async #readStale(): Promise<readonly Error[]> {
    const errors: Error[] = [];
    const add = async (read: () => Promise<Mutation>): Promise<void> => {
      try {
        this.#deferred.push(await read());
      } catch (error) {
        errors.push(asError(error));
      }
    };
    const [groups, members] = [[...this.#stale.groups], [...this.#stale.members]];
    const { providerRules } = this.#stale;
    this.#stale.groups.clear();
    this.#stale.members.clear();
    this.#stale.providerRules = false;
    for (const id of groups)
      await add(async () => {
        const read = await this.#readRules(id, EMPTY_POLICY);
        return (state) => (state.groups.has(id) ? read : {});
      });
    for (const id of members)
      await add(async () => {
        const ranges = await this.#reader.members(id);
        return (state) => (state.members.has(id) ? { members: new Map([[id, ranges]]) } : {});
      });
    if (providerRules)
      await add(async () => {
        const rules = await this.#reader.providerRules();
        return () => ({ providerRules: rules });
      });
    return errors;
  }

  #check(instance: FilteredInstance): FilteredInstance {
    const given = checkFilteredInstance(instance, "instance");
    this.#backend.check(compileInstance(given, "applied", this.#options));
    return given;
  }

  async #withGroups(instance: FilteredInstance, phase: "prepared" | "applied"): Promise<void> {
    const given = this.#check(instance);
    await this.#open();
    for (;;) {
      const watch = this.#reader.watch();
      try {
        const ids = groupsOf(compileInstance(given, phase, this.#options));
        const deferred = this.#deferrals > 0;
        const { groups, members } = await (deferred
          ? this.#readForLater(ids)
          : this.#reader.missing(ids, this.#queue.state));
        const done = await this.#change(given.uuid, phase, (state) => {
          // Known groups are as new as any; what was read meanwhile may not be, and what was known may be forgotten.
          const unknown = ids.some((id) => !state.groups.has(id) && !groups.has(id));
          const come = without(groups, state.groups);
          const incomplete = unknown || lacksMembers(come.values(), state, members);
          if (!deferred && (incomplete || watch.isStale([...groups.keys(), ...members.keys()]))) return undefined;
          const policy = compileInstance(given, phase, this.#options, appliedPorts(state.instances.get(given.uuid)));
          return {
            instances: new Map([[given.uuid, policy]]),
            groups: come,
            members: without(members, state.members),
          };
        });
        if (done) return;
      } finally {
        watch.end();
      }
    }
  }

  #change(uuid: string, phase: FilterPhase | undefined, mutation: Mutation): Promise<boolean> {
    if (this.#deferrals > 0) this.#promised.set(uuid, phase);
    return this.#submit(mutation);
  }

  /** False when the mutation asks for being made anew, with newer answers. */
  async #submit(mutation: Mutation): Promise<boolean> {
    if (this.#deferrals === 0) return this.#queue.submit(mutation);
    this.#deferred.push(mutation);
    return true;
  }

  #open(): Promise<void> {
    this.#opening ??= this.#recover().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #recover(): Promise<void> {
    const instances = new Map<string, InstancePolicy>();
    for (const { instance, phase } of await this.#records.list())
      instances.set(instance.uuid, compileInstance(instance, phase, this.#options));
    await this.#queue.replaceAll(() => this.#reload(instances));
  }

  async #reload(instances: ReadonlyMap<string, InstancePolicy>): Promise<PolicyState> {
    try {
      const ids = [...instances.values()].flatMap(groupsOf);
      const { groups, members } = await this.#reader.missing(ids, EMPTY_POLICY);
      return policyOf({ instances, groups, members, providerRules: await this.#reader.providerRules() });
    } catch (error) {
      throw new FirewallError("the security groups could not be read", { retryable: true, cause: asError(error) });
    }
  }
}

function appliedPorts(policy: InstancePolicy | undefined): ReadonlySet<string> {
  return new Set((policy?.ports ?? []).filter(({ applied }) => applied).map(({ id }) => id));
}

/** The ports that have groups in force with those, whatever they are to have next. */
function withGroupsOf(policy: InstancePolicy, previous: InstancePolicy | undefined): InstancePolicy {
  const ports = policy.ports.map((port) => {
    const was = previous?.ports.find(({ id }) => id === port.id);
    if (was?.applied !== true) return port;
    const { groups: _, ...rest } = port;
    return was.groups === undefined ? rest : { ...rest, groups: was.groups };
  });
  return { ...policy, ports };
}

function entryOf<T>(map: ReadonlyMap<string, T>, key: string): readonly (readonly [string, T])[] {
  const value = map.get(key);
  return value === undefined ? [] : [[key, value]];
}

/** Whether groups name others whose members are neither read nor known any more: what refers to them first has to read them. */
function lacksMembers(
  groups: Iterable<GroupPolicy>,
  { members: known }: PolicyState,
  read: ReadonlyMap<string, unknown>,
): boolean {
  return [...groups].some(({ remotes }) => [...remotes].some((id) => !known.has(id) && !read.has(id)));
}

function without<T>(map: ReadonlyMap<string, T>, known: ReadonlyMap<string, unknown>): ReadonlyMap<string, T> {
  return new Map([...map].filter(([key]) => !known.has(key)));
}
