/** `saveTemplate` and `describeTemplate`. */
import { check, ConflictError, NotSupportedError } from "../../core/index.js";
import type { CommonOptions, OperationHandle, OperationOptions } from "../../core/index.js";
import { checkInstance } from "../operation-options.js";
import { copyProgress, making, planExport, publish } from "../export-file.js";
import { devicesOf, hostDeviceOf } from "../attached-devices.js";
import type { Guest } from "../guest.js";
import type { GuestTemplatePhase, GuestTemplateState } from "../guest-template.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRecord } from "../instance-record.js";
import type { InstanceRef } from "../instance-spec.js";
import { limited, powerStateOf, requireInMemory } from "../guest-actions.js";
import { makeReferences, MEMORY_FILE, readManifest, templatePath, writeManifest } from "../template-directory.js";
import { CONFIG_DISK, isConfigDisk } from "../plan-config-drive.js";
import type { Operation } from "../operation.js";
import { requireNoTask } from "../task-state.js";
import { runQuery } from "../run-operation.js";
import { startOperation } from "../operation-handle.js";
import type { TemplateDisk, TemplateManifest } from "../facets/templates.js";

export const directoryCheck = check.absolutePath();

export function saveTemplate(
  host: HostContext,
  given: InstanceRef,
  givenDirectory: string,
  options: OperationOptions = {},
): OperationHandle<TemplateManifest> {
  const instance = checkInstance(given);
  const directory = directoryCheck(givenDirectory, "directory");
  const { diskCopyMs, suspendMs } = host.timeouts;
  const request = { kind: "saveTemplate", instance, options, timeoutMs: diskCopyMs + suspendMs };
  return startOperation(host, `saveTemplate ${instance.uuid} ${directory}`, request, (operation) =>
    save(operation, directory),
  );
}

export function describeTemplate(
  host: HostContext,
  givenDirectory: string,
  options?: CommonOptions,
): Promise<TemplateManifest> {
  return runQuery(host, "describeTemplate", options, () =>
    readManifest(host, directoryCheck(givenDirectory, "directory")),
  );
}

async function save(operation: Operation, path: string): Promise<TemplateManifest> {
  const { host, instance, signal } = operation;
  const record = host.records.require(instance.uuid);
  requireNoTask(record, "saveTemplate");
  const guest = await requireInMemory(host, instance.uuid, "saveTemplate", signal);
  refuseForeign(record);
  const facts = await host.hypervisor.hostFacts({ signal });
  const definition = await guest.definition();
  const target = await planExport(operation, path);
  const disks = record.disks.map(({ name, sizeBytes }): TemplateDisk => {
    return { name, file: `${name}.qcow2`, format: "qcow2", sizeBytes };
  });
  await making(operation, target, async () => {
    await host.files.makeDirectory(target.partial);
    await makeReferences(host, target.partial);
  });
  const { platform } = await capture(operation, guest, target.partial, disks);
  const manifest: TemplateManifest = {
    version: 1,
    id: globalThis.crypto.randomUUID(),
    createdAt: host.clock.now(),
    hypervisorType: host.hypervisor.type,
    hypervisorVersion: facts.hypervisorVersion,
    cpu: facts.cpu,
    spec: record.spec,
    definition,
    memoryFile: MEMORY_FILE,
    disks,
    platform,
  };
  operation.throwIfAborted();
  await writeManifest(host, target.partial, manifest);
  await publish(operation, target);
  return manifest;
}

/** A failing operation brings the guest's power state back. */
async function capture(
  operation: Operation,
  guest: Guest,
  directory: string,
  disks: readonly TemplateDisk[],
): Promise<GuestTemplateState> {
  const { host, signal } = operation;
  const { diskCopyMs, suspendMs } = host.timeouts;
  const request = {
    memoryPath: templatePath(directory, MEMORY_FILE),
    disks: disks.map(({ name, file, format }) => ({ diskId: name, path: templatePath(directory, file), format })),
  };
  const state = await powerStateOf(guest, signal);
  return operation.effect("power", { uuid: guest.uuid, state }, () =>
    limited(host, diskCopyMs + suspendMs, "saving the template", signal, async (limit) => {
      if (guest.saveTemplate === undefined) throw new NotSupportedError({ capability: "templates" });
      let phase: GuestTemplatePhase = "memory";
      const onPhase = (next: GuestTemplatePhase): void => {
        phase = next;
        operation.progress(phase);
      };
      return guest.saveTemplate(request, {
        signal: limit,
        onPhase,
        onCopyProgress: (progress) => copyProgress(operation, phase)(progress),
      });
    }),
  );
}

/** @throws ConflictError for what can't be in several guests. */
function refuseForeign(record: InstanceRecord): void {
  const { uuid, name } = record;
  const refuse = (what: string, device: string): never => {
    throw new ConflictError(`${what} is attached; a template can't hold it`, {
      instance: { uuid, name },
      device,
      remedy: "Detach it first.",
    });
  };
  for (const { connection } of record.volumes) refuse(`volume ${connection.volumeId}`, connection.volumeId);
  if (record.disks.some(isConfigDisk))
    throw new ConflictError("the instance has a config drive, which tells of it alone; a template can't hold it", {
      instance: { uuid, name },
      device: CONFIG_DISK,
      remedy: "Spawn the instance that is to be saved without one.",
    });
  for (const device of devicesOf(record))
    if (device.type !== "usbInput") refuse(hostDeviceOf(device) ?? `device ${device.id}`, device.id);
}
