/** libvirt's own schemas and test data, and xmllint to hold documents against them. */
import { existsSync, readdirSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDirectory } from "../../../scripts/lib/cache-directory.mjs";
import {
  LIBVIRT_RELEASES,
  canFetchLibvirtSource,
  fetchLibvirtSource,
  libvirtSourceFolder,
} from "../../../scripts/lib/libvirt-source.mjs";
import { runCommand } from "../../../scripts/lib/run-command.mjs";
import type { XmlKind } from "../../../src/libvirt/index.js";

const SCHEMAS: Readonly<Record<XmlKind, string>> = {
  domain: "domain",
  capabilities: "capability",
  domainCapabilities: "domaincaps",
  cpu: "cpu",
  network: "network",
  networkPort: "networkport",
  nwFilter: "nwfilter",
  nwFilterBinding: "nwfilterbinding",
  secret: "secret",
  storagePool: "storagepool",
  storagePoolCapabilities: "storagepoolcaps",
  storageVolume: "storagevol",
  domainSnapshot: "domainsnapshot",
  domainCheckpoint: "domaincheckpoint",
  domainBackup: "domainbackup",
  nodeDevice: "nodedev",
  interface: "interface",
};
/** Files on one command line. */
const BATCH = 250;
/** xmllint reads large numbers of files; its lines are short. */
const LINT_TIMEOUT_MS = 240_000;

export interface LibvirtSource {
  readonly version: string;
  readonly folder: string;
}

/** Why the tests can't run on this system at all; undefined where they can. */
export function reasonToSkip(): string | undefined {
  if (LIBVIRT_RELEASES.every(({ release }) => existsSync(libvirtSourceFolder(release, cacheDirectory()))))
    return undefined;
  return canFetchLibvirtSource() ? undefined : "libvirt's sources come with apt-get, which this system does not have";
}

/** The sources of each release, from the cache that the set-up fills; oldest first. */
export async function libvirtSources(): Promise<LibvirtSource[]> {
  const sources: LibvirtSource[] = [];
  for (const { version, release } of LIBVIRT_RELEASES) {
    try {
      sources.push({ version, folder: await fetchLibvirtSource(release, cacheDirectory()) });
    } catch (error) {
      const remedy = "There is no network in the tests' sandbox: let `node scripts/setup.mjs` fetch libvirt's sources.";
      throw new Error(remedy, { cause: error });
    }
  }
  return sources;
}

export function schemaOf(kind: XmlKind, source: LibvirtSource): string {
  return join(source.folder, "src", "conf", "schemas", `${SCHEMAS[kind]}.rng`);
}

/** Which of the files a schema accepts. */
export async function validFiles(schema: string, files: readonly string[]): Promise<Set<string>> {
  const valid = new Set<string>();
  for (const batch of batches(files)) {
    const { stderr } = await xmllint(["--noout", "--relaxng", schema, ...batch]);
    for (const [, file] of stderr.matchAll(/^(.*) validates$/gm)) if (file !== undefined) valid.add(file);
  }
  return valid;
}

/** What xmllint says of a document that the schema does not accept; empty if it does. */
export async function complaints(schema: string, file: string): Promise<string> {
  const { code, stderr } = await xmllint(["--noout", "--relaxng", schema, file]);
  return code === 0 ? "" : stderr;
}

/**
 * The canonical form of documents, by libxml2: without comments, processing instructions and whitespace between elements.
 * `folder` takes the file in which they all go at once.
 */
export async function canonicalForms(documents: readonly string[], folder: string): Promise<string[]> {
  await mkdir(folder, { recursive: true });
  const forms: string[] = [];
  for (const [index, batch] of batches(documents).entries()) {
    const file = join(folder, `${index}.xml`);
    const bodies = batch.map((text) => `<document>${text.replace(/^\uFEFF?<\?xml.*?\?>/s, "")}</document>`);
    await writeFile(file, `<documents>${bodies.join("")}</documents>`);
    const { code, stdout, stderr } = await xmllint(["--c14n", "--huge", "--nonet", file]);
    if (code !== 0) throw new Error(stderr);
    const body = stdout.replace(/<!--.*?-->|<\?.*?\?>/gs, "").replace(/>\s+</g, "><");
    forms.push(
      ...body.slice("<documents><document>".length, -"</document></documents>".length).split("</document><document>"),
    );
  }
  return forms;
}

/** All XML files below a folder. */
export function xmlFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".xml"))
    .sort()
    .map((name) => join(folder, name));
}

async function xmllint(args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return runCommand(["xmllint", ...args], { check: false, timeoutMs: LINT_TIMEOUT_MS });
}

function batches<T>(items: readonly T[]): T[][] {
  const count = Math.ceil(items.length / BATCH);
  return Array.from({ length: count }, (_, index) => items.slice(index * BATCH, (index + 1) * BATCH));
}
