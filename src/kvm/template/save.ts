/** A guest in memory, written to files that others start from: its disks copied while it runs, then its memory while it stands still. */
import { BusyError, InvalidArgumentError, NotSupportedError, check } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { InvalidStateError } from "../../driver/index.js";
import type {
  CopyProgress,
  GuestTemplateDisk,
  GuestTemplatePhase,
  GuestTemplateRequest,
  GuestTemplateState,
} from "../../driver/index.js";
import { notify, withCopyProgress } from "../../hypervisor/index.js";
import { DISK_SOURCE_FORMATS } from "../../storage/index.js";
import { JOB_RULES, jobProgress, reach, startJob } from "../block/job.js";
import { diskHandle, requireDrive } from "../block/nodes.js";
import { formatJob, openTarget, refuseTaken } from "../block/target-file.js";
import { withWork } from "../block/work.js";
import type { WorkContext } from "../block/work.js";
import type { GuestCore } from "../guest-core.js";
import { requireHotplug } from "../hotplug/plug.js";
import { whileMoving } from "../migration/moving.js";
import { TOPOLOGIES } from "../plan/topology.js";
import type { GuestSession } from "../session.js";
import type { SavedMemory } from "../state/saved-memory.js";
import { withSavedMemory } from "../state/state-changes.js";
import { abandonSaving, afterSaving, saveMemory } from "../suspend/save-memory.js";
import { describePlatform } from "./template-platform.js";

export interface SaveTemplateOptions extends CommonOptions {
  readonly onPhase?: (phase: GuestTemplatePhase) => void;
  readonly onCopyProgress?: (progress: CopyProgress) => void;
}

const requestCheck = check.object({
  memoryPath: check.absolutePath(),
  disks: check.array(
    check.object({
      diskId: check.string({ max: 255 }),
      path: check.absolutePath(),
      format: check.oneOf(DISK_SOURCE_FORMATS),
    }),
    { max: 256 },
  ),
});

/**
 * Saves a guest in memory as a template. The copies of its disks follow what it writes, until it is stopped: they and the memory are of that moment.
 * @throws InvalidArgumentError when not all disks are named; NotSupportedError for a guest with a TPM, or with NICs on a machine that can't be given others while it runs; ConflictError when a file is there;
 * BusyError, InvalidStateError, DiskFullError, StorageError, MigrationError, HostIoError, AbortedError. Then no file is left and the guest is as before.
 */
export async function saveTemplate(
  core: GuestCore,
  given: GuestTemplateRequest,
  options: SaveTemplateOptions,
): Promise<GuestTemplateState> {
  const { memoryPath, disks } = requestCheck(given, "request");
  requireAllDisks(core, disks);
  const { nics } = core.definition;
  if (nics.length > 0)
    requireHotplug(core, TOPOLOGIES[core.state.hardware.machine].expansion, "templates of guests with NICs");
  if (core.definition.hardware?.tpm !== undefined)
    throw new NotSupportedError({
      capability: "templates of guests with a TPM",
      message: "all guests from the template would have the keys of its guest's TPM",
      instance: core.instance,
    });
  const jobs = disks.map(({ diskId }) => copyJob(core, diskId));
  let platform: GuestTemplateState["platform"] = {};
  await withWork(
    core,
    "saveTemplate",
    options,
    async ({ session }) => {
      requireSavable(core, session);
      for (const { diskId } of disks) await requireDrive(core, session, diskId);
      const files = [memoryPath, ...disks.map(({ path }) => path)];
      await refuseTaken(files);
      const formats = disks.map(({ diskId }) => formatJob(diskHandle(core, diskId)));
      return { diskIds: disks.map(({ diskId }) => diskId), jobs: [...jobs, ...formats], files, bitmaps: [] };
    },
    async (context) => {
      const { session, deadline } = context;
      notify(options.onPhase, "disks");
      for (const disk of disks) await follow(core, context, disk);
      const progress = (): Promise<CopyProgress | undefined> => jobProgress(session, jobs);
      await withCopyProgress(core.host, progress, options.onCopyProgress, async () => {
        for (const job of jobs) await reach(session, job, "ready", deadline);
      });
      notify(options.onPhase, "memory");
      await whileMoving(core, async () => {
        requireSavable(core, session);
        platform = describePlatform(core.host, core.state.hardware);
        await standStill(core, context, jobs, memoryPath, options);
      });
      return (state) => state;
    },
  );
  return { platform };
}

function copyJob(core: GuestCore, diskId: string): string {
  return `template-${diskHandle(core, diskId)}`;
}

/** Begins a copy that has all that the guest has written by the time that it is ended. */
async function follow(
  core: GuestCore,
  { session, deadline }: WorkContext,
  { diskId, path, format }: GuestTemplateDisk,
): Promise<void> {
  const { handle, inserted } = await requireDrive(core, session, diskId);
  const { node, sizeBytes } = inserted;
  const target = await openTarget(core, session, handle, { path, format, sizeBytes }, deadline);
  deadline.throwIfExpired();
  await startJob(session, "blockdev-mirror", {
    ...JOB_RULES,
    "job-id": copyJob(core, diskId),
    device: node,
    target,
    sync: "full",
    // However fast the guest writes, the copy catches up.
    "copy-mode": "write-blocking",
    "filter-node-name": `${handle}-copying`,
  });
}

/** The moment that the template is of. A failure has the guest go on as before. */
async function standStill(
  core: GuestCore,
  { session, deadline }: WorkContext,
  jobs: readonly string[],
  memoryPath: string,
  { onCopyProgress }: SaveTemplateOptions,
): Promise<void> {
  const { signal } = deadline;
  const saving: SavedMemory = {
    phase: "saving",
    wasRunning: session.view.state === "running",
    at: core.host.clock.now(),
  };
  // Whoever finds QEMU standing still must know that it did not before.
  await core.update((state) => withSavedMemory(state, saving));
  session.setMoving(true);
  try {
    if (saving.wasRunning) await session.execute("stop", {}, { signal });
    for (const job of jobs) {
      // A copy that is up to date and not gone over to ends whole.
      await session.execute("block-job-cancel", { device: job }, { signal });
      await reach(session, job, "concluded", deadline);
    }
    await saveMemory(core, session, memoryPath, {
      signal,
      ...(onCopyProgress === undefined ? {} : { onCopyProgress }),
    });
    deadline.throwIfExpired();
    await afterSaving(session, saving);
  } catch (error) {
    if (!session.process.over) await abandonSaving(core, session, saving);
    throw error;
  }
  await core.update((state) => withSavedMemory(state, saving.wasRunning ? undefined : { ...saving, phase: "copied" }));
}

/** @throws InvalidArgumentError: memory without all that it knows of disks is worth nothing */
function requireAllDisks(core: GuestCore, disks: readonly GuestTemplateDisk[]): void {
  const wanted = core.definition.disks.flatMap(({ id, source }) => (source === undefined ? [] : [id]));
  const named = disks.map(({ diskId }) => diskId);
  if (named.length === wanted.length && wanted.every((id) => named.includes(id))) return;
  throw new InvalidArgumentError({
    field: "request.disks",
    value: named.join(", "),
    expected: `each disk of the guest once: ${wanted.join(", ")}`,
  });
}

/**
 * @throws InvalidStateError for a guest that has broken, or stands still since its memory was last written; BusyError while a device is on its way: the memory would know it otherwise than the definition
 */
function requireSavable(core: GuestCore, { view }: GuestSession): void {
  const { instance, state } = core;
  const moving = state.hardware.bindings.find(({ phase }) => phase !== undefined);
  if (moving !== undefined)
    throw new BusyError("a device of the guest is being plugged in or out", { instance, device: moving.id });
  if (view.state === "crashed" || state.saved !== undefined)
    throw new InvalidStateError({
      operation: "saveTemplate",
      state: view.state === "crashed" ? "crashed" : "paused since its memory was written",
      expected: ["running", "paused"],
      instance,
    });
}
