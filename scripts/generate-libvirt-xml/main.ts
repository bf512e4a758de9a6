/**
 * Writes `src/libvirt/xml/generated/*.gen.ts` from libvirt's own schemas.
 *
 *     npm run generate:libvirt-xml                                    sources of Debian bookworm and trixie, through apt
 *     npm run generate:libvirt-xml -- --from 11.0=/src/libvirt-11.0 …  folders of libvirt's sources
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { format, resolveConfig } from "prettier";
import { cacheDirectory } from "../lib/cache-directory.mjs";
import { sourcesToGenerateFrom } from "../lib/debian-source.mjs";
import { LIBVIRT_RELEASES, fetchLibvirtSource } from "../lib/libvirt-source.mjs";
import { generate } from "./generate.js";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

async function write(path: string, content: string): Promise<void> {
  const target = join(ROOT, path);
  const options = await resolveConfig(target);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, await format(content, { ...options, filepath: target }));
  const written = readFileSync(target, "utf8");
  console.log(`${path}: ${written.split("\n").length} lines, ${written.length} bytes`);
}

const sources = await sourcesToGenerateFrom(process.argv.slice(2), LIBVIRT_RELEASES, (release) =>
  fetchLibvirtSource(release, cacheDirectory()),
);
for (const [path, content] of generate(sources)) await write(path, content);
