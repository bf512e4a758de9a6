// `npm run test:nodes`: the unit tests under each supported major version of Node, which npm carries as packages.
// `npm run test:nodes -- 22 24` runs only those.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheDirectory } from "./lib/cache-directory.mjs";
import { ensureDependencies } from "./lib/dependencies.mjs";
import { runInherited } from "./lib/run-inherited.mjs";

const supported = ["20", "22", "24", "26"];
const asked = process.argv.slice(2);
const unknown = asked.filter((major) => !supported.includes(major));
if (unknown.length > 0) {
  console.error(`Not a supported version of Node: ${unknown.join(", ")}. There are: ${supported.join(", ")}.`);
  process.exit(2);
}

/** The path of a Node of that major version, installed in the cache directory on first use. */
async function nodeOf(major) {
  const directory = join(cacheDirectory(), "nodes", major);
  const platform = `node-${process.platform}-${process.arch}`;
  const binary = join(directory, "node_modules", platform, "bin", "node");
  if (!existsSync(binary)) {
    console.log(`Installing Node ${major} (npm package ${platform}@${major}) in ${directory}`);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, "package.json"), JSON.stringify({ name: `nodes-${major}`, private: true }));
    const flags = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error"];
    const exitCode = await runInherited("npm", ["install", ...flags, `${platform}@${major}`], { cwd: directory });
    if (exitCode !== 0) throw new Error(`Node ${major} could not be installed: npm ended with ${exitCode}`);
  }
  const version = execFileSync(binary, ["--version"], { encoding: "utf8" }).trim();
  if (!version.startsWith(`v${major}.`)) throw new Error(`${binary} is ${version}, not a Node ${major}`);
  return { binary, version };
}

await ensureDependencies();
const { runProject } = await import("./vitest.mjs");

const lines = [];
let good = true;
for (const major of asked.length > 0 ? asked : supported) {
  const { binary, version } = await nodeOf(major);
  console.log(`\nNode ${version}`);
  const { passed, failed, skipped } = await runProject("unit", { node: binary });
  lines.push(`Node ${version.padEnd(10)} ${passed} passed, ${failed} failed, ${skipped.length} skipped`);
  good &&= failed === 0 && passed > 0;
}
console.log(`\n${lines.join("\n")}`);
process.exitCode = good ? 0 : 1;
