/** `listCheckpoints` and `deleteCheckpoint`. */
import { NotSupportedError } from "../../core/index.js";
import type { CommonOptions, OperationOptions } from "../../core/index.js";
import { admit } from "../admission.js";
import { checkpointName } from "./backup.js";
import { checkUuid } from "../operation-options.js";
import type { GuestCheckpoint } from "../guest-backup.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { limited, requireGuest } from "../guest-actions.js";
import { runOperation, runQuery } from "../run-operation.js";

export function listCheckpoints(
  host: HostContext,
  instance: Pick<InstanceRef, "uuid">,
  options?: CommonOptions,
): Promise<readonly GuestCheckpoint[]> {
  return runQuery(host, "listCheckpoints", options, async (signal) => {
    const guest = await requireGuest(host, checkUuid(instance), signal);
    if (guest.checkpoints === undefined) throw new NotSupportedError({ capability: "backups" });
    const checkpoints = await guest.checkpoints({ signal });
    return [...checkpoints].sort((a, b) => a.createdAt - b.createdAt);
  });
}

export async function deleteCheckpoint(
  host: HostContext,
  given: InstanceRef,
  name: string,
  options?: OperationOptions,
): Promise<void> {
  const instance = admit(host, given);
  checkpointName(name, "name");
  const { attachMs } = host.timeouts;
  return runOperation(
    host,
    { kind: "deleteCheckpoint", instance, options, timeoutMs: attachMs },
    async ({ signal }) => {
      const guest = await host.hypervisor.find(instance.uuid, { signal });
      if (guest === undefined) return;
      await limited(host, attachMs, "deleting the checkpoint", signal, async (limit) =>
        guest.deleteCheckpoint?.(name, { signal: limit }),
      );
    },
  );
}
