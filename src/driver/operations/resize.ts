/** The resize family: a guest stops, takes another flavor on this or another host, and its way back is kept until it is confirmed or reverted. */
import { check } from "../../core/index.js";
import type { OperationHandle, OperationOptions, OperationRecord } from "../../core/index.js";
import { admit } from "../admission.js";
import { arrive } from "../resize-arrival.js";
import { checkInstance } from "../operation-options.js";
import { depart, RESIZE_LABEL, revertHere, settleHere } from "../resize-steps.js";
import { disconnectVolume } from "../effects.js";
import { flavorCheck } from "../validate-instance-spec.js";
import type { Flavor, InstanceRef } from "../instance-spec.js";
import type { HostContext } from "../host-context.js";
import { instanceOf } from "../recover-operations.js";
import { InvalidStateError } from "../errors.js";
import { killGuest, powerStateOf, requireGuest, startGuest } from "../guest-actions.js";
import type { ResizeFacet, ResizeTicket } from "../facets/redefinition.js";
import { restoreResources } from "../bring-up.js";
import { runOperation } from "../run-operation.js";
import { startOperation } from "../operation-handle.js";
import { stopGuest } from "../stop-guest.js";
import { ticketCheck } from "../resize-ticket.js";

type DepartureOptions = Parameters<ResizeFacet["migrateDiskAndPowerOff"]>[2];
const grace = check.integer({ min: 0, max: 86_400_000 });
const destination = check.oneOf(["same-host", "shared-storage"]);

export async function migrateDiskAndPowerOff(
  host: HostContext,
  given: InstanceRef,
  givenFlavor: Flavor,
  options: DepartureOptions = {},
): Promise<ResizeTicket> {
  const instance = admit(host, given);
  const flavor = flavorCheck(givenFlavor, "flavor");
  const graceMs = grace(options.graceMs ?? host.timeouts.shutdownGraceMs, "options.graceMs");
  const sameHost = destination(options.destination ?? "same-host", "options.destination") === "same-host";
  const { diskCopyMs } = host.timeouts;
  const request = { kind: "migrateDiskAndPowerOff", instance, options, timeoutMs: graceMs + diskCopyMs };
  return runOperation(host, request, (operation) => depart(operation, { flavor, graceMs, sameHost }));
}

export async function finishMigration(
  host: HostContext,
  given: InstanceRef,
  givenTicket: ResizeTicket,
  options: OperationOptions & { readonly powerOn?: boolean } = {},
): Promise<void> {
  const instance = admit(host, given);
  const ticket = ticketCheck(givenTicket, "ticket");
  const powerOn = options.powerOn ?? ticket.wasRunning;
  const request = { kind: "finishMigration", instance, options, timeoutMs: host.timeouts.spawnMs };
  return runOperation(host, request, (operation) =>
    ticket.sameHost ? settleHere(operation, ticket, powerOn) : arrive(operation, ticket, powerOn),
  );
}

export function resize(
  host: HostContext,
  given: InstanceRef,
  givenFlavor: Flavor,
  options?: OperationOptions,
): OperationHandle<void> {
  const instance = checkInstance(given);
  const flavor = flavorCheck(givenFlavor, "flavor");
  const { shutdownGraceMs, spawnMs, diskCopyMs } = host.timeouts;
  const request = { kind: "resize", instance, options, timeoutMs: shutdownGraceMs + diskCopyMs + spawnMs };
  return startOperation(host, `resize ${instance.uuid} ${JSON.stringify(flavor)}`, request, async (operation) => {
    const ticket = await depart(operation, { flavor, graceMs: shutdownGraceMs, sameHost: true });
    await settleHere(operation, ticket, ticket.wasRunning);
  });
}

export function confirmMigration(host: HostContext, instance: InstanceRef, options?: OperationOptions): Promise<void> {
  return runOperation(
    host,
    { kind: "confirmMigration", instance, options, timeoutMs: host.timeouts.attachMs },
    async (operation) => {
      if (host.records.get(instance.uuid)?.resize === undefined) return;
      await operation.passPointOfNoReturn({ instance: { ...operation.instance } });
      await finishConfirm(host, operation.instance);
    },
  );
}

/** Drops the way back; a source whose guest has gone to another host drops all that it keeps of it, but its disks. Repeatable. */
async function finishConfirm(host: HostContext, instance: InstanceRef): Promise<void> {
  const { uuid } = instance;
  const record = host.records.get(uuid);
  if (record?.resize === undefined) return;
  await host.collaborators.disks.discardParked(uuid, RESIZE_LABEL);
  const { resize: done, ...rest } = record;
  if (done.ticket.sameHost || done.role === "destination") return host.records.put(rest);
  await host.hypervisor.undefine(uuid);
  for (const { vif } of record.vifs) await host.collaborators.vifs.unplug(vif, uuid);
  await host.collaborators.firewall.unfilterInstance(instance);
  for (const { connection } of record.volumes) await disconnectVolume(host, connection, uuid);
  await host.records.delete(uuid);
  host.events.emit({ type: "instance", instance, change: "migratedOut" });
}

export function confirmMigrationAgain(host: HostContext, operation: OperationRecord): Promise<void> {
  const instance = instanceOf(operation);
  return instance === undefined ? Promise.resolve() : finishConfirm(host, instance);
}

export function finishRevertMigration(
  host: HostContext,
  instance: InstanceRef,
  options: OperationOptions & { readonly powerOn?: boolean } = {},
): Promise<void> {
  const { shutdownGraceMs, spawnMs } = host.timeouts;
  const request = { kind: "finishRevertMigration", instance, options, timeoutMs: shutdownGraceMs + spawnMs };
  return runOperation(host, request, async (operation) => {
    const record = host.records.require(instance.uuid);
    if (record.resize === undefined || record.resize.role === "destination") {
      throw new InvalidStateError({
        operation: "finishRevertMigration",
        state: "not resized from here",
        expected: ["resized"],
        instance: operation.instance,
      });
    }
    const powerOn = options.powerOn ?? record.resize.ticket.wasRunning;
    const guest = await requireGuest(host, instance.uuid, operation.signal);
    await stopGuest(operation, guest, shutdownGraceMs);
    await operation.passPointOfNoReturn({ instance: { ...operation.instance }, powerOn });
    await finishRevert(host, operation.instance, powerOn, operation.signal);
  });
}

async function finishRevert(
  host: HostContext,
  instance: InstanceRef,
  powerOn: boolean,
  signal?: AbortSignal,
): Promise<void> {
  const guest = await revertHere({ host, instance });
  const record = host.records.require(instance.uuid);
  const limit = signal ?? new AbortController().signal;
  await host.records.put({
    ...(await restoreResources(host, record, limit)),
    desiredState: powerOn ? "running" : "shutdown",
  });
  if (!powerOn || (await powerStateOf(guest)) === "running") return;
  await killGuest(host, guest, signal);
  await startGuest(host, guest, signal);
}

export function finishRevertMigrationAgain(host: HostContext, operation: OperationRecord): Promise<void> {
  const instance = instanceOf(operation);
  return instance === undefined
    ? Promise.resolve()
    : finishRevert(host, instance, operation.params["powerOn"] === true);
}
