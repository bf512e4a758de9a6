/** The tables of a firewall, whichever of their two names they have. */
import { run } from "../../lab/index.js";

const FAMILIES = ["bridge", "inet"] as const;

/** Others flush our tables away. */
export async function deleteTables(name: string): Promise<void> {
  for (const family of FAMILIES)
    for (const turn of [name, `${name}.b`]) await run(["nft", "delete", "table", family, turn]).catch(() => "");
}

/** What stands in a table of the bridge, as if it had the first name. Rejects unless there is just one. */
export async function bridgeTable(name: string): Promise<string> {
  const tables = (await run(["nft", "list", "tables", "bridge"])).split("\n");
  const found = [name, `${name}.b`].filter((turn) => tables.includes(`table bridge ${turn}`));
  if (found.length !== 1) throw new Error(`tables of ${name}: ${found.join(", ")}`);
  return (await run(["nft", "list", "table", "bridge", found.join()])).replace(`${name}.b`, name);
}
