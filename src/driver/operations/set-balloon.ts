/** `setBalloon`: a guest in memory is asked to do with less of what it has. */
import { InvalidArgumentError, NotSupportedError } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import { admit } from "../admission.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { limited, requireInMemory } from "../guest-actions.js";
import { memoryCheck } from "./set-vcpus.js";
import { requireNotMigrating } from "../task-state.js";
import { runOperation } from "../run-operation.js";

export async function setBalloon(
  host: HostContext,
  given: InstanceRef,
  memoryMiB: number,
  options?: OperationOptions,
): Promise<void> {
  const instance = admit(host, given);
  memoryCheck(memoryMiB, "memoryMiB");
  const { attachMs } = host.timeouts;
  return runOperation(host, { kind: "setBalloon", instance, options, timeoutMs: attachMs }, async ({ signal }) => {
    const record = host.records.require(instance.uuid);
    requireNotMigrating(record, "setBalloon");
    const most = record.spec.flavor.memoryMiB;
    if (memoryMiB > most)
      throw new InvalidArgumentError({ field: "memoryMiB", value: memoryMiB, expected: `1 to ${most}, the flavor's` });
    const guest = await requireInMemory(host, instance.uuid, "setBalloon", signal);
    if (guest.setBalloon === undefined) throw new NotSupportedError({ capability: "balloon" });
    await limited(host, attachMs, "asking the balloon", signal, async (limit) =>
      guest.setBalloon?.(memoryMiB, { signal: limit }),
    );
  });
}
