/** What a simulated guest's disks and memory are copied to: backups with checkpoints, dumps, templates. */
import { ConflictError } from "../core/index.js";
import { CheckpointNotFoundError, GuestCrashedError, GuestStartError } from "../driver/index.js";
import type {
  CopyProgress,
  GuestBackupRequest,
  GuestCheckpoint,
  GuestTemplate,
  GuestTemplatePhase,
  GuestTemplateRequest,
  GuestTemplateState,
} from "../driver/index.js";
import { checkDevices } from "./guest-devices.js";
import { diskOf } from "./guest-disks.js";
import { enterMemory, notify, pause, plan, resume, stop } from "./guest-power.js";
import { extrasOf, inMemory } from "./guest-record.js";
import type { GuestRecord } from "./guest-record.js";
import { requireState } from "./guest-state.js";
import type { FakeProcess, Halfway } from "./process.js";
import { EMPTY } from "./storage.js";
import type { Content, FakeFile } from "./storage.js";
import { transfer } from "./transfer.js";

const MIB = 1024 ** 2;

/** How the caller hears of a copy. */
export interface CopyHooks {
  readonly signal?: AbortSignal | undefined;
  readonly onPointInTime?: () => void;
  readonly onPhase?: (phase: GuestTemplatePhase) => void;
  readonly onCopyProgress?: (progress: CopyProgress) => void;
}

interface Copy {
  readonly path: string;
  readonly format: "raw" | "qcow2";
  readonly bytes: number;
  readonly virtualSizeBytes: number;
  readonly content: Content;
}

export async function backupDisks(
  process: FakeProcess,
  record: GuestRecord,
  request: GuestBackupRequest,
  hooks: CopyHooks,
  halfway: Halfway,
): Promise<void> {
  const extras = extrasOf(record);
  const checkpoints = (extras.checkpoints ??= {});
  const { since, checkpoint, disks } = request;
  const base = since === undefined ? undefined : checkpoints[since];
  if (since !== undefined && base === undefined)
    throw new CheckpointNotFoundError("The guest has no such checkpoint", { instance: record.definition });
  if (checkpoint !== undefined && checkpoints[checkpoint] !== undefined)
    throw new ConflictError("The guest has a checkpoint of this name", { instance: record.definition });
  const copies = disks.map(({ diskId, path, format }): Copy => {
    const file = contentOf(process, record, diskId);
    const known = base?.disks[diskId] ?? 0;
    const content = file?.content.slice(known) ?? EMPTY;
    const bytes = since === undefined ? (file?.allocatedBytes ?? 0) : content.length;
    return { path, format, bytes, virtualSizeBytes: file?.virtualSizeBytes ?? 0, content };
  });
  const lengths = Object.fromEntries(
    disks.map(({ diskId }) => [diskId, contentOf(process, record, diskId)?.content.length ?? 0]),
  );
  hooks.onPointInTime?.();
  await writeCopies(process, record, copies, hooks, halfway);
  if (checkpoint !== undefined) checkpoints[checkpoint] = { createdAt: process.clock.now(), disks: lengths };
}

export function checkpointsOf(record: GuestRecord): readonly GuestCheckpoint[] {
  return Object.entries(record.extras?.checkpoints ?? {}).map(([name, { createdAt, disks }]) => ({
    name,
    createdAt,
    diskIds: Object.keys(disks),
  }));
}

export function deleteCheckpoint(record: GuestRecord, name: string): void {
  const { checkpoints = {} } = record.extras ?? {};
  if (record.extras !== undefined)
    record.extras.checkpoints = Object.fromEntries(Object.entries(checkpoints).filter(([other]) => other !== name));
}

/** The guest stands still meanwhile. */
export async function dumpMemory(
  process: FakeProcess,
  record: GuestRecord,
  path: string,
  hooks: CopyHooks,
  halfway: Halfway,
): Promise<void> {
  await standingStill(process, record, () => writeCopies(process, record, [memoryOf(record, path)], hooks, halfway));
}

export async function saveTemplate(
  process: FakeProcess,
  record: GuestRecord,
  request: GuestTemplateRequest,
  hooks: CopyHooks,
  halfway: Halfway,
): Promise<GuestTemplateState> {
  const { memoryPath, disks } = request;
  const copies = disks.map(({ diskId, path, format }): Copy => {
    const file = contentOf(process, record, diskId);
    const { allocatedBytes = 0, virtualSizeBytes = 0, content = EMPTY } = file ?? {};
    return { path, format, bytes: allocatedBytes, virtualSizeBytes, content };
  });
  const { saveMs } = process.host.behaviourOf(record.definition.uuid);
  hooks.onPhase?.("memory");
  await standingStill(process, record, async () => {
    if (saveMs > 0) await process.sleep(saveMs, hooks.signal);
  });
  hooks.onPhase?.("disks");
  await writeCopies(process, record, [memoryOf(record, memoryPath), ...copies], hooks, halfway);
  return { platform: { booted: record.booted, boots: record.boots } };
}

/** The guest runs where the template's stood. */
export async function startFromTemplate(
  process: FakeProcess,
  record: GuestRecord,
  template: GuestTemplate,
  signal: AbortSignal | undefined,
  halfway: Halfway,
): Promise<void> {
  const { host } = process;
  requireState(record, "startFromTemplate", ["shutdown"]);
  if (host.storage.get(template.memoryPath)?.complete !== true)
    throw new GuestStartError("The template's memory is not there", {
      instance: record.definition,
      detail: template.memoryPath,
    });
  checkDevices(host, record.definition);
  const { startMs, startError, bootMs } = host.behaviourOf(record.definition.uuid);
  if (startError !== "")
    throw new GuestStartError("The guest could not be started", { instance: record.definition, detail: startError });
  enterMemory(host, record, "paused");
  try {
    if (startMs > 0) await process.sleep(startMs, signal);
  } catch (error) {
    if (process.alive) stop(host, record, { cause: "self", detail: "start-aborted" });
    throw error;
  }
  await halfway();
  record.boots = Number(template.platform["boots"] ?? 1);
  record.booted = template.platform["booted"] === true;
  record.state = "running";
  record.runningSince = host.world.clock.now();
  host.lifecycle(record, "started", "self", "from-template");
  if (!record.booted) plan(host, record, bootMs, { type: "booted" });
  notify(record);
}

async function standingStill(process: FakeProcess, record: GuestRecord, work: () => Promise<void>): Promise<void> {
  const { host } = process;
  const ran = record.state === "running";
  if (ran) pause(host, record, "self", "copying-memory");
  try {
    await work();
  } finally {
    if (ran && process.alive && record.state === "paused") resume(host, record, "self", "copied-memory");
  }
}

/** All or none; what a dead process has left is left. */
async function writeCopies(
  process: FakeProcess,
  record: GuestRecord,
  copies: readonly Copy[],
  { signal, onCopyProgress }: CopyHooks,
  halfway: Halfway,
): Promise<void> {
  const { storage, rates } = process.host;
  const made: FakeFile[] = [];
  const totalBytes = copies.reduce((sum, { bytes }) => sum + bytes, 0);
  const onProgress = ({ bytesDone }: { readonly bytesDone: number }): void =>
    onCopyProgress?.({ doneBytes: bytesDone, totalBytes });
  try {
    for (const copy of copies) made.push(storage.add(fileOf(record, copy)));
    await transfer(process, { bytes: totalBytes, mibps: rates.diskMiBps, signal, onProgress });
    if (!inMemory(record))
      throw new GuestCrashedError("The guest ended under the copy", { instance: record.definition });
  } catch (error) {
    if (process.alive) for (const { path } of made) storage.remove(path);
    throw error;
  }
  await halfway();
  for (const file of made) file.complete = true;
}

function fileOf({ definition }: GuestRecord, { path, format, bytes, virtualSizeBytes, content }: Copy): FakeFile {
  return {
    path,
    kind: "temporaryFile",
    owner: definition.uuid,
    name: path.slice(path.lastIndexOf("/") + 1),
    format,
    virtualSizeBytes,
    allocatedBytes: bytes,
    content,
    backing: undefined,
    complete: false,
  };
}

function memoryOf({ definition }: GuestRecord, path: string): Copy {
  const bytes = definition.memoryMiB * MIB;
  return { path, format: "raw", bytes, virtualSizeBytes: bytes, content: EMPTY };
}

function contentOf(process: FakeProcess, record: GuestRecord, diskId: string): FakeFile | undefined {
  const file = process.host.resolve(diskOf(record.definition, diskId).source);
  return typeof file === "object" ? file : undefined;
}
