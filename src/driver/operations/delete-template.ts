/** `deleteTemplate`: goes forward only, and a repeated call goes on. */
import { ConflictError, throwIfAborted } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { directoryCheck } from "./save-template.js";
import { findManifest, forgetManifest, holdersOf, templatePath, writeManifest } from "../template-directory.js";
import type { StoredManifest } from "../template-directory.js";
import type { HostContext } from "../host-context.js";
import { runQuery } from "../run-operation.js";

export function deleteTemplate(host: HostContext, givenDirectory: string, options?: CommonOptions): Promise<void> {
  const deadline = options?.deadline ?? host.timeouts.destroyMs;
  return runQuery(host, "deleteTemplate", { ...options, deadline }, async (signal) => {
    const directory = directoryCheck(givenDirectory, "directory");
    const { files } = host;
    const manifest = await findManifest(host, directory);
    if (manifest === undefined) return removeRest(host, directory);
    throwIfAborted(signal);
    // First the mark, then the look at who is there: an instance that comes does it the other way round, so that one of the two sees the other.
    await writeManifest(host, directory, { ...manifest, deleting: true });
    await refuseHeld(host, directory, manifest, signal);
    for (const { file } of manifest.disks) await files.remove(templatePath(directory, file));
    await files.remove(templatePath(directory, manifest.memoryFile));
    await forgetManifest(host, directory);
    await files.remove(directory);
  });
}

/** @throws ConflictError; the template is then as it was. */
async function refuseHeld(
  host: HostContext,
  directory: string,
  manifest: StoredManifest,
  signal: AbortSignal,
): Promise<void> {
  const { hostname } = await host.hypervisor.hostFacts({ signal });
  const holders = await holdersOf(host, directory, hostname);
  const [first] = holders;
  if (first === undefined) return;
  const { deleting: _deleting, ...whole } = manifest;
  await writeManifest(host, directory, whole);
  throw new ConflictError(`${holders.length} instances have disks on the template`, {
    instance: { uuid: first },
    detail: directory,
    remedy: "Destroy those instances first.",
  });
}

/** What a call that died has left is a directory with nothing in it. @throws ConflictError when the directory is no template. */
async function removeRest({ files }: HostContext, directory: string): Promise<void> {
  if ((await files.identify(directory)) === undefined) return;
  if ((await files.list(directory)).length > 0)
    throw new ConflictError("the directory is no template", { detail: directory });
  await files.remove(directory);
}
