/** Where a config drive would be. */
import type { InstanceSpec } from "../../../../src/driver/index.js";
import { planSpawn } from "../../../../src/driver/plan-spawn.js";
import { storedSpec, validateInstanceSpec } from "../../../../src/driver/validate-instance-spec.js";

/** Kind, bus and name of the config drive that the spec gives. */
export function planConfigDriveFor(spec: InstanceSpec): string {
  const { configDrive } = planSpawn(storedSpec(validateInstanceSpec(spec)));
  return `${configDrive?.deviceType} ${configDrive?.bus} ${configDrive?.deviceName}`;
}
