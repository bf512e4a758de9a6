/** Removing all of an instance: forward only, each part by itself, so that one that fails does not keep the others. */
import { asError, HyperviseError, isHyperviseError } from "../core/index.js";
import { disconnectVolume } from "./effects.js";
import { dropReference } from "./template-directory.js";
import type { HostContext } from "./host-context.js";
import { GuestStuckError, IncompleteCleanupError } from "./errors.js";
import type { InstanceRecord } from "./instance-record.js";
import type { InstanceRef } from "./instance-spec.js";
import { isInMemory, killGuest, powerStateOf } from "./guest-actions.js";
import type { VolumeConnection } from "../storage/index.js";
import type { Vif } from "../network/index.js";
import { RESCUE_CONFIG_DISK } from "./plan-config-drive.js";
import { RESCUE_DISK } from "./guest-definition-of.js";

export interface TearDownRequest {
  readonly instance: InstanceRef;
  readonly destroyDisks: boolean;
  /** What already stands against a clean end. */
  readonly errors?: readonly Error[];
  readonly signal?: AbortSignal;
  /** What the event says of it. Default `destroyed`. */
  readonly change?: "destroyed" | "migratedOut" | "none";
}

/** How often a guest is ended that others start again. */
const REMOVAL_ATTEMPTS = 5;

/**
 * Takes the guest out of memory, then removes definition, ports, filters, volumes' connections, disks, and last the record, without which a repeated call would
 * not know what to go on with. @throws GuestStuckError when the guest does not end, with the rest untouched; IncompleteCleanupError with what failed as its undo errors.
 */
export async function tearDown(
  host: HostContext,
  { instance, destroyDisks, errors = [], signal, change = "destroyed" }: TearDownRequest,
): Promise<void> {
  const { uuid, name } = instance;
  const { firewall, vifs } = host.collaborators;
  const record = host.records.get(uuid);
  const guest = await host.hypervisor.find(uuid);
  const forgotten = await removeGuest(host, uuid, signal);

  const failures = [...errors];
  const attempt = async (part: () => Promise<unknown>): Promise<void> => {
    try {
      await part();
    } catch (error) {
      failures.push(asError(error));
    }
  };
  if (forgotten !== undefined) failures.push(forgotten);
  for (const vif of vifsOf(record)) await attempt(() => vifs.unplug(vif, uuid));
  await attempt(() => firewall.unfilterInstance({ uuid, name }));
  for (const connection of volumesOf(record)) await attempt(() => disconnectVolume(host, connection, uuid));
  await attempt(() => (destroyDisks ? removeDisks(host, uuid) : keepDisks(host, uuid)));
  const template = destroyDisks ? record?.template : undefined;
  if (template !== undefined) await attempt(() => dropReference(host, template.directory, uuid));
  if (failures.length === 0) await attempt(() => host.records.delete(uuid));
  if (failures.length > 0) throw incomplete(instance, failures);
  if (change !== "none" && (record !== undefined || guest !== undefined))
    host.events.emit({ type: "instance", instance, change });
}

/**
 * Takes the guest out of memory and forgets it: again, when somebody else on the host has started it in between.
 * @returns why it could not be forgotten, though it is not in memory
 * @throws GuestStuckError
 */
async function removeGuest(host: HostContext, uuid: string, signal?: AbortSignal): Promise<Error | undefined> {
  for (let attempt = 1; ; attempt++) {
    const guest = await host.hypervisor.find(uuid);
    if (guest !== undefined && isInMemory(await powerStateOf(guest))) await killGuest(host, guest, signal);
    try {
      await host.hypervisor.undefine(uuid);
      return undefined;
    } catch (error) {
      if (!isHyperviseError(error, "INVALID_STATE")) return asError(error);
      if (attempt === REMOVAL_ATTEMPTS)
        throw new GuestStuckError("the guest is started again as often as it is ended", { cause: error });
    }
  }
}

async function removeDisks(host: HostContext, uuid: string): Promise<void> {
  if (await host.collaborators.disks.removeAll(uuid)) return;
  throw new HyperviseError("something of the instance's disks is left", {
    code: "DISKS_LEFT",
    retryable: true,
    instance: { uuid },
  });
}

/** What is kept is what the instance would start from again. */
async function keepDisks(host: HostContext, uuid: string): Promise<void> {
  for (const name of [RESCUE_DISK, RESCUE_CONFIG_DISK]) await host.collaborators.disks.remove(uuid, name);
}

/** What is there and what was about to be. */
function vifsOf(record: InstanceRecord | undefined): readonly Vif[] {
  const all = [...(record?.vifs ?? []).map(({ vif }) => vif), ...(record?.spec.vifs ?? [])];
  return [...new Map(all.map((vif) => [vif.id, vif])).values()];
}

function volumesOf(record: InstanceRecord | undefined): readonly VolumeConnection[] {
  const all = [...(record?.volumes ?? []), ...(record?.spec.blockDevices ?? [])];
  const connections = all.flatMap(({ connection }) => connection ?? []);
  return [...new Map(connections.map((connection) => [connection.volumeId, connection])).values()];
}

function incomplete(instance: InstanceRef, failures: readonly Error[]): IncompleteCleanupError {
  const error = new IncompleteCleanupError(
    `${failures.length} of the instance's parts could not be removed; the rest is gone`,
    {
      instance,
      cause: failures[0],
      remedy: "Mend what the causes name and call destroy again.",
    },
  );
  error.attachUndoErrors(failures);
  return error;
}
