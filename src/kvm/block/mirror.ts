/** Moving a disk to another source under a running guest. */
import { isDeepStrictEqual } from "node:util";
import { ConflictError, Deadline, InvalidArgumentError, NotSupportedError, withRollback } from "../../core/index.js";
import type { CommonOptions, JsonObject } from "../../core/index.js";
import { DiskNotFoundError } from "../../driver/index.js";
import { diskSourceCheck } from "../../storage/index.js";
import type { DiskSource } from "../../storage/index.js";
import { checkDisk } from "../definition-check.js";
import type { GuestCore } from "../guest-core.js";
import { blockNodes, diskNode, isLoaded } from "../plan/block-nodes.js";
import type { LoadedDisk } from "../plan/block-nodes.js";
import type { QmpArguments } from "../../qmp/index.js";
import type { GuestSession } from "../session.js";
import { bitmapsOf, carryBitmaps } from "./checkpoint-bitmaps.js";
import { openable } from "./direct-io.js";
import { JOB_RULES, endJob, reach, startJob } from "./job.js";
import { diskHandle, freshName, layersOf, letGo, namedNodes, openNext, requireDrive } from "./nodes.js";
import type { Layer } from "./nodes.js";
import { withSource, withWork } from "./work.js";
import type { WorkContext } from "./work.js";

/**
 * Copies a disk to `target` while the guest goes on, and has the guest go over to it. A larger target is seen by the guest in its whole size then.
 * Checkpoints go along where the target is qcow2.
 * @throws DiskNotFoundError, ConflictError when it is there already; InvalidArgumentError, also for a target that is smaller; DeviceAttachError when it can't be opened;
 * StorageError, DiskFullError, InvalidStateError, BusyError, AbortedError. Then the guest has what it had, and the target is not open.
 */
export async function mirrorDisk(
  core: GuestCore,
  diskId: string,
  given: DiskSource,
  options: CommonOptions,
): Promise<void> {
  const target = diskSourceCheck(given, "target");
  const disk = moveable(core, diskId);
  refuseUnfit(core, disk, target);
  const job = `mirror-${diskHandle(core, diskId)}`;
  await withWork(
    core,
    "mirrorDisk",
    options,
    async ({ session }) => {
      const { inserted } = await requireDrive(core, session, diskId);
      const move = { diskId, node: inserted.node, from: disk.source, to: target };
      return { diskIds: [diskId], jobs: [job], files: [], bitmaps: [], move };
    },
    async (context) => {
      const { session, deadline } = context;
      const drive = await requireDrive(core, session, diskId);
      const { node, sizeBytes } = drive.inserted;
      const layers = await layersOf(session, drive);
      const name = await freshName(session, drive.handle);
      await openNext(core, session, name, { ...disk, source: target });
      const restoreSize = await fit(session, name, { ...disk, source: target }, sizeBytes);
      await withRollback(async (undo) => {
        undo.defer("size of the target", async () => {
          if (session.process.over) return;
          await endJob(core, session, job, isDeepStrictEqual(moveable(core, diskId).source, target));
          await restoreSize();
        });
        deadline.throwIfExpired();
        await startJob(session, "blockdev-mirror", {
          ...JOB_RULES,
          "job-id": job,
          device: node,
          target: diskNode(name),
          sync: "full",
          "filter-node-name": `${drive.handle}-mirror`,
          "auto-finalize": false,
        });
        await pivot(core, context, job, { diskId, to: target, layers, node: diskNode(name) });
      });
      await restoreSize();
      await letGo(core, diskId, disk.source);
      return (state) => state;
    },
  );
}

/**
 * From a job that copies to the guest's going over. All is copied and the guest's requests wait while the definition is written, so that it is right
 * whatever happens next: both sides are the same at that moment.
 */
export async function pivot(
  core: GuestCore,
  { session, deadline }: WorkContext,
  job: string,
  move: {
    readonly diskId: string;
    readonly to: DiskSource;
    readonly layers: readonly Layer[];
    /** What the disk will stand on. */
    readonly node: string;
  },
): Promise<void> {
  await reach(session, job, "ready", deadline);
  await session.execute("job-complete", { id: job });
  await reach(session, job, "pending", deadline);
  await carryBitmaps(session, bitmapsOf(core, move.diskId), move.layers, move.node);
  deadline.throwIfExpired();
  await core.update((state) => withSource(state, move.diskId, move.to));
  await session.execute("job-finalize", { id: job });
  const { clock, timeouts } = core.host;
  const end = Deadline.after(timeouts.cancelMs, { operation: `the end of the job ${job}`, clock });
  await reach(session, job, "concluded", end).finally(() => end.dispose());
}

/** A disk that has a source to go over from. @throws DiskNotFoundError */
export function moveable(core: GuestCore, diskId: string): LoadedDisk {
  const disk = core.definition.disks.find(({ id }) => id === diskId);
  if (disk === undefined || !isLoaded(disk))
    throw new DiskNotFoundError(`the guest has no disk ${diskId}`, { instance: core.instance, device: diskId });
  return disk;
}

/**
 * @throws ConflictError for the source that the disk has; InvalidArgumentError, NotSupportedError for one that it can't have; NotSupportedError for
 * a disk that is not the guest's own to write to
 */
export function refuseUnfit(core: GuestCore, disk: LoadedDisk, source: DiskSource): void {
  // What others write would not be copied, and QEMU writes nothing through what it has open for reading.
  if (disk.readOnly || disk.shareable || disk.deviceType === "cdrom")
    throw new NotSupportedError({
      capability: "moving a disk that is read-only or shared",
      instance: core.instance,
      device: disk.id,
    });
  if (isDeepStrictEqual(disk.source, source))
    throw new ConflictError(`disk ${disk.id} is there already`, { instance: core.instance, device: disk.id });
  checkDisk({ ...disk, source }, core.state.hardware.machine, "target");
}

/**
 * QEMU copies between sources of one size only: a larger target is made to look smaller for as long.
 * @returns what gives the target its size back
 */
async function fit(
  session: GuestSession,
  name: string,
  disk: LoadedDisk,
  sizeBytes: number,
): Promise<() => Promise<void>> {
  const node = diskNode(name);
  const info = (await namedNodes(session)).find((candidate) => candidate["node-name"] === node);
  const targetBytes = Number(info?.image["virtual-size"] ?? sizeBytes);
  const resize = async (size: number): Promise<void> => {
    await session.execute("block_resize", { "node-name": node, size });
  };
  if (targetBytes < sizeBytes)
    throw new InvalidArgumentError({ field: "target", value: targetBytes, expected: `${sizeBytes} bytes or more` });
  if (targetBytes === sizeBytes) return () => Promise.resolve();
  if (info?.drv !== "raw") {
    await resize(sizeBytes);
    return () => resize(targetBytes);
  }
  const whole = blockNodes(name, await openable(disk));
  await reopen(session, { ...whole, size: sizeBytes });
  return async () => {
    await reopen(session, whole);
    await resize(targetBytes);
  };
}

async function reopen(session: GuestSession, node: JsonObject): Promise<void> {
  await session.execute("blockdev-reopen", { options: [node] } as unknown as QmpArguments<"blockdev-reopen">);
}
