/** A template's directory: its manifest, its files, and the list of the instances that have disks on it. */
import { check, isHyperviseError, StateCorruptError } from "../core/index.js";
import { checkCpuModel } from "./operations/host-cpu.js";
import type { GuestDefinition } from "./guest-definition.js";
import type { HostContext } from "./host-context.js";
import { storedSpec, validateInstanceSpec } from "./validate-instance-spec.js";
import type { TemplateManifest } from "./facets/templates.js";
import { TemplateNotFoundError, TemplateUnusableError } from "./errors.js";

export const MEMORY_FILE = "memory";
const MANIFEST_FILE = "template.json";
const REFERENCES = "clones";

const fileName = check.string({ max: 128, charset: "name" });
const plainObject = check.map(check.json(), (value, path): TemplateManifest["platform"] =>
  check.guarded(
    (json): json is TemplateManifest["platform"] => typeof json === "object" && json !== null && !Array.isArray(json),
    "an object",
  )(value, path),
);

const shape = check.object({
  version: check.oneOf([1]),
  id: check.uuid(),
  createdAt: check.number({ min: 0 }),
  hypervisorType: check.string({ max: 64 }),
  hypervisorVersion: check.integer({ min: 0 }),
  cpu: checkCpuModel,
  spec: check.map(plainObject, (value) => storedSpec(validateInstanceSpec(value))),
  definition: check.map(plainObject, (value) => value as unknown as GuestDefinition),
  memoryFile: fileName,
  disks: check.array(
    check.object({
      name: check.string({ max: 64, charset: "name" }),
      file: fileName,
      format: check.oneOf(["raw", "qcow2"]),
      sizeBytes: check.integer({ min: 1 }),
    }),
    { max: 256 },
  ),
  platform: plainObject,
  deleting: check.optional(check.boolean()),
});

/** With the mark of one that is being deleted. */
export type StoredManifest = TemplateManifest & { readonly deleting?: boolean };

export function templatePath(directory: string, file: string): string {
  return `${directory}/${file}`;
}

export function referencePath(directory: string, uuid: string): string {
  return `${directory}/${REFERENCES}/${uuid}`;
}

/** What makes an empty directory one that a manifest and references can be put into. */
export function makeReferences({ files }: HostContext, directory: string): Promise<void> {
  return files.makeDirectory(`${directory}/${REFERENCES}`);
}

export function writeManifest({ files }: HostContext, directory: string, manifest: StoredManifest): Promise<void> {
  return files.writeText(templatePath(directory, MANIFEST_FILE), `${JSON.stringify(manifest, undefined, 2)}\n`);
}

/** The manifest goes last, so that a repeated call knows what the directory is. */
export async function forgetManifest({ files }: HostContext, directory: string): Promise<void> {
  await files.remove(`${directory}/${REFERENCES}`);
  await files.remove(templatePath(directory, MANIFEST_FILE));
}

/** Undefined when the directory has none. @throws TemplateUnusableError when it can't be read. */
export async function findManifest({ files }: HostContext, directory: string): Promise<StoredManifest | undefined> {
  const text = await files.readText(templatePath(directory, MANIFEST_FILE));
  if (text === undefined) return undefined;
  try {
    return shape(JSON.parse(text) as unknown, "template");
  } catch (cause) {
    throw new TemplateUnusableError("the template's manifest can't be read", {
      cause,
      detail: directory,
      remedy: "Save the template anew.",
    });
  }
}

/** @throws TemplateNotFoundError, TemplateUnusableError */
export async function readManifest(host: HostContext, directory: string): Promise<TemplateManifest> {
  const manifest = await findManifest(host, directory);
  if (manifest !== undefined && manifest.deleting !== true) return manifest;
  throw new TemplateNotFoundError(
    manifest === undefined ? "there is no template in the directory" : "the template is being deleted",
    { detail: directory },
  );
}

const referenceShape = check.object({ uuid: check.uuid(), hostname: check.string({ max: 255 }) });
type Reference = ReturnType<typeof referenceShape>;

/** The text of an instance's reference. */
export function referenceText(uuid: string, hostname: string): string {
  return `${JSON.stringify({ uuid, hostname } satisfies Reference)}\n`;
}

export function dropReference({ files }: HostContext, directory: string, uuid: string): Promise<void> {
  return files.remove(referencePath(directory, uuid));
}

/** Uuids of instances that have disks on the template. What an instance of this host has left without being there any more does not count, and is removed. */
export async function holdersOf(host: HostContext, directory: string, hostname: string): Promise<readonly string[]> {
  const { files, records, collaborators } = host;
  const holders: string[] = [];
  for (const name of await files.list(`${directory}/${REFERENCES}`)) {
    const reference = parseReference(name, await files.readText(referencePath(directory, name)));
    if (reference === undefined) continue;
    const { uuid } = reference;
    const here = reference.hostname === hostname;
    const gone = here && records.get(uuid) === undefined && (await collaborators.disks.list(uuid)).length === 0;
    if (gone) await dropReference(host, directory, uuid);
    else holders.push(uuid);
  }
  return holders;
}

/** Undefined when it was removed meanwhile. @throws StateCorruptError */
function parseReference(name: string, text: string | undefined): Reference | undefined {
  if (text === undefined) return undefined;
  try {
    const reference = referenceShape(JSON.parse(text) as unknown, "reference");
    if (reference.uuid === name) return reference;
  } catch (error) {
    if (!(error instanceof SyntaxError) && !isHyperviseError(error, "INVALID_ARGUMENT")) throw error;
  }
  throw new StateCorruptError("the note of an instance that has disks on the template can't be read", {
    detail: name,
    remedy: "Find out whether the instance is there, and remove the note if it is not.",
  });
}
