/** The state that a caller last asked for, which a boot of the host brings back. */
import type { InstanceRecord } from "./instance-record.js";
import type { Operation } from "./operation.js";
import { writeRecord } from "./operation-steps.js";

export async function setDesiredState(
  operation: Operation,
  desiredState: InstanceRecord["desiredState"],
): Promise<void> {
  const record = operation.host.records.require(operation.instance.uuid);
  if (record.desiredState !== desiredState) await writeRecord(operation, { ...record, desiredState });
}
