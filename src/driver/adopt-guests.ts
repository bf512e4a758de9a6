/** Compares what the records say should be there with what the hypervisor has. */
import { asError } from "../core/index.js";
import { filteredInstance } from "./filtered-instance.js";
import type { Guest } from "./guest.js";
import type { HostContext } from "./host-context.js";
import type { InstanceRecord } from "./instance-record.js";
import type { InstanceRef } from "./instance-spec.js";
import { isInMemory, powerStateOf } from "./guest-actions.js";
import type { PowerState } from "./power-state.js";
import type { RecoveryReport } from "./recovery-report.js";

type Adoption = Omit<RecoveryReport, "operations">;

/** Finds guests in memory again, puts up their ports and filters, and tells of those that should run and don't. Instances that an operation works on are left out. */
export async function adoptGuests(host: HostContext): Promise<Adoption> {
  const guests = new Map((await host.hypervisor.list()).map((guest) => [guest.uuid, guest]));
  const known = host.records.list().filter(({ uuid }) => !host.locks.isLocked(uuid));
  const found = await Promise.all(known.map((record) => adopt(host, record, guests.get(record.uuid))));
  const orphans = [...guests.values()].filter(
    ({ uuid }) => host.records.get(uuid) === undefined && !host.locks.isLocked(uuid),
  );
  return {
    adopted: found.flatMap(({ adopted, instance }) => (adopted ? [instance] : [])),
    lost: found.flatMap(({ lost, instance }) => (lost ? [instance] : [])),
    orphans: orphans.map(({ uuid, name }) => ({ uuid, name })),
    degraded: found.flatMap(({ instance, errors }) => (errors.length > 0 ? [{ instance, errors }] : [])),
  };
}

interface Found {
  readonly instance: InstanceRef;
  readonly adopted: boolean;
  readonly lost: boolean;
  readonly errors: readonly Error[];
}

async function adopt(host: HostContext, record: InstanceRecord, guest: Guest | undefined): Promise<Found> {
  const instance = { uuid: record.uuid, name: record.name };
  const state = guest === undefined ? "shutdown" : await powerStateOf(guest).catch((): PowerState => "nostate");
  if (guest !== undefined && isInMemory(state)) {
    host.events.emit({ type: "instance", instance, change: "adopted" });
    return { instance, adopted: true, lost: false, errors: await restoreNetwork(host, record) };
  }
  // One that was handed over to another host is not here, and is not lost.
  const leaving = record.migration?.role === "source";
  const lost = !leaving && (record.desiredState === "running" || record.desiredState === "paused");
  if (lost) {
    const [transition, cause] =
      state === "crashed" ? (["crashed", "crash"] as const) : (["stopped", "external"] as const);
    host.events.emit({ type: "lifecycle", instance, transition, cause });
  }
  return { instance, adopted: false, lost, errors: [] };
}

/** Ports and filters of a running guest may have gone with a reboot of the network's services; what stands is left as it is. */
async function restoreNetwork(host: HostContext, record: InstanceRecord): Promise<readonly Error[]> {
  const { firewall, vifs } = host.collaborators;
  const errors: Error[] = [];
  for (const { vif } of record.vifs)
    await vifs.plug(vif, record.uuid).catch((error: unknown) => errors.push(asError(error)));
  try {
    if (await firewall.instanceFilterExists(record)) return errors;
    const filtered = filteredInstance(record, record.vifs);
    await firewall.setupBasicFiltering(filtered);
    await firewall.prepareInstanceFilter(filtered);
    await firewall.applyInstanceFilter(filtered);
  } catch (error) {
    errors.push(asError(error));
  }
  return errors;
}
