/** The secrets that QEMU is started with, each in a file without a name that it inherits. */
import { PrivateFile } from "../../host/index.js";
import { DiskKeyError, SourceInspector, requireSecret } from "../../storage/index.js";
import type { GuestCore } from "../guest-core.js";
import type { CommandLine } from "../plan/command-line.js";

export interface DiskSecrets {
  /** By the ids that QEMU has them under. */
  readonly files: ReadonlyMap<string, PrivateFile>;
  /** Takes them away, from QEMU too, which keeps what it has read. Repeatable. */
  readonly wipe: () => void;
}

/** @throws SecretNotFoundError, HostIoError, and what the embedder's store throws; then nothing is left */
export async function openDiskSecrets(core: GuestCore, { descriptors }: CommandLine): Promise<DiskSecrets> {
  const { host, instance } = core;
  const files = new Map<string, PrivateFile>();
  const wipe = (): void => {
    for (const file of files.values()) file.wipe();
  };
  try {
    for (const descriptor of descriptors) {
      if (descriptor.what !== "secret") continue;
      const secret = await requireSecret(host.secrets, descriptor.secretId, { instance });
      files.set(descriptor.object, PrivateFile.create(secret.reveal(), { owner: host.access.user }));
    }
    return { files, wipe };
  } catch (error) {
    wipe();
    throw error;
  }
}

/**
 * Why QEMU may not have started: a disk's key that does not open it. QEMU tells that only in words. Undefined where all keys are good, or that can't be found out.
 */
export async function refusedKey({ host, definition, instance }: GuestCore): Promise<DiskKeyError | undefined> {
  const inspector = new SourceInspector({ secrets: host.secrets, limits: { shortMs: host.timeouts.probeMs } });
  for (const { id, source } of definition.disks) {
    if (source?.encryption === undefined) continue;
    try {
      await inspector.requireKey(source, { instance, device: id });
    } catch (error) {
      if (error instanceof DiskKeyError) return error;
    }
  }
  return undefined;
}
