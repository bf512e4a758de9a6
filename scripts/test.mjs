// `npm test`: sets up what is missing, then runs the unit, integration and package tests.
// `npm test -- unit package` runs only those; `npm run test:long` those that kill processes at every point of long operations.
import { appendFileSync } from "node:fs";
import { totalmem } from "node:os";
import { ensureDependencies } from "./lib/dependencies.mjs";
import { createLog } from "./lib/progress.mjs";
import { ensureSetup } from "./setup.mjs";
import { runProject } from "./vitest.mjs";

const everything = /** @type {const} */ (["unit", "integration", "package"]);
const known = /** @type {const} */ ([...everything, "long"]);
/** Memory of a machine on which two guests boot while the package is built. */
const BESIDE_BYTES = 6 * 2 ** 30;
const onGuests = new Set(["integration", "long"]);
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  console.error(`No such tests: ${unknown.join(", ")}. There are: ${known.join(", ")}.`);
  process.exit(2);
}
const projects = asked.length === 0 ? everything : known.filter((name) => asked.includes(name));

const log = createLog();
const problems = [];
if (projects.some((name) => onGuests.has(name))) {
  const { ready, advice } = await ensureSetup({ need: "test", log });
  for (const line of advice) log(line);
  if (!ready) problems.push("The set-up is not complete, so that not every integration test can run:", ...advice);
} else {
  await ensureDependencies({ log });
}

const total = { passed: 0, failed: 0, skipped: [], failures: [] };
// The package's tests wait for nothing: they use what the guests leave, where there is the memory for both.
const beside = projects.includes("integration") && projects.includes("package") && totalmem() >= BESIDE_BYTES;
/** @type {Map<string, ReturnType<typeof runProject>>} */
const begun = new Map();
for (const project of projects) {
  if (!begun.has(project)) console.log(`\n${project} tests`);
  if (beside && project === "integration") {
    begun.set("package", runProject("package", { aside: true }));
    // Its failure is waited for below.
    begun.get("package")?.catch(() => {});
  }
  const { passed, failed, skipped, failures } = await (begun.get(project) ??
    runProject(project, {
      sandbox: onGuests.has(project),
      // Two cores are never both busy with one guest.
      halves: onGuests.has(project),
    }));
  total.passed += passed;
  total.failed += failed;
  total.skipped.push(...skipped);
  total.failures.push(...failures);
}

if (total.skipped.length > 0) {
  console.log("\nSkipped:");
  for (const { name, reason } of total.skipped) console.log(`  ${name}: ${reason ?? "no reason given"}`);
}
if (total.failures.length > 0) {
  const lines = total.failures.map(({ name, reason }) => `  ${name}: ${reason}`).join("\n");
  console.log(`\nFailed:\n${lines}`);
  // Whoever runs several of these shows all failures at the end.
  const file = process.env.HYPERVISE_FAILURES;
  if (file !== undefined) appendFileSync(file, `${lines}\n`);
}
if (problems.length > 0) console.error(`\n${problems.join("\n")}`);
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped.length} skipped`);
process.exitCode = total.failed > 0 || total.passed === 0 || problems.length > 0 ? 1 : 0;
