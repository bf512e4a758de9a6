/** `listInterfaces`. */
import type { AttachedInterface } from "../facets/interfaces.js";
import { checkUuid } from "../operation-options.js";
import type { CommonOptions } from "../../core/index.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import type { PluggedVif } from "../instance-record.js";
import { runQuery } from "../run-operation.js";

export function listInterfaces(
  host: HostContext,
  instance: Pick<InstanceRef, "uuid">,
  options?: CommonOptions,
): Promise<readonly AttachedInterface[]> {
  return runQuery(host, "listInterfaces", options, async () =>
    host.records.require(checkUuid(instance)).vifs.map(attachedInterfaceOf),
  );
}

/** A port as a caller sees it. Pure. */
export function attachedInterfaceOf({ vif, backend }: PluggedVif): AttachedInterface {
  const end = backend.type === "tap" || backend.type === "macvtap" ? { deviceName: backend.deviceName } : {};
  return { id: vif.id, macAddress: vif.macAddress, ...end };
}
