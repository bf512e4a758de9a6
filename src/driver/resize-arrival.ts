/** The destination of a cold migration: the instance from its ticket and the disks on shared storage. */
import {
  applyFilters,
  bootGuest,
  connectVolume,
  createDisk,
  plugVif,
  prepareFilters,
  writeRecord,
} from "./operation-steps.js";
import { checkPlan } from "./check-plan.js";
import { guestDefinitionOf } from "./guest-definition-of.js";
import { InstanceExistsError, ResizeError } from "./errors.js";
import type { InstanceRecord } from "./instance-record.js";
import { CONFIG_DISK } from "./plan-config-drive.js";
import type { Operation } from "./operation.js";
import { emptyDrivesOf, planSpawn, SWAP_DISK } from "./plan-spawn.js";
import type { ResizeTicket } from "./facets/redefinition.js";
import { storedSpec, validateInstanceSpec } from "./validate-instance-spec.js";
import { fetchKernel } from "./operations/spawn.js";

export async function arrive(operation: Operation, ticket: ResizeTicket, powerOn: boolean): Promise<void> {
  const { host, instance, signal } = operation;
  const { uuid } = instance;
  const backEnd = host.collaborators.disks;
  if (host.records.get(uuid) !== undefined) throw new InstanceExistsError(instance);
  const spec = { ...storedSpec(validateInstanceSpec(ticket.spec)), flavor: ticket.newFlavor };
  const plan = planSpawn(spec);
  checkPlan(host, plan);
  const present = new Map((await backEnd.list(uuid)).map((disk) => [disk.name, disk]));
  for (const { name } of ticket.disks) {
    if (!present.has(name) && name !== SWAP_DISK)
      throw new ResizeError(`the disk ${name} is not on this host's storage`, { device: name });
  }
  let record: InstanceRecord = {
    version: 1,
    ...instance,
    spec,
    disks: [],
    volumes: [],
    vifs: [],
    ...emptyDrivesOf(plan),
    desiredState: powerOn ? "running" : "shutdown",
    resize: { ticket, role: "destination", previous: { spec, disks: [] } },
    createdAt: host.clock.now(),
  };
  await writeRecord(operation, record);
  const kernel = await fetchKernel(operation, spec);
  if (kernel !== undefined) record = { ...record, kernel };
  for (const disk of plan.disks) {
    // What a swap area's header says is its size: another size is another area. The source has the old one parked.
    if (disk.name === SWAP_DISK && present.get(SWAP_DISK)?.virtualSizeBytes !== disk.sizeBytes)
      await backEnd.remove(uuid, SWAP_DISK);
    const kept = await createDisk(operation, disk, undefined);
    const sizeBytes = Math.max(kept.sizeBytes, disk.sizeBytes);
    if (sizeBytes > kept.sizeBytes) await backEnd.resize(uuid, disk.name, sizeBytes, { signal });
    record = { ...record, disks: [...record.disks, { ...kept, sizeBytes }] };
  }
  const drive = present.get(CONFIG_DISK);
  if (plan.configDrive !== undefined && drive !== undefined) {
    const kept = { ...plan.configDrive, sizeBytes: drive.virtualSizeBytes, source: drive.source };
    record = { ...record, disks: [...record.disks, kept] };
  }
  for (const volume of plan.volumes)
    record = { ...record, volumes: [...record.volumes, await connectVolume(operation, volume)] };
  for (const vif of plan.vifs) record = { ...record, vifs: [...record.vifs, await plugVif(operation, vif)] };
  await writeRecord(operation, record);
  await prepareFilters(operation, instance, record.vifs, null);
  const guest = await operation.effect("guest", { uuid }, () =>
    host.hypervisor.define(guestDefinitionOf(record), { signal }),
  );
  await applyFilters(operation, instance, record.vifs);
  if (powerOn) await bootGuest(operation, guest);
}
