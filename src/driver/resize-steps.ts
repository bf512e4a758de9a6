/** The steps of a resize, each undone when the operation that it is part of fails. */
import { bootGuest, createDisk, writeRecord } from "./operation-steps.js";
import type { Flavor } from "./instance-spec.js";
import type { Guest } from "./guest.js";
import { guestDefinitionOf } from "./guest-definition-of.js";
import type { InstanceDisk, InstanceRecord } from "./instance-record.js";
import { InvalidStateError, ResizeError } from "./errors.js";
import { checkHardwareFits } from "./hardware-fit.js";
import { isInMemory, requireGuest, requireState } from "./guest-actions.js";
import type { JsonObject } from "../core/index.js";
import { guestFormatOf, SWAP_DISK } from "./plan-spawn.js";
import type { Operation } from "./operation.js";
import { disconnectVolume } from "./effects.js";
import { redefineGuest } from "./redefine-guest.js";
import { requireNoTask } from "./task-state.js";
import { resizedDisks } from "./resize-ticket.js";
import type { ResizeTicket } from "./facets/redefinition.js";
import { stopGuest } from "./stop-guest.js";

/** Under this label the disks are parked until the resize is confirmed or reverted. */
export const RESIZE_LABEL = "resize";

export interface Departure {
  readonly flavor: Flavor;
  readonly graceMs: number;
  /** The guest will run on this host again. */
  readonly sameHost: boolean;
}

/** Stops the guest and keeps a way back. */
export async function depart(operation: Operation, { flavor, graceMs, sameHost }: Departure): Promise<ResizeTicket> {
  const { host, instance, signal } = operation;
  const { uuid } = instance;
  const record = host.records.require(uuid);
  requireNoTask(record, operation.kind);
  refuseSame(record.spec.flavor, flavor);
  resizedDisks(record, flavor);
  checkHardwareFits(record.spec.hardware, { ...flavor, firmware: record.spec.firmware }, [], "spec.hardware");
  const guest = await requireGuest(host, uuid, signal);
  const state = await requireState(guest, operation.kind, ["running", "paused", "shutdown", "crashed"], signal);
  const ticket: ResizeTicket = {
    version: 1,
    id: globalThis.crypto.randomUUID(),
    spec: record.spec as unknown as JsonObject,
    oldFlavor: record.spec.flavor,
    newFlavor: flavor,
    wasRunning: isInMemory(state),
    sameHost,
    disks: record.disks.map(({ name, sizeBytes }) => ({ name, virtualSizeBytes: sizeBytes })),
  };
  await stopGuest(operation, guest, graceMs);
  if (!sameHost) {
    for (const { connection } of record.volumes) {
      await operation.effect("volumeDisconnected", { uuid, connection }, () =>
        disconnectVolume(host, connection, uuid),
      );
    }
  }
  await operation.effect("parkedDisks", { uuid, label: RESIZE_LABEL }, () =>
    host.collaborators.disks.park(uuid, RESIZE_LABEL),
  );
  await writeRecord(operation, {
    ...record,
    resize: { ticket, role: "source", previous: { spec: record.spec, disks: record.disks } },
  });
  return ticket;
}

/** Gives the departed guest its new flavor on this host, and starts it if wanted. */
export async function settleHere(operation: Operation, ticket: ResizeTicket, powerOn: boolean): Promise<void> {
  const { host, instance, signal } = operation;
  const record = host.records.require(instance.uuid);
  if (record.resize === undefined || record.resize.ticket.id !== ticket.id) {
    throw new InvalidStateError({
      operation: operation.kind,
      state: "not being resized by this ticket",
      expected: ["resized"],
      instance,
    });
  }
  const guest = await requireGuest(host, instance.uuid, signal);
  await requireState(guest, operation.kind, ["shutdown", "crashed"], signal);
  const disks = await growDisks(operation, record, ticket.newFlavor);
  const resized = { ...record, spec: { ...record.spec, flavor: ticket.newFlavor }, disks };
  const redefined = await redefineGuest(operation, guest, resized);
  await writeRecord(operation, { ...resized, desiredState: powerOn ? "running" : "shutdown" });
  if (powerOn) await bootGuest(operation, redefined);
}

/** Grows, makes and drops disks; undoing puts them back as they were parked. */
async function growDisks(
  operation: Operation,
  record: InstanceRecord,
  flavor: Flavor,
): Promise<readonly InstanceDisk[]> {
  const { host, signal } = operation;
  const { uuid } = record;
  const backEnd = host.collaborators.disks;
  const wanted = resizedDisks(record, flavor);
  const made: InstanceDisk[] = [];
  operation.progress("disks");
  return operation.effect("parkedDisksChanged", { uuid, label: RESIZE_LABEL }, async () => {
    const before = new Map(record.disks.map((disk) => [disk.name, disk]));
    for (const { name } of record.disks)
      if (!wanted.some((disk) => disk.name === name)) await backEnd.remove(uuid, name);
    for (const disk of wanted) {
      operation.throwIfAborted();
      const present = before.get(disk.name);
      if (present !== undefined && "source" in disk) {
        // What a swap area's header says is its size: another size is another area.
        if (disk.name === SWAP_DISK ? disk.sizeBytes === present.sizeBytes : disk.sizeBytes >= present.sizeBytes) {
          if (disk.sizeBytes > present.sizeBytes) await backEnd.resize(uuid, disk.name, disk.sizeBytes, { signal });
          made.push(disk);
          continue;
        }
        await backEnd.remove(uuid, disk.name);
      }
      made.push(await createDisk(operation, { ...disk, ...guestFormatOf(disk.name, record.spec) }, undefined));
    }
    return made;
  });
}

/** The guest as it was, on this host again: definition, disks, and the record. Goes forward only, and may be repeated. */
export async function revertHere(operation: Pick<Operation, "host" | "instance">): Promise<Guest> {
  const { host, instance } = operation;
  const record = host.records.require(instance.uuid);
  const { resize, ...rest } = record;
  if (resize === undefined) return requireGuest(host, instance.uuid);
  await host.collaborators.disks.restore(instance.uuid, RESIZE_LABEL);
  const reverted: InstanceRecord = { ...rest, ...resize.previous };
  const guest = await host.hypervisor.redefine(guestDefinitionOf(reverted));
  await host.records.put(reverted);
  return guest;
}

function refuseSame(old: Flavor, wanted: Flavor): void {
  const keys = ["vcpus", "memoryMiB", "rootGiB", "ephemeralGiB", "swapMiB"] as const;
  const topology = (flavor: Flavor): string => JSON.stringify(flavor.cpuTopology ?? null);
  if (keys.some((key) => (old[key] ?? 0) !== (wanted[key] ?? 0)) || topology(old) !== topology(wanted)) return;
  throw new ResizeError("the instance has this flavor already");
}
