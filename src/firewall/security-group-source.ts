/** Where a firewall reads groups from: the embedder's own data. */
import type { ProviderRule, SecurityGroup, SecurityGroupMember } from "./security-group.js";

/**
 * What an embedder tells of its security groups. A firewall reads when it is told of a change and when an instance comes, never on its own. An answer that is not valid makes the call
 * that needed it reject, and leaves in force what was.
 */
export interface SecurityGroupSource {
  /** Resolves to `undefined` for a group that does not exist: nothing is permitted by it. */
  securityGroup(id: string): Promise<SecurityGroup | undefined>;
  /** Ports of all hosts that are in the group. */
  members(groupId: string): Promise<readonly SecurityGroupMember[]>;
  /** Absent: none. */
  providerRules?(): Promise<readonly ProviderRule[]>;
}

/** Groups kept in this process: for tests, and for embedders that need no more. */
export class MemorySecurityGroupSource implements SecurityGroupSource {
  readonly #groups = new Map<string, SecurityGroup>();
  readonly #members = new Map<string, Map<string, SecurityGroupMember>>();
  #providerRules: readonly ProviderRule[] = [];

  /** Sets or replaces a group; tell the firewall by `refreshSecurityGroupRules`. */
  setGroup(group: SecurityGroup): void {
    this.#groups.set(group.id, group);
  }

  deleteGroup(id: string): void {
    this.#groups.delete(id);
    this.#members.delete(id);
  }

  /** Makes a port a member of just these groups; tell the firewall by `refreshSecurityGroupMembers` for each group that changed: those that it returns. */
  setMember(portId: string, member: SecurityGroupMember, groupIds: readonly string[]): readonly string[] {
    const changed = new Set(groupIds);
    for (const [id, members] of this.#members) if (members.delete(portId)) changed.add(id);
    for (const id of groupIds) {
      const members = this.#members.get(id) ?? new Map<string, SecurityGroupMember>();
      members.set(portId, member);
      this.#members.set(id, members);
    }
    return [...changed];
  }

  /** Takes a port out of all groups; returns those that it was in. */
  deleteMember(portId: string): readonly string[] {
    return this.setMember(portId, { addresses: [] }, []);
  }

  setProviderRules(rules: readonly ProviderRule[]): void {
    this.#providerRules = rules;
  }

  securityGroup(id: string): Promise<SecurityGroup | undefined> {
    return Promise.resolve(this.#groups.get(id));
  }

  members(groupId: string): Promise<readonly SecurityGroupMember[]> {
    return Promise.resolve([...(this.#members.get(groupId)?.values() ?? [])]);
  }

  providerRules(): Promise<readonly ProviderRule[]> {
    return Promise.resolve(this.#providerRules);
  }
}
