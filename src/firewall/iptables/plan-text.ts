/** What would be put in force for one instance, as the input of the programs that do it. Pure. */
import type { AntiSpoofingTable } from "../nftables/anti-spoofing-table.js";
import { isDecided, portsOf } from "../policy/address-places.js";
import type { PolicyState } from "../policy/policy-state.js";
import type { InstancePolicy } from "../policy/port-policy.js";
import { FilterLayout } from "./filter-layout.js";
import { fillTable } from "./initial-content.js";
import type { IpSet, IpSets } from "./ip-sets.js";
import { EMPTY_TABLE, IptablesTable } from "./iptables-table.js";
import { deltaScript } from "./table-script.js";

export interface PlanParts {
  readonly owner: string;
  readonly shared: string;
  readonly antiSpoofing: AntiSpoofingTable;
  readonly sets: IpSets;
}

export function planText(
  { owner, shared, antiSpoofing, sets }: PlanParts,
  state: PolicyState,
  instance: InstancePolicy,
): string {
  const owned = portsOf(instance);
  const table = (): IptablesTable => new IptablesTable("filter", owner, fillTable("filter", shared));
  const tables = { 4: table(), 6: table() };
  const layout = new FilterLayout(owner, tables);
  layout.begin("plan", state);
  const wanted = layout.change({
    after: state,
    out: [],
    come: owned.filter(isDecided),
    groups: state.groups.keys(),
    members: state.members.keys(),
    providerRules: true,
  });
  const named = [...wanted].flatMap(([name, set]): [string, IpSet][] => (set === undefined ? [] : [[name, set]]));
  const rules = (version: 4 | 6): readonly string[] =>
    deltaScript(EMPTY_TABLE, tables[version].content(), new Map(), new Map())?.forward ?? [];
  const part = (program: string, lines: readonly string[]): string =>
    `# ${program}\n${lines.map((line) => `${line}\n`).join("")}`;
  return [
    part("ipset restore", sets.plan(new Map(named))),
    part("iptables-restore --noflush", ["*filter", ...rules(4), "COMMIT"]),
    part("ip6tables-restore --noflush", ["*filter", ...rules(6), "COMMIT"]),
    part("nft -f", antiSpoofing.plan(owned)),
  ].join("");
}
