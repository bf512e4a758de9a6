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
export function adoptGuests(host: HostContext): Promise<Adoption> {
  return goThrough(host, (found) => adopt(host, found));
}

/** The same for a driver that only looks: nothing is put up, and nothing told. */
export function lookAtGuests(host: HostContext): Promise<Adoption> {
  return goThrough(host, async () => []);
}

/** A record, and what became of its guest. */
interface Found {
  readonly record: InstanceRecord;
  readonly instance: InstanceRef;
  readonly state: PowerState;
  readonly adopted: boolean;
  readonly lost: boolean;
}

/** @param act what is done about each; resolves to what failed of it */
async function goThrough(host: HostContext, act: (found: Found) => Promise<readonly Error[]>): Promise<Adoption> {
  const guests = new Map((await host.hypervisor.list()).map((guest) => [guest.uuid, guest]));
  const known = host.records.list().filter(({ uuid }) => !host.locks.isLocked(uuid));
  const all = await Promise.all(
    known.map(async (record) => {
      const found = await find(record, guests.get(record.uuid));
      return { ...found, errors: await act(found) };
    }),
  );
  const orphans = [...guests.values()].filter(
    ({ uuid }) => host.records.get(uuid) === undefined && !host.locks.isLocked(uuid),
  );
  return {
    adopted: all.flatMap(({ adopted, instance }) => (adopted ? [instance] : [])),
    lost: all.flatMap(({ lost, instance }) => (lost ? [instance] : [])),
    orphans: orphans.map(({ uuid, name }) => ({ uuid, name })),
    degraded: all.flatMap(({ instance, errors }) => (errors.length > 0 ? [{ instance, errors }] : [])),
  };
}

async function find(record: InstanceRecord, guest: Guest | undefined): Promise<Found> {
  const instance = { uuid: record.uuid, name: record.name };
  const state = guest === undefined ? "shutdown" : await powerStateOf(guest).catch((): PowerState => "nostate");
  const adopted = guest !== undefined && isInMemory(state);
  // One that was handed over to another host is not here, and is not lost.
  const leaving = record.migration?.role === "source";
  const wanted = record.desiredState === "running" || record.desiredState === "paused";
  return { record, instance, state, adopted, lost: !adopted && !leaving && wanted };
}

async function adopt(host: HostContext, { record, instance, state, adopted, lost }: Found): Promise<readonly Error[]> {
  if (adopted) {
    host.events.emit({ type: "instance", instance, change: "adopted" });
    return restoreNetwork(host, record);
  }
  if (lost) {
    const [transition, cause] =
      state === "crashed" ? (["crashed", "crash"] as const) : (["stopped", "external"] as const);
    host.events.emit({ type: "lifecycle", instance, transition, cause });
  }
  return [];
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
