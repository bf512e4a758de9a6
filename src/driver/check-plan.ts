/** What a plan asks of this host's parts, before anything is touched. */
import { connectorOf } from "./volume-connectors.js";
import type { HostContext } from "./host-context.js";
import type { InstancePlan } from "./plan-spawn.js";
import { plannedDefinition } from "./plan-spawn.js";

/** @throws InvalidArgumentError, NotSupportedError: whatever a connector, the plugger or the hypervisor refuses. Touches nothing. */
export function checkPlan(host: HostContext, plan: InstancePlan): void {
  (plan.spec.blockDevices ?? []).forEach(({ connection }, i) => {
    if (connection !== undefined)
      connectorOf(host, connection).validate(connection, `spec.blockDevices[${i}].connection`);
  });
  plan.vifs.forEach((vif, i) => host.collaborators.vifs.validate(vif, `spec.vifs[${i}]`));
  host.hypervisor.check(plannedDefinition(plan));
}
