/** Starting an instance from its record: everything on the host that its guest needs is put there again first. */
import { connectorOf } from "./volume-connectors.js";
import { filteredInstance } from "./filtered-instance.js";
import type { Guest } from "./guest.js";
import { guestDefinitionOf } from "./guest-definition-of.js";
import type { HostContext } from "./host-context.js";
import { inVolumeTurn } from "./operation-steps.js";
import type { AttachedVolume, InstanceRecord, PluggedVif } from "./instance-record.js";
import { sameJson } from "./same-json.js";
import { signalOption, startGuest } from "./guest-actions.js";

/**
 * Connects the volumes, plugs the ports and filters them; all of it is left alone where it stands. It belongs to the instance whatever becomes of the operation,
 * so nothing of it is undone. Returns the record with what may have changed: paths, interfaces.
 */
export async function restoreResources(
  host: HostContext,
  record: InstanceRecord,
  signal?: AbortSignal,
): Promise<InstanceRecord> {
  const { uuid } = record;
  const { firewall, vifs } = host.collaborators;
  const volumes: AttachedVolume[] = [];
  for (const volume of record.volumes) {
    const { connection } = volume;
    const source = await inVolumeTurn(host, connection, signal, () =>
      connectorOf(host, connection).connect(connection, uuid, signalOption(signal)),
    );
    volumes.push({ ...volume, source });
  }
  const plugged: PluggedVif[] = [];
  for (const { vif } of record.vifs) plugged.push({ vif, backend: await vifs.plug(vif, uuid, signalOption(signal)) });
  const filtered = filteredInstance(record, plugged);
  await firewall.setupBasicFiltering(filtered);
  await firewall.prepareInstanceFilter(filtered);
  await firewall.applyInstanceFilter(filtered);
  return { ...record, volumes, vifs: plugged };
}

/**
 * Starts a guest that is not in memory, with a definition made anew from the record. On failure the guest is not in memory.
 * @param options.repair defines it even where it is known to be so: somebody else may have changed what the hypervisor has
 */
export async function bringUp(
  host: HostContext,
  uuid: string,
  signal?: AbortSignal,
  { repair = false }: { readonly repair?: boolean } = {},
): Promise<Guest> {
  const record = await restoreResources(host, host.records.require(uuid), signal);
  const guest = await redefine(host, record, repair, signal);
  await host.records.put({ ...record, desiredState: "running" });
  await startGuest(host, guest, signal);
  return guest;
}

async function redefine(
  host: HostContext,
  record: InstanceRecord,
  repair: boolean,
  signal?: AbortSignal,
): Promise<Guest> {
  const definition = guestDefinitionOf(record);
  const known = await host.hypervisor.find(record.uuid, signalOption(signal));
  if (known === undefined) return host.hypervisor.define(definition, signalOption(signal));
  if (!host.lifecycle.capabilities.features.has("redefine")) return known;
  if (!repair && sameJson(await known.definition(), definition)) return known;
  return host.hypervisor.redefine(definition, signalOption(signal));
}
