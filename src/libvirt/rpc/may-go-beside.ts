/** Which calls may go by a connection of their own when the one that they were made on is crowded. */
import type { Procedure } from "./procedure.js";

/** What other calls of the same connection refer to, or what ends with it. */
const BOUND = /^(domainCreate|domainMigrate|domainOpen)|Event|Callback/;
/** What is said of a domain, and asked of the host. */
const FREE = /^(domain|connect(Get|List|Num|Compare|Baseline|Find)|node(Get|Device|List|Num))/;

export function mayGoBeside({ name, priority, passesFds }: Procedure): boolean {
  return priority === "low" && passesFds !== true && FREE.test(name) && !BOUND.test(name);
}
