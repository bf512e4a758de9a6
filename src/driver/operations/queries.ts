/** Reads: they take no lock, and never wait for an operation under way. */
import type { CommonOptions } from "../../core/index.js";
import { checkUuid } from "../operation-options.js";
import type { DiskInfo } from "../../storage/index.js";
import type { HostContext } from "../host-context.js";
import type { InstanceInfo } from "../results.js";
import { InstanceNotFoundError } from "../errors.js";
import type { InstanceRef, InstanceSpec } from "../instance-spec.js";
import { runQuery } from "../run-operation.js";
import { taskOf } from "../task-state.js";

type Named = Pick<InstanceRef, "uuid">;

export function getInfo(host: HostContext, instance: Named, options?: CommonOptions): Promise<InstanceInfo> {
  return runQuery(host, "getInfo", options, async (signal) => {
    const uuid = checkUuid(instance);
    const record = host.records.get(uuid);
    const guest = await host.hypervisor.find(uuid, { signal });
    if (guest === undefined || record === undefined) throw new InstanceNotFoundError(uuid);
    const info = await guest.info({ signal });
    return { ...info, instance: { uuid, name: record.name }, task: taskOf(record), busy: host.locks.isLocked(uuid) };
  });
}

export function getSpec(host: HostContext, instance: Named): Promise<InstanceSpec> {
  return runQuery(host, "getSpec", undefined, async () =>
    structuredClone(host.records.require(checkUuid(instance)).spec),
  );
}

export function listInstances(host: HostContext, options?: CommonOptions): Promise<readonly InstanceRef[]> {
  return runQuery(host, "listInstances", options, async () =>
    host.records.list().map(({ uuid, name }) => ({ uuid, name })),
  );
}

export function instanceExists(host: HostContext, instance: Named, options?: CommonOptions): Promise<boolean> {
  return runQuery(host, "instanceExists", options, async () => host.records.get(checkUuid(instance)) !== undefined);
}

export function getInstanceDiskInfo(host: HostContext, instance: Named): Promise<readonly DiskInfo[]> {
  return runQuery(host, "getInstanceDiskInfo", undefined, async () => {
    const { uuid } = host.records.require(checkUuid(instance));
    return host.collaborators.disks.list(uuid);
  });
}

export function instanceOnDisk(host: HostContext, instance: Named): Promise<boolean> {
  return runQuery(
    host,
    "instanceOnDisk",
    undefined,
    async () => (await host.collaborators.disks.list(checkUuid(instance))).length > 0,
  );
}
