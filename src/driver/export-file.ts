/** Files for the embedder: made beside their path under a name of their own, and given their name when they are whole. */
import { ConflictError, HyperviseError } from "../core/index.js";
import type { CopyProgress } from "./guest-backup.js";
import type { Operation } from "./operation.js";

export interface ExportedPath {
  /** Where it is to stand. */
  readonly path: string;
  /** Where it is made. */
  readonly partial: string;
}

/** @throws ConflictError when something stands at the path. */
export async function planExport({ host, instance }: Operation, path: string): Promise<ExportedPath> {
  if ((await host.files.identify(path)) !== undefined)
    throw new ConflictError("there is a file or directory of that name already", { instance, detail: path });
  return { path, partial: `${path}.${globalThis.crypto.randomUUID().slice(0, 8)}.partial` };
}

/** Runs what makes the file, or the directory; a failing operation removes it. */
export function making<T>(operation: Operation, { partial }: ExportedPath, run: () => Promise<T>): Promise<T> {
  return operation.effect("exportedFile", { path: partial }, run);
}

/** Gives it its name; a failing operation removes it again. @throws ConflictError when somebody else has taken the name. */
export async function publish(operation: Operation, { path, partial }: ExportedPath): Promise<void> {
  const { files } = operation.host;
  const identity = await files.identify(partial);
  if (identity === undefined)
    throw new HyperviseError("the hypervisor has not made the file", { code: "INTERNAL", detail: partial });
  await operation.effect("publishedFile", { path, identity }, () => files.publish(partial, path));
}

/** Tells the caller of the copying's progress. */
export function copyProgress(operation: Operation, phase: string): (progress: CopyProgress) => void {
  return ({ doneBytes, totalBytes }) => {
    const known =
      totalBytes <= 0 ? {} : { bytesTotal: totalBytes, fraction: Math.min(1, Math.max(0, doneBytes / totalBytes)) };
    operation.progress(phase, { bytesDone: doneBytes, ...known });
  };
}
