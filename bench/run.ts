// `npm run bench`: runs each benchmark in a process of its own, one after the other, and prints one JSON object of their
// results by name. `npm run bench -- NAME…` runs only those. A benchmark is bench/NAME.bench.ts, prints one JSON value to
// standard output, and ends with 0.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const directory = fileURLToPath(new URL(".", import.meta.url));
const suffix = ".bench.ts";
const everything = readdirSync(directory)
  .filter((file) => file.endsWith(suffix))
  .map((file) => file.slice(0, -suffix.length))
  .sort();

/** Runs one benchmark; its standard error is ours. */
function runBenchmark(name: string): Promise<unknown> {
  const child = spawn(process.execPath, ["--expose-gc", "--import", "tsx", join(directory, name + suffix)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    child.once("error", reject);
    child.once("close", (code) => {
      if (code !== 0) {
        reject(new Error(`ended with ${String(code)}`));
        return;
      }
      try {
        resolve(JSON.parse(text));
      } catch {
        reject(new Error(`printed what is not one JSON value:\n${text}`));
      }
    });
  });
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !everything.includes(name));
if (unknown.length > 0 || everything.length === 0) {
  console.error(`No such benchmark: ${unknown.join(", ")}. There are: ${everything.join(", ")}.`);
  process.exit(2);
}

const results: Record<string, unknown> = {};
for (const name of asked.length > 0 ? asked : everything) {
  console.error(`bench/${name}${suffix}`);
  try {
    results[name] = await runBenchmark(name);
  } catch (error) {
    console.error(`${name} ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}

const machine = {
  node: process.version,
  cpu: cpus()[0]?.model ?? "unknown",
  cpus: cpus().length,
  memoryBytes: totalmem(),
};
console.log(JSON.stringify({ machine, results }, undefined, 2));
