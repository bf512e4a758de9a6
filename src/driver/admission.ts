/** The door of every operation on an instance. */
import { checkInstance } from "./operation-options.js";
import type { HostContext } from "./host-context.js";
import type { InstanceRef } from "./instance-spec.js";

/** The instance that a call names, checked. @throws NotInitializedError, ClosedError, InvalidArgumentError */
export function admit(host: HostContext, instance: unknown): InstanceRef {
  host.lifecycle.assertReady();
  return checkInstance(instance);
}
