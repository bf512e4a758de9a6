/** Moving a disk to another source under a running guest. */
import type { CommonOptions } from "../../../core/index.js";
import { diskSourceCheck } from "../../../storage/index.js";
import type { DiskSource } from "../../../storage/index.js";
import type { GuestCore } from "../guest-core.js";
import { planOptionsOf } from "../plan-on-host.js";
import { planDiskXml } from "../plan/index.js";
import { provideSecrets, secretUsesOf } from "../secrets.js";
import { withSource } from "./alter-source.js";
import { pivot, waitUntilReady } from "./block-job.js";
import { refuseUnfit, requireLive, requireLoaded } from "./live-disk.js";
import { fitTarget, planFit } from "./target-size.js";
import { withWork } from "./work.js";

/**
 * Copies a disk to `target` while the guest goes on, and has the guest go over to it, now and at its next start. A larger file is seen by the guest in its whole size
 * then. Checkpoints go along where the target is qcow2. `virDomainBlockCopy`; the domain stays defined all the while.
 * @throws DiskNotFoundError, ConflictError when it is there already; InvalidArgumentError, also for a target that is smaller; NotSupportedError for what libvirt can't
 * copy to; SecretNotFoundError, DeviceAttachError, StorageError, DiskFullError, InvalidStateError, BusyError, AbortedError. Then the guest has what it had.
 */
export async function mirrorDisk(
  core: GuestCore,
  diskId: string,
  given: DiskSource,
  options: CommonOptions,
): Promise<void> {
  const to = diskSourceCheck(given, "target");
  const disk = requireLoaded(core, diskId);
  refuseUnfit(core, disk, to);
  const { domain, host, instance } = core;
  const { callMs } = host.timeouts;
  let visibleBytes = 0;
  await withWork(
    core,
    "mirrorDisk",
    options,
    async () => {
      const { target } = await requireLive(core, diskId);
      visibleBytes = Number((await domain.getBlockInfo(target, { deadlineMs: callMs })).capacity);
      const ownBytes = await planFit(to, visibleBytes);
      const move = { diskId, from: disk.source, to, ...(ownBytes === undefined ? {} : { ownBytes }) };
      return { kind: "blockJob", targets: [target], files: [], move };
    },
    async ({ deadline, listener }, { targets: [target = ""], move }) => {
      await provideSecrets(host, instance.uuid, secretUsesOf([to]), { signal: deadline.signal });
      if (move !== undefined) await fitTarget(move, visibleBytes);
      await host.directIo.learn([to]);
      deadline.throwIfExpired();
      await domain.blockCopy(
        target,
        elementOf(core, diskId, to),
        {},
        { flags: ["reuseExt", "transientJob"], deadlineMs: callMs },
      );
      await waitUntilReady(core, listener, target, to, deadline);
      deadline.throwIfExpired();
      await pivot(core, target);
      return (state) => state;
    },
  );
}

/** The disk as it will be. */
function elementOf({ host, state }: GuestCore, diskId: string, source: DiskSource): string {
  const { definition } = withSource(state, diskId, source);
  const disk = definition.disks.find(({ id }) => id === diskId);
  if (disk === undefined) throw new TypeError(`no disk ${diskId}`);
  return planDiskXml(definition, disk, host.facts, planOptionsOf(host, definition, state));
}
