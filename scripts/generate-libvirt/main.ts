/**
 * Writes the `.gen.ts` files of `src/libvirt/rpc` from libvirt's protocol files and the description of its C interface.
 *
 *     npm run generate:libvirt                                      packages of Debian bookworm and trixie, through apt
 *     npm run generate:libvirt -- --from 11.3=/src/libvirt …        folders with src/ and api/*.xml, oldest first
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheDirectory } from "../lib/cache-directory.mjs";
import { sourcesToGenerateFrom } from "../lib/debian-source.mjs";
import { LIBVIRT_RELEASES, fetchLibvirtProtocol } from "../lib/libvirt-source.mjs";
import { generate } from "./generate.js";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

const sources = await sourcesToGenerateFrom(process.argv.slice(2), LIBVIRT_RELEASES, (release) =>
  fetchLibvirtProtocol(release, cacheDirectory()),
);
for (const [path, content] of generate(sources)) {
  const target = join(ROOT, path);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, content);
  console.log(`${path}: ${content.split("\n").length} lines, ${content.length} characters`);
}
