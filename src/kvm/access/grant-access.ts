/** Giving the user that QEMU runs as what a guest needs of the host's files, and taking it back. Without `runAs` nothing is done. */
import { traceMessage } from "../../core/index.js";
import type { GuestDefinition } from "../../driver/index.js";
import { isLocalSource, resolveBackingChain } from "../../storage/index.js";
import type { DiskSource } from "../../storage/index.js";
import type { GuestCore } from "../guest-core.js";
import { holderOf } from "./access-ledger.js";
import type { AccessMode } from "./file-rights.js";

/** Longest chain of backing files that is followed. */
const MAX_CHAIN = 200;

/**
 * Lets the guest's QEMU open a file; `purpose` groups what is revoked together. Call before QEMU opens it.
 * @throws HostIoError, InvalidArgumentError. Then nothing has changed.
 */
export async function grantAccess(core: GuestCore, path: string, mode: AccessMode, purpose = "block"): Promise<void> {
  await core.host.access.grant(holderOf(core.definition.uuid, purpose), path, mode);
}

/** Takes back what {@link grantAccess} gave. Call when QEMU has closed the file. Success when it was not given. @throws HostIoError */
export async function revokeAccess(core: GuestCore, path: string, purpose = "block"): Promise<void> {
  await core.host.access.revoke(holderOf(core.definition.uuid, purpose), path);
}

/**
 * Lets the guest's QEMU open a disk with all that it is based on, which is only read.
 * @throws ImageUnacceptableError for a chain that can't be followed; HostIoError, InvalidArgumentError. What was given stands: revoke it.
 */
export async function grantDisk(
  core: GuestCore,
  source: DiskSource,
  readOnly: boolean,
  purpose: string,
): Promise<void> {
  const { access } = core.host;
  if (access.user === undefined || !isLocalSource(source)) return;
  const chain = await resolveBackingChain(source.path, source.format, { roots: ["/"], maxDepth: MAX_CHAIN });
  const holder = holderOf(core.definition.uuid, purpose);
  for (const [index, path] of chain.entries()) {
    await access.grant(holder, path, index === 0 && !readOnly ? "write" : "read");
  }
}

/** Takes back all that was given for a purpose. @throws HostIoError */
export async function revokePurpose(core: GuestCore, purpose: string): Promise<void> {
  const holder = holderOf(core.definition.uuid, purpose);
  await core.host.access.revokeAll((candidate) => candidate === holder);
}

/** Gives a guest that is about to start all that its definition names. @throws as {@link grantDisk} */
export async function grantDefinition(core: GuestCore, definition: GuestDefinition): Promise<void> {
  if (core.host.access.user === undefined) return;
  const { kernel, disks } = definition;
  if (kernel !== undefined) {
    await grantAccess(core, kernel.kernelPath, "read", "kernel");
    if (kernel.ramdiskPath !== undefined) await grantAccess(core, kernel.ramdiskPath, "read", "kernel");
  }
  for (const disk of disks) {
    const readOnly = disk.readOnly || disk.deviceType === "cdrom";
    if (disk.source !== undefined) await grantDisk(core, disk.source, readOnly, diskPurpose(disk.id));
  }
}

/** What the files of a disk are given for. */
export function diskPurpose(id: string): string {
  return `disk-${id}`;
}

/** Takes back everything from a guest that is not in memory. Never rejects: what can't be taken back is tried again when the host is next opened. */
export async function revokeGuest(core: GuestCore): Promise<void> {
  const prefix = holderOf(core.definition.uuid, "");
  await core.host.access
    .revokeAll((holder) => holder.startsWith(prefix))
    .catch((error: unknown) => {
      traceMessage("hypervise:kvm:background-failure", () => ({ instance: core.instance, error: String(error) }));
    });
}
