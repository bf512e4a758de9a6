/** The door of every operation on an instance. */
import { checkInstance } from "./operation-options.js";
import type { HostContext } from "./host-context.js";
import type { InstanceRef } from "./instance-spec.js";

/** The instance that a call names, checked. @throws NotInitializedError, ClosedError, InvalidArgumentError */
export function admit(host: HostContext, given: unknown): InstanceRef {
  host.lifecycle.assertReady();
  const instance = checkInstance(given);
  const { uuid } = instance;
  // Filters and events go by the name that the instance was spawned with, whatever the caller calls it now.
  return { uuid, name: host.records.get(uuid)?.name ?? instance.name };
}
