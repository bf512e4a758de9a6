/** `plan`: what `spawn` would do. */
import { checkPlan } from "../check-plan.js";
import type { HostContext } from "../host-context.js";
import type { InstanceSpec } from "../instance-spec.js";
import { plannedDefinition, planSpawn, spawnSteps } from "../plan-spawn.js";
import { runQuery } from "../run-operation.js";
import type { SpawnPlan } from "../compute-driver.js";
import { storedSpec, validateInstanceSpec } from "../validate-instance-spec.js";

export function plan(host: HostContext, given: InstanceSpec): Promise<SpawnPlan> {
  return runQuery(host, "plan", undefined, async () => {
    const planned = planSpawn(storedSpec(validateInstanceSpec(given)));
    checkPlan(host, planned);
    return { steps: spawnSteps(planned, true), hypervisor: host.hypervisor.plan(plannedDefinition(planned)) };
  });
}
