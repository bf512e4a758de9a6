// Says, as a failure and not as a skip, what a machine lacks to run a test.
import { currentSystem } from "../../scripts/lib/operating-system.mjs";
import { SYSTEM_NEEDS, installAdvice, isPresent } from "../../scripts/lib/system-packages.mjs";

/**
 * @param names Names from the table in scripts/lib/system-packages.mjs, such as "nft"; all of the tests' needs by default.
 * @throws Error that names what is missing and how to install it; also for a name that the table does not have.
 */
export function requirePackages(...names: readonly string[]): void {
  const unknown = names.filter((name) => !SYSTEM_NEEDS.some((need) => need.name === name));
  if (unknown.length > 0) throw new Error(`scripts/lib/system-packages.mjs knows no ${unknown.join(", ")}`);
  const wanted = SYSTEM_NEEDS.filter((need) => names.length === 0 || names.includes(need.name));
  const missing = wanted.filter((need) => !isPresent(need));
  if (missing.length === 0) return;
  const advice = installAdvice(missing, currentSystem(), { isRoot: process.getuid?.() === 0 });
  throw new Error([...advice, "or let `node scripts/setup.mjs` do it."].join("\n"));
}
