/** `plugVifs` and `unplugVifs`: the host's side of all ports of an instance. */
import { admit } from "../admission.js";
import type { CommonOptions } from "../../core/index.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { InvalidStateError } from "../errors.js";
import { isInMemory, powerStateOf } from "../guest-actions.js";
import type { PluggedVif } from "../instance-record.js";
import { runOperation } from "../run-operation.js";

export async function plugVifs(host: HostContext, given: InstanceRef, options?: CommonOptions): Promise<void> {
  const instance = admit(host, given);
  return runOperation(
    host,
    { kind: "plugVifs", instance, options, timeoutMs: host.timeouts.attachMs },
    async ({ signal }) => {
      const record = host.records.require(instance.uuid);
      const vifs: PluggedVif[] = [];
      for (const { vif } of record.vifs)
        vifs.push({ vif, backend: await host.collaborators.vifs.plug(vif, instance.uuid, { signal }) });
      await host.records.put({ ...record, vifs });
    },
  );
}

export async function unplugVifs(host: HostContext, given: InstanceRef): Promise<void> {
  const instance = admit(host, given);
  return runOperation(
    host,
    { kind: "unplugVifs", instance, options: undefined, timeoutMs: host.timeouts.attachMs },
    async ({ signal }) => {
      const guest = await host.hypervisor.find(instance.uuid, { signal });
      const state = guest === undefined ? "shutdown" : await powerStateOf(guest, signal);
      if (isInMemory(state))
        throw new InvalidStateError({ operation: "unplugVifs", state, expected: ["shutdown"], instance });
      for (const { vif } of host.records.get(instance.uuid)?.vifs ?? [])
        await host.collaborators.vifs.unplug(vif, instance.uuid);
    },
  );
}
