/** What groups and provider rules bring into our tables: chains that all ports of the host share. Pure. */
import { formatRange } from "../policy/address-range.js";
import type { AddressRange } from "../policy/address-range.js";
import type { CompiledProviderRule, GroupPolicy } from "../policy/group-policy.js";
import type { Fragment, TableKey } from "./fragment.js";
import { FIXED, groupNames, memberSet } from "./names.js";
import { groupRule, providerRule } from "./rule-text.js";

export function groupFragment(group: GroupPolicy, table: TableKey): Fragment {
  const names = groupNames(group.id);
  const comment = group.id.slice(0, 100);
  const count = `counter name ${names.counter}`;
  return {
    table,
    counters: [names.counter],
    chains: {
      [names.ingress]: { comment, rules: group.ingress.map((rule) => `${groupRule(rule, "ingress")} ${count} accept`) },
      [names.egress]: {
        comment,
        rules: group.egress.map((rule) => `${groupRule(rule, "egress")} ${count} goto ${FIXED.ingress}`),
      },
    },
  };
}

export function membersFragment(groupId: string, ranges: readonly AddressRange[], table: TableKey): Fragment {
  const of = (version: 4 | 6): ReadonlyMap<string, undefined> =>
    new Map(ranges.filter((range) => range.version === version).map((range) => [formatRange(range), undefined]));
  const [four, six] = [memberSet(groupId, 4), memberSet(groupId, 6)];
  return {
    table,
    sets: { [four]: "type ipv4_addr; flags interval", [six]: "type ipv6_addr; flags interval" },
    elements: { [four]: of(4), [six]: of(6) },
  };
}

/** The chain is always there. */
export function providerRules(rules: readonly CompiledProviderRule[]): readonly string[] {
  return rules.map((rule) => `${providerRule(rule)} counter drop`);
}
