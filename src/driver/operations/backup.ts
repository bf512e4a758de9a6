/** `backup`: copies of a running guest's disks, as they are at one point in time. */
import { check, ConflictError, InvalidArgumentError, NotSupportedError } from "../../core/index.js";
import type { OperationHandle } from "../../core/index.js";
import type { Backup, BackupDisk, BackupOptions, BackupRequest } from "../facets/backups.js";
import { checkInstance } from "../operation-options.js";
import { CheckpointNotFoundError, DiskNotFoundError } from "../errors.js";
import { copyProgress, making, planExport, publish } from "../export-file.js";
import type { ExportedPath } from "../export-file.js";
import { diskIdCheck } from "./set-disk-limits.js";
import type { Guest } from "../guest.js";
import type { GuestBackupDisk } from "../guest-backup.js";
import { guestDefinitionOf } from "../guest-definition-of.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRecord } from "../instance-record.js";
import type { InstanceRef } from "../instance-spec.js";
import { limited, requireInMemory } from "../guest-actions.js";
import type { Operation } from "../operation.js";
import { isConfigDisk } from "../plan-config-drive.js";
import { quiesceCheck, whileFrozen } from "../freeze.js";
import type { Quiesce } from "../freeze.js";
import { requireNotMigrating } from "../task-state.js";
import { startOperation } from "../operation-handle.js";

export const checkpointName = check.string({ max: 64, charset: "name" });

const requestCheck = check.object({
  disks: check.optional(
    check.array(
      check.object({
        diskId: diskIdCheck,
        path: check.absolutePath(),
        format: check.optional(check.oneOf(["raw", "qcow2"])),
      }),
      { min: 1, max: 256 },
    ),
  ),
  directory: check.optional(check.absolutePath()),
  since: check.optional(checkpointName),
  checkpoint: check.optional(checkpointName),
});

export function backup(
  host: HostContext,
  given: InstanceRef,
  givenRequest: BackupRequest,
  options: BackupOptions = {},
): OperationHandle<Backup> {
  const instance = checkInstance(given);
  const wanted = checkRequest(givenRequest);
  const quiesce = quiesceCheck(options.quiesce ?? "auto", "options.quiesce");
  const { diskCopyMs, agentMs } = host.timeouts;
  const request = { kind: "backup", instance, options, timeoutMs: diskCopyMs + 3 * agentMs };
  const key = `backup ${instance.uuid} ${globalThis.crypto.randomUUID()}`;
  return startOperation(host, key, request, (operation) => takeBackup(operation, wanted, quiesce));
}

/** @throws InvalidArgumentError */
function checkRequest(value: unknown): BackupRequest {
  const request = requestCheck(value, "request");
  const { disks, directory, since, checkpoint } = request;
  const refuse = (field: string, bad: unknown, expected: string): never => {
    throw new InvalidArgumentError({ field: `request.${field}`, value: bad, expected });
  };
  if ((disks === undefined) === (directory === undefined)) refuse("disks", disks, "either disks or a directory");
  if (since !== undefined && since === checkpoint) refuse("checkpoint", checkpoint, "another name than since");
  (disks ?? []).forEach(({ diskId, path, format }, i) => {
    const others = (disks ?? []).slice(0, i);
    if (others.some((other) => other.diskId === diskId)) refuse(`disks[${i}].diskId`, diskId, "another disk");
    if (others.some((other) => other.path === path)) refuse(`disks[${i}].path`, path, "another file");
    if (since !== undefined && format === "raw")
      refuse(`disks[${i}].format`, format, "qcow2, as only changes are copied");
  });
  return request;
}

async function takeBackup(operation: Operation, request: BackupRequest, quiesce: Quiesce): Promise<Backup> {
  const { host, instance, signal } = operation;
  const { since, checkpoint } = request;
  const record = host.records.require(instance.uuid);
  requireNotMigrating(record, "backup");
  const disks = disksOf(record, request);
  const guest = await requireInMemory(host, instance.uuid, "backup", signal);
  await checkCheckpoints(operation, guest, request);
  const files: ExportedPath[] = [];
  for (const { path } of disks) files.push(await planExport(operation, path));
  for (const file of files) await making(operation, file, () => Promise.resolve());
  const copies = disks.map(({ diskId, format }, i): GuestBackupDisk => ({ diskId, format, path: partialOf(files[i]) }));
  const named = { ...(since === undefined ? {} : { since }), ...(checkpoint === undefined ? {} : { checkpoint }) };
  const copy = (onPointInTime: () => void): Promise<void> =>
    limited(host, host.timeouts.diskCopyMs, "copying the disks", signal, async (limit) => {
      if (guest.backup === undefined) throw new NotSupportedError({ capability: "backups" });
      operation.progress("copy");
      const onCopyProgress = copyProgress(operation, "copy");
      await guest.backup({ disks: copies, ...named }, { signal: limit, onPointInTime, onCopyProgress });
    });
  const quiesced = await whileFrozen(operation, guest, quiesce, (onPointInTime) =>
    checkpoint === undefined
      ? copy(onPointInTime)
      : operation.effect("checkpoint", { uuid: guest.uuid, name: checkpoint }, () => copy(onPointInTime)),
  );
  for (const file of files) await publish(operation, file);
  return { disks, ...named, quiesced };
}

function partialOf(file: ExportedPath | undefined): string {
  return file?.partial ?? "";
}

/** @throws DiskNotFoundError when there is no such disk, or nothing in the drive. */
function disksOf(record: InstanceRecord, { disks, directory }: BackupRequest): readonly Required<BackupDisk>[] {
  if (disks === undefined)
    return record.disks
      .filter((disk) => !isConfigDisk(disk))
      .map(({ name }) => ({ diskId: name, path: `${directory}/${name}.qcow2`, format: "qcow2" }));
  const known = guestDefinitionOf(record).disks.filter(({ source }) => source !== undefined);
  return disks.map(({ diskId, path, format = "qcow2" }) => {
    if (known.some(({ id }) => id === diskId)) return { diskId, path, format };
    const { uuid, name } = record;
    throw new DiskNotFoundError(`the instance has no disk ${diskId}`, { instance: { uuid, name }, device: diskId });
  });
}

/** @throws CheckpointNotFoundError, ConflictError */
async function checkCheckpoints(
  operation: Operation,
  guest: Guest,
  { since, checkpoint }: BackupRequest,
): Promise<void> {
  const { instance, signal } = operation;
  if (since === undefined && checkpoint === undefined) return;
  const names = ((await guest.checkpoints?.({ signal })) ?? []).map(({ name }) => name);
  if (since !== undefined && !names.includes(since))
    throw new CheckpointNotFoundError(`the instance has no checkpoint ${since}`, {
      instance,
      remedy: "Make a whole backup with a checkpoint.",
    });
  if (checkpoint !== undefined && names.includes(checkpoint))
    throw new ConflictError(`the instance has a checkpoint ${checkpoint} already`, {
      instance,
      remedy: "Take another name, or delete that checkpoint.",
    });
}
