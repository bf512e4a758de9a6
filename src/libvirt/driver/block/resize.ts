/** Telling a running guest that a disk has grown. */
import type { CommonOptions } from "../../../core/index.js";
import { check } from "../../../core/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { findInDomain, requireLoaded } from "./live-disk.js";
import { luksHeaderBytes } from "./luks-header.js";

const sizeCheck = check.integer({ min: 512, max: Number.MAX_SAFE_INTEGER });

/**
 * `sizeBytes` is what the disk takes where it is kept: of an encrypted one the guest sees less. Without effect while the guest is not in memory. `virDomainBlockResize`.
 * @throws DiskNotFoundError, InvalidArgumentError; NotSupportedError for encrypted disks on network storage, whose header can't be seen; LibvirtError
 */
export async function resizeDisk(
  core: GuestCore,
  diskId: string,
  sizeBytes: number,
  options: CommonOptions,
): Promise<void> {
  sizeCheck(sizeBytes, "sizeBytes");
  const { source } = requireLoaded(core, diskId);
  if (!core.inMemory) return;
  await asDriverErrors({ operation: "resizeDisk", instance: core.instance }, async () => {
    const found = await findInDomain(core, diskId);
    if (found === undefined) return;
    const size = sizeBytes - (await luksHeaderBytes(source));
    await core.domain.blockResize(found.target, size, { flags: ["bytes"], ...core.limits(options) });
  });
}
