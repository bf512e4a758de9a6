/** `listTaggedDevices`. */
import type { CommonOptions } from "../../core/index.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { checkUuid } from "../operation-options.js";
import { runQuery } from "../run-operation.js";
import { taggedDevicesOf } from "../tagged-devices.js";
import type { TaggedInstanceDevice } from "../tagged-devices.js";

export function listTaggedDevices(
  host: HostContext,
  instance: Pick<InstanceRef, "uuid">,
  options?: CommonOptions,
): Promise<readonly TaggedInstanceDevice[]> {
  return runQuery(host, "listTaggedDevices", options, async (signal) => {
    const record = host.records.require(checkUuid(instance));
    if (taggedDevicesOf(record, []).length === 0) return [];
    const guest = await host.hypervisor.find(record.uuid, { signal });
    // Tags are the record's; where their devices are can be unknown for a while.
    const addresses = await guest?.deviceAddresses?.({ signal }).catch(() => undefined);
    return taggedDevicesOf(record, addresses ?? []);
  });
}
