/** What tables begin with: the chains of Nova's `IptablesManager`. */
import type { IptablesTable, TableName } from "./iptables-table.js";

const BUILT_IN = {
  filter: ["INPUT", "OUTPUT", "FORWARD"],
  nat: ["PREROUTING", "OUTPUT", "POSTROUTING"],
  mangle: ["POSTROUTING"],
} as const;

/**
 * In `filter`: `<shared>-filter-top`, first of all in FORWARD and OUTPUT, which goes to the owner's `local`. In `nat`: `<shared>-postrouting-bottom`, last of all in POSTROUTING, which goes
 * to the owner's `snat`, and that to `float-snat` before anything else. And a chain of the owner for each built-in one.
 */
export function fillTable(name: TableName, shared: string): (table: IptablesTable) => void {
  return (table) => {
    const other = { wrap: false } as const;
    if (name === "filter") {
      const top = `${shared}-filter-top`;
      table.addChain(top, other);
      for (const chain of ["FORWARD", "OUTPUT"]) table.addRule(chain, `-j ${top}`, { wrap: false, top: true });
      table.addChain("local");
      table.addRule(top, "-j $local", other);
    }
    for (const chain of BUILT_IN[name]) {
      table.addChain(chain);
      table.addRule(chain, `-j $${chain}`, other);
    }
    if (name === "nat") {
      const bottom = `${shared}-postrouting-bottom`;
      table.addChain(bottom, other);
      table.addBottomRule("POSTROUTING", `-j ${bottom}`);
      table.addChain("snat");
      table.addRule(bottom, "-j $snat", other);
      table.addChain("float-snat");
      table.addRule("snat", "-j $float-snat");
    }
  };
}
