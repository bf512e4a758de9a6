/** Settles the operations of a former process. */
import type { HostContext } from "./host-context.js";
import type { InstanceRef } from "./instance-spec.js";
import type { OperationRecord } from "../core/index.js";
import type { RecoveredOperation } from "./recovery-report.js";

/** Undoes or finishes each operation of the journal that this process does not work on, newest first. */
export async function recoverOperations(host: HostContext): Promise<readonly RecoveredOperation[]> {
  const instances = new Map<string, InstanceRef>();
  const note = (operation: OperationRecord): boolean => {
    const instance = instanceOf(operation);
    if (instance !== undefined) instances.set(operation.id, instance);
    return false;
  };
  await host.journal.recover({}, note);
  const { operations } = await host.journal.recover(host.completions);
  return operations.map(({ id, kind = "unknown", instanceUuid, outcome, errors }) => {
    if (outcome === "failed" && instanceUuid !== undefined) host.unsettled.add(instanceUuid);
    if (outcome !== "failed" && instanceUuid !== undefined) host.unsettled.delete(instanceUuid);
    const instance = instances.get(id);
    return { id, kind, outcome, errors, ...(instance === undefined ? {} : { instance }) };
  });
}

/** The instance that an operation is about, as it wrote it down. */
export function instanceOf({ params, instanceUuid }: OperationRecord): InstanceRef | undefined {
  const { instance } = params;
  const name = typeof instance === "object" && instance !== null && "name" in instance ? instance.name : undefined;
  return instanceUuid === undefined || typeof name !== "string" ? undefined : { uuid: instanceUuid, name };
}
