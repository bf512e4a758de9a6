// `npm run examples`: runs every program of examples/, each of which must end well. `npm run examples -- NAME…` runs some.
import { existsSync, readdirSync } from "node:fs";
import { basename, extname, join } from "node:path";
import { ensureDependencies, projectRoot } from "./lib/dependencies.mjs";
import { runInherited } from "./lib/run-inherited.mjs";

const directory = join(projectRoot, "examples");
const everything = (existsSync(directory) ? readdirSync(directory) : [])
  .filter((name) => [".ts", ".mts", ".mjs", ".js"].includes(extname(name)))
  .sort();
const asked = process.argv.slice(2).map((name) => basename(name, extname(name)));
const chosen = everything.filter((name) => asked.length === 0 || asked.includes(basename(name, extname(name))));
if (chosen.length === 0) {
  console.error(asked.length === 0 ? "There are no examples." : `No such example: ${asked.join(", ")}.`);
  process.exit(2);
}

await ensureDependencies();
const failed = [];
for (const name of chosen) {
  console.log(`\nexamples/${name}`);
  // tsx reads "hypervise" from the sources, by the paths in tsconfig.json: there is nothing to build first.
  const exitCode = await runInherited(process.execPath, ["--import", "tsx", join(directory, name)]);
  if (exitCode !== 0) failed.push(`${name} ended with ${exitCode}`);
}
console.log(`\n${chosen.length - failed.length} of ${chosen.length} examples ended well`);
for (const line of failed) console.error(line);
process.exitCode = failed.length === 0 ? 0 : 1;
