/** A guest's checkpoints: those that the guest's state knows, and what libvirt has of them. */
import type { GuestCheckpoint } from "../../../driver/index.js";
import { ErrorNumber, LibvirtError, isLibvirtError } from "../../rpc/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import type { Checkpoint } from "../state/guest-work.js";

/** Checkpoints of anybody else are left alone. */
const PREFIX = "hypervise-";

/** A name that no checkpoint has had: what is left of a former one by the same name is not taken for it. */
export function libvirtCheckpointName(checkpoint: string, createdAt: number): string {
  return `${PREFIX}${createdAt}-${checkpoint}`;
}

/** Oldest first; of a guest that is not in memory, too. */
export function listCheckpoints({ state }: GuestCore): readonly GuestCheckpoint[] {
  return (state.checkpoints ?? []).map(({ name, createdAt, diskIds }) => ({ name, createdAt, diskIds }));
}

/** Forgets a checkpoint; success when there is none. Of a guest that is not in memory libvirt forgets it with the next backup. @throws LibvirtError; then it is still there */
export async function deleteCheckpoint(core: GuestCore, name: string): Promise<void> {
  const found = core.state.checkpoints?.find((checkpoint) => checkpoint.name === name);
  if (found === undefined) return;
  if (core.inMemory)
    await asDriverErrors({ operation: "deleteCheckpoint", instance: core.instance }, () =>
      removeFromLibvirt(core, found.libvirtName),
    );
  await forgetCheckpoint(core, name);
}

/** Takes a checkpoint from libvirt; what has changed since an older one is kept for that. Success when it has none. `virDomainCheckpointDelete`. @throws LibvirtError */
export async function removeFromLibvirt({ domain, host }: GuestCore, libvirtName: string): Promise<void> {
  const limits = { deadlineMs: host.timeouts.callMs };
  try {
    const checkpoint = await domain.lookupCheckpointByName(libvirtName, limits);
    await checkpoint.delete(limits).catch(async (error: unknown) => {
      // Nothing is left of it in the disk's file; then there is nothing but its description.
      if (!isInconsistent(error)) throw error;
      await checkpoint.delete({ flags: ["metadataOnly"], ...limits });
    });
  } catch (error) {
    if (!isLibvirtError(error, "checkpointNotFound")) throw error;
  }
}

/** Takes those from libvirt that were forgotten while the guest was not in memory. @throws LibvirtError */
export async function removeForgotten(core: GuestCore): Promise<void> {
  const { domain, host } = core;
  const kept = new Set((core.state.checkpoints ?? []).map(({ libvirtName }) => libvirtName));
  for (const { name } of await domain.listAllCheckpoints({ deadlineMs: host.timeouts.callMs }))
    if (name.startsWith(PREFIX) && !kept.has(name)) await removeFromLibvirt(core, name);
}

/** The checkpoints of a disk whose changes nobody keeps track of any more. */
export async function forgetDisk(core: GuestCore, diskId: string): Promise<void> {
  await keep(core, (checkpoint) => withoutDisk(checkpoint, diskId));
}

/** One that nobody wants any more, or whose notes of changes are damaged, as they are when QEMU does not end in order. */
export async function forgetCheckpoint(core: GuestCore, name: string): Promise<void> {
  await keep(core, (checkpoint) => (checkpoint.name === name ? undefined : checkpoint));
}

/** The notes of changes in a disk's file are not there, or are damaged. */
function isInconsistent(error: unknown): boolean {
  return error instanceof LibvirtError && error.libvirtCode === ErrorNumber.checkpointInconsistent;
}

/** Nobody can say what has changed since the checkpoint. */
export function isLost(error: unknown): boolean {
  return isInconsistent(error) || isLibvirtError(error, "checkpointNotFound");
}

async function keep(core: GuestCore, change: (checkpoint: Checkpoint) => Checkpoint | undefined): Promise<void> {
  if (core.state.checkpoints === undefined) return;
  await core.update((state) => ({
    ...state,
    checkpoints: (state.checkpoints ?? []).flatMap((checkpoint) => change(checkpoint) ?? []),
  }));
}

function withoutDisk(checkpoint: Checkpoint, diskId: string): Checkpoint | undefined {
  const diskIds = checkpoint.diskIds.filter((id) => id !== diskId);
  return diskIds.length === 0 ? undefined : { ...checkpoint, diskIds };
}
