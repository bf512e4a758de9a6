/** `extendVolume`: host and guest learn that a volume has grown. Every step may be repeated, so nothing is undone. */
import { check } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import { connectionCheck } from "../validate-volume.js";
import { connectorOf } from "../volume-connectors.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { inVolumeTurn } from "../operation-steps.js";
import { isInMemory, powerStateOf, requireGuest } from "../guest-actions.js";
import { requireNotMigrating } from "../task-state.js";
import { requireVolume } from "../attached-volume.js";
import { runOperation } from "../run-operation.js";
import type { VolumeConnection } from "../../storage/index.js";

const sizeCheck = check.integer({ min: 512, max: Number.MAX_SAFE_INTEGER });

export async function extendVolume(
  host: HostContext,
  instance: InstanceRef,
  given: VolumeConnection,
  sizeBytes: number,
  options?: OperationOptions,
): Promise<void> {
  host.lifecycle.assertReady();
  const { volumeId } = connectionCheck(given, "connection");
  sizeCheck(sizeBytes, "sizeBytes");
  return runOperation(
    host,
    { kind: "extendVolume", instance, options, timeoutMs: host.timeouts.attachMs },
    async ({ signal }) => {
      const record = host.records.require(instance.uuid);
      requireNotMigrating(record, "extendVolume");
      const { connection, diskId } = requireVolume(record, volumeId);
      const size = await inVolumeTurn(host, connection, signal, () =>
        connectorOf(host, connection).extend(connection, instance.uuid, sizeBytes, { signal }),
      );
      const guest = await requireGuest(host, instance.uuid, signal);
      if (isInMemory(await powerStateOf(guest, signal))) await guest.resizeDisk?.(diskId, size, { signal });
    },
  );
}
