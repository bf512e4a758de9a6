/**
 * Writes the `.gen.ts` files of `src/libvirt/rpc` from libvirt's protocol files and the description of its C interface.
 *
 *     npm run generate:libvirt                                      packages of Debian bookworm and trixie, through apt
 *     npm run generate:libvirt -- --from 11.3=/src/libvirt …        folders with src/ and api/*.xml, oldest first
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { fetchSources } from "./fetch-source.js";
import { generate } from "./generate.js";
import type { Source } from "./generate.js";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

async function sourcesOf(args: readonly string[]): Promise<Source[]> {
  const given = args.flatMap((arg, i) => (arg === "--from" ? [args[i + 1] ?? ""] : []));
  if (given.length === 0) return fetchSources();
  return given.map((pair) => {
    const [version = "", folder = ""] = pair.split("=");
    if (version === "" || folder === "") throw new Error(`--from wants VERSION=FOLDER, not "${pair}"`);
    return { version, folder };
  });
}

for (const [path, content] of generate(await sourcesOf(process.argv.slice(2)))) {
  const target = join(ROOT, path);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, content);
  console.log(`${path}: ${content.split("\n").length} lines, ${content.length} characters`);
}
