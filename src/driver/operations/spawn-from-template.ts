/** `spawnFromTemplate`: an instance that runs on from where another was saved, or nothing at all. */
import { ConflictError, NotSupportedError } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import { announced, limited } from "../guest-actions.js";
import { applyFilters, plugVif, prepareFilters, writeRecord } from "../operation-steps.js";
import { checkPlan } from "../check-plan.js";
import { checkTemplateFits } from "../template-fit.js";
import { defineGuest, fetchKernel, refuseExisting } from "./spawn.js";
import { directoryCheck } from "./save-template.js";
import { emptyDrivesOf, placeOfDisk, planSpawn } from "../plan-spawn.js";
import type { InstancePlan, PlannedDisk } from "../plan-spawn.js";
import type { Guest } from "../guest.js";
import type { HostContext } from "../host-context.js";
import type { InstanceDisk, InstanceRecord } from "../instance-record.js";
import type { InstanceSpec } from "../instance-spec.js";
import type { Operation } from "../operation.js";
import { readManifest, referencePath, referenceText, templatePath } from "../template-directory.js";
import { runOperation } from "../run-operation.js";
import type { SpawnResult } from "../results.js";
import { storedSpec, validateInstanceSpec } from "../validate-instance-spec.js";
import type { TemplateManifest } from "../facets/templates.js";
import { TemplateUnusableError } from "../errors.js";

export async function spawnFromTemplate(
  host: HostContext,
  given: InstanceSpec,
  givenDirectory: string,
  options?: OperationOptions,
): Promise<SpawnResult> {
  host.lifecycle.assertReady();
  const spec = validateInstanceSpec(given);
  const directory = directoryCheck(givenDirectory, "directory");
  if (spec.adminPassword !== undefined || (spec.injectedFiles ?? []).length > 0)
    throw new NotSupportedError({ capability: "injectAtSpawn of a guest that has booted" });
  if (spec.configDrive !== undefined)
    throw new NotSupportedError({ capability: "configDrive of a guest that has booted" });
  const plan = planSpawn(storedSpec(spec));
  const instance = { uuid: spec.uuid, name: spec.name };
  checkPlan(host, plan);
  const { spawnMs } = host.timeouts;
  const request = { kind: "spawnFromTemplate", instance, options, timeoutMs: spawnMs };
  const result = await runOperation(host, request, async (operation) => {
    await refuseExisting(operation);
    const template = await usableTemplate(operation, directory);
    checkTemplateFits(plan.spec, template);
    const record = await prepareResources(operation, plan, template, directory);
    await prepareFilters(operation, instance, record.vifs, null);
    const guest = await defineGuest(operation, record);
    await applyFilters(operation, instance, record.vifs);
    await start(operation, guest, template, directory);
    operation.throwIfAborted();
    return { instance, state: "running" as const };
  });
  host.events.emit({ type: "instance", instance, change: "spawned" });
  return result;
}

/** @throws TemplateNotFoundError, TemplateUnusableError */
async function usableTemplate({ host, instance, signal }: Operation, directory: string): Promise<TemplateManifest> {
  const template = await readManifest(host, directory);
  const refuse = (message: string): never => {
    throw new TemplateUnusableError(message, { instance, detail: directory });
  };
  if (template.hypervisorType !== host.hypervisor.type)
    refuse(`a template of ${template.hypervisorType} can't be used on ${host.hypervisor.type}`);
  const { cpu, hypervisorVersion } = await host.hypervisor.hostFacts({ signal });
  if (hypervisorVersion < template.hypervisorVersion) refuse("the template was saved by a newer hypervisor");
  const comparison = await host.hypervisor.compareCpu?.(template.cpu, { signal });
  if (comparison === "incompatible" || cpu.arch !== template.cpu.arch)
    refuse("the host's CPU lacks something of that of the template's host");
  return template;
}

/** The reference stands in the template before the first disk does; a template that is being deleted by then is none. */
async function prepareResources(
  operation: Operation,
  plan: InstancePlan,
  template: TemplateManifest,
  directory: string,
): Promise<InstanceRecord> {
  const { host, instance, signal } = operation;
  const { hostname } = await host.hypervisor.hostFacts({ signal });
  let record: InstanceRecord = {
    version: 1,
    ...instance,
    spec: plan.spec,
    disks: [],
    volumes: [],
    vifs: [],
    ...emptyDrivesOf(plan),
    template: { id: template.id, directory },
    desiredState: "running",
    createdAt: host.clock.now(),
  };
  await refuseKeptDisks(operation);
  await writeRecord(operation, record);
  const reference = referencePath(directory, instance.uuid);
  await operation.effect("exportedFile", { path: reference }, () =>
    host.files.writeText(reference, referenceText(instance.uuid, hostname)),
  );
  await readManifest(host, directory);
  const kernel = await fetchKernel(operation, plan.spec);
  if (kernel !== undefined) record = { ...record, kernel };
  operation.progress("disks");
  for (const disk of plan.disks)
    record = { ...record, disks: [...record.disks, await createOverlay(operation, disk, template, directory)] };
  operation.progress("network");
  for (const vif of plan.vifs) record = { ...record, vifs: [...record.vifs, await plugVif(operation, vif)] };
  await writeRecord(operation, record);
  return record;
}

/** What was kept of an earlier instance is not what the template's memory knows. @throws ConflictError */
async function refuseKeptDisks({ host, instance }: Operation): Promise<void> {
  if ((await host.collaborators.disks.list(instance.uuid)).length === 0) return;
  throw new ConflictError("disks of an earlier instance were kept", {
    instance,
    remedy: "Delete them with deleteInstanceFiles, or spawn the instance without a template.",
  });
}

/** A copy-on-write disk on the template's. @throws TemplateUnusableError when the template has none of the name. */
async function createOverlay(
  operation: Operation,
  planned: PlannedDisk,
  template: TemplateManifest,
  directory: string,
): Promise<InstanceDisk> {
  const { host, instance, signal } = operation;
  const { uuid } = instance;
  const place = placeOfDisk(planned);
  const { name } = place;
  const base = template.disks.find((disk) => disk.name === name);
  if (base === undefined)
    throw new TemplateUnusableError(`the template has no disk ${name}`, { instance, device: name, detail: directory });
  const { format, sizeBytes } = base;
  const path = templatePath(directory, base.file);
  const image = { id: `template-${template.id}`, path, format, virtualSizeBytes: sizeBytes };
  const source = await operation.effect("disk", { uuid, name }, () =>
    host.collaborators.disks.create({ instanceUuid: uuid, name, sizeBytes, image, format: "qcow2" }, { signal }),
  );
  return { ...place, sizeBytes, source };
}

async function start(operation: Operation, guest: Guest, template: TemplateManifest, directory: string): Promise<void> {
  const { host, signal } = operation;
  const { platform, definition, memoryFile } = template;
  const memoryPath = templatePath(directory, memoryFile);
  operation.progress("restore");
  await operation.effect("power", { uuid: guest.uuid, state: "shutdown" }, () =>
    announced(host, guest, "started", () =>
      limited(host, host.timeouts.startMs, "starting the guest from its template", signal, async (limit) => {
        if (guest.startFromTemplate === undefined) throw new NotSupportedError({ capability: "templates" });
        await guest.startFromTemplate({ platform, definition, memoryPath }, { signal: limit });
      }),
    ),
  );
}
