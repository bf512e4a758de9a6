/** Reads groups from the embedder, checked, and never an older answer after a newer one. */
import { KeyedLock } from "../../core/index.js";
import type { SecurityGroupSource } from "../security-group-source.js";
import type { AddressRange } from "./address-range.js";
import { compileGroup, compileMembers, compileProviderRules } from "./group-policy.js";
import type { CompiledProviderRule, GroupPolicy } from "./group-policy.js";
import type { PolicyState } from "./policy-state.js";
import { checkMembers, checkProviderRules, checkSecurityGroup } from "./validate-security-group.js";

/** What need not be read. */
export type KnownGroups = Pick<PolicyState, "groups" | "members">;

export interface ReadGroups {
  readonly groups: ReadonlyMap<string, GroupPolicy>;
  readonly members: ReadonlyMap<string, readonly AddressRange[]>;
}

/** Notices changes that are told of while an answer is awaited. */
export interface Watch {
  /** Whether one of the groups has changed since the watch began. */
  isStale(ids: Iterable<string>): boolean;
  end(): void;
}

export class GroupReader {
  readonly #source: SecurityGroupSource;
  /** Reads of one group follow each other, so that the last answer is the newest. */
  readonly #locks = new KeyedLock();
  /** By key: what has not begun. */
  readonly #waiting = new Map<string, Promise<void>>();
  readonly #watches = new Set<Set<string>>();

  constructor(source: SecurityGroupSource) {
    this.#source = source;
  }

  watch(): Watch {
    const changed = new Set<string>();
    this.#watches.add(changed);
    return {
      isStale: (ids) => [...ids].some((id) => changed.has(id)),
      end: () => this.#watches.delete(changed),
    };
  }

  /** From now on answers about the group that are under way count for nothing. */
  markChanged(id: string): void {
    for (const watch of this.#watches) watch.add(id);
  }

  /** Runs a read and what follows from it, before the next of the same key. Calls that come before it begins are served by one. */
  inTurn(key: string, work: () => Promise<void>): Promise<void> {
    const waiting = this.#waiting.get(key);
    if (waiting !== undefined) return waiting;
    let begun = false;
    const turn = this.#locks.run(key, () => {
      begun = true;
      this.#waiting.delete(key);
      return work();
    });
    if (!begun) this.#waiting.set(key, turn);
    return turn;
  }

  async group(id: string): Promise<GroupPolicy> {
    const group = await this.#source.securityGroup(id);
    return compileGroup(id, group === undefined ? undefined : checkSecurityGroup(group, id));
  }

  async members(id: string): Promise<readonly AddressRange[]> {
    return compileMembers(checkMembers(await this.#source.members(id), "members"));
  }

  async providerRules(): Promise<readonly CompiledProviderRule[]> {
    return compileProviderRules(checkProviderRules((await this.#source.providerRules?.()) ?? [], "providerRules"));
  }

  /** The groups that a state lacks, and the members that their rules refer to. */
  async missing(ids: Iterable<string>, state: KnownGroups): Promise<ReadGroups> {
    const wanted = [...new Set(ids)].filter((id) => !state.groups.has(id));
    const groups = new Map(
      await Promise.all(wanted.map(async (id): Promise<[string, GroupPolicy]> => [id, await this.group(id)])),
    );
    return { groups, members: await this.missingMembers(groups.values(), state) };
  }

  async missingMembers(
    groups: Iterable<GroupPolicy>,
    state: KnownGroups,
  ): Promise<ReadonlyMap<string, readonly AddressRange[]>> {
    const named = new Set([...groups].flatMap(({ remotes }) => [...remotes]));
    const wanted = [...named].filter((id) => !state.members.has(id));
    return new Map(
      await Promise.all(
        wanted.map(async (id): Promise<[string, readonly AddressRange[]]> => [id, await this.members(id)]),
      ),
    );
  }
}
