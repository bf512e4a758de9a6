/** Reads descriptions that packages leave for programs like this one: of firmware, and of helper processes. */
import { constants } from "node:fs";
import { access, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { parseDescriptor } from "./firmware-descriptor.js";
import type { FirmwareDescriptor } from "./firmware-descriptor.js";

/** Where an administrator's descriptions stand before those of packages. */
const ROOTS = ["/etc/qemu", "/usr/share/qemu"] as const;
const MAX_FILES = 256;

/** The UEFI firmware of the host, best first. */
export async function readFirmwareDescriptors(
  roots: readonly string[] = ROOTS,
): Promise<readonly FirmwareDescriptor[]> {
  const described = (await readDescriptions("firmware", roots)).flatMap(parseDescriptor);
  const here = await Promise.all(
    described.map(async ({ codePath, templatePath }) => (await isReadable(codePath)) && isReadable(templatePath)),
  );
  return described.filter((_, index) => here[index] === true);
}

/** A package may describe what another one has. */
function isReadable(path: string): Promise<boolean> {
  return access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
}

/** The program that serves file systems over virtiofs; undefined when none is installed. */
export async function findVirtiofsd(roots: readonly string[] = ROOTS): Promise<string | undefined> {
  for (const description of await readDescriptions("vhost-user", roots)) {
    const { type, binary } = (description ?? {}) as { readonly type?: unknown; readonly binary?: unknown };
    if (type === "fs" && typeof binary === "string" && binary.startsWith("/")) return binary;
  }
  return undefined;
}

/** JSON files of all directories in the order of their names; of two with one name the first directory's counts, and an empty one hides the other. */
async function readDescriptions(directory: string, roots: readonly string[]): Promise<readonly unknown[]> {
  const files = new Map<string, string>();
  for (const root of roots) {
    const names = await readdir(join(root, directory)).catch((): string[] => []);
    for (const name of names)
      if (name.endsWith(".json") && !files.has(name)) files.set(name, join(root, directory, name));
  }
  const sorted = [...files].sort(([a], [b]) => (a < b ? -1 : 1)).slice(0, MAX_FILES);
  const read = await Promise.all(sorted.map(([, file]) => readDescription(file)));
  return read.filter((json) => json !== undefined);
}

/** Another package's broken file is none of ours to complain of. */
async function readDescription(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as unknown;
  } catch {
    return undefined;
  }
}
