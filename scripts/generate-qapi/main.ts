/**
 * Writes `src/qmp/generated/*.gen.ts` from QEMU's own schema.
 *
 *     npm run generate:qapi                                      sources of Debian bookworm and trixie, through apt
 *     npm run generate:qapi -- --from 9.2=/src/qemu-9.2.0 …      folders of QEMU's sources, oldest first
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { format, resolveConfig } from "prettier";
import { cacheDirectory } from "../lib/cache-directory.mjs";
import { fetchDebianSource, sourcesToGenerateFrom } from "../lib/debian-source.mjs";
import { buildModel } from "./build-model.js";
import { emitTypes } from "./emit-types.js";
import type { EmitOptions } from "./emit-types.js";
import { namesOf } from "./member-names.js";
import { mergeModels } from "./merge-models.js";
import type { Model } from "./model.js";
import { readSchema } from "./read-schema.js";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const RELEASES = [
  { version: "7.2", release: "bookworm" },
  { version: "10.0", release: "trixie" },
];

interface Source {
  readonly version: string;
  readonly folder: string;
}

/** The folder of QEMU's schema files. */
function fetchSchema(release: string): Promise<string> {
  const members = ["*/qapi/*.json", "*/qga/qapi-schema.json"];
  return fetchDebianSource({ name: "qemu", release, members, target: join(cacheDirectory(), "qemu-schema", release) });
}

function load(sources: readonly Source[], file: string): Model {
  return mergeModels(sources.map(({ version, folder }) => buildModel(version, readSchema(join(folder, file)))));
}

async function write(path: string, content: string): Promise<void> {
  const target = join(ROOT, path);
  const options = await resolveConfig(target);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, await format(content, { ...options, filepath: target }));
  console.log(`${path}: ${readFileSync(target, "utf8").split("\n").length} lines`);
}

async function generate(model: Model, name: string, options: EmitOptions): Promise<void> {
  await write(`src/qmp/generated/${name}.gen.ts`, emitTypes(model, options));
  await write(`test/fixtures/qmp/${name}-names.json`, JSON.stringify(namesOf(model)));
}

const sources = await sourcesToGenerateFrom(process.argv.slice(2), RELEASES, fetchSchema);
const versions = sources.map((source) => source.version).join(" and ");
await generate(load(sources, "qapi/qapi-schema.json"), "qapi", {
  title: `The types of QEMU's monitor, as QEMU ${versions} have them.`,
  commandsName: "Commands",
  eventsName: "Events",
});
await generate(load(sources, "qga/qapi-schema.json"), "qga", {
  title: `The types of QEMU's guest agent, as QEMU ${versions} have them.`,
  commandsName: "GuestCommands",
});
