/** Filters of instances: the instance's turn and its record are the driver's, the work is the `FirewallDriver`'s. */
import { check } from "../../core/index.js";
import type { OperationOptions } from "../../core/index.js";
import { filteredInstance } from "../filtered-instance.js";
import type { FilteredInstance } from "../../firewall/index.js";
import type { HostContext } from "../host-context.js";
import type { InstanceRef } from "../instance-spec.js";
import { InvalidStateError } from "../errors.js";
import { isInMemory, powerStateOf } from "../guest-actions.js";
import { runOperation, runQuery } from "../run-operation.js";

const groupId = check.string({
  min: 1,
  max: 255,
  pattern: /^[A-Za-z0-9._-]+$/,
  expected: "1 to 255 characters of A-Z a-z 0-9 . _ -",
});

export function ensureFilteringRulesForInstance(
  host: HostContext,
  instance: InstanceRef,
  options?: OperationOptions,
): Promise<void> {
  const request = { kind: "ensureFilteringRulesForInstance", instance, options, timeoutMs: host.timeouts.attachMs };
  return runOperation(host, request, async (operation) => {
    const filtered = filteredOf(host, instance.uuid);
    const { firewall } = host.collaborators;
    if (await firewall.instanceFilterExists(instance)) {
      await firewall.refreshInstanceSecurityRules(filtered);
      return;
    }
    await operation.effect("filter", { instance: operation.instance, previous: null }, async () => {
      await firewall.setupBasicFiltering(filtered);
      await firewall.prepareInstanceFilter(filtered);
      await firewall.applyInstanceFilter(filtered);
    });
  });
}

export function unfilterInstance(host: HostContext, instance: InstanceRef): Promise<void> {
  const request = { kind: "unfilterInstance", instance, options: undefined, timeoutMs: host.timeouts.attachMs };
  return runOperation(host, request, async ({ signal }) => {
    const guest = await host.hypervisor.find(instance.uuid, { signal });
    const state = guest === undefined ? "shutdown" : await powerStateOf(guest, signal);
    if (isInMemory(state))
      throw new InvalidStateError({ operation: "unfilterInstance", state, expected: ["shutdown"] });
    await host.collaborators.firewall.unfilterInstance(instance);
  });
}

export function refreshSecurityGroupRules(host: HostContext, securityGroupId: string): Promise<void> {
  return refresh(host, "refreshSecurityGroupRules", () =>
    host.collaborators.firewall.refreshSecurityGroupRules(groupId(securityGroupId, "securityGroupId")),
  );
}

export function refreshSecurityGroupMembers(host: HostContext, securityGroupId: string): Promise<void> {
  return refresh(host, "refreshSecurityGroupMembers", () =>
    host.collaborators.firewall.refreshSecurityGroupMembers(groupId(securityGroupId, "securityGroupId")),
  );
}

export function refreshInstanceSecurityRules(host: HostContext, instance: InstanceRef): Promise<void> {
  const request = {
    kind: "refreshInstanceSecurityRules",
    instance,
    options: undefined,
    timeoutMs: host.timeouts.attachMs,
  };
  return runOperation(host, request, () =>
    host.collaborators.firewall.refreshInstanceSecurityRules(filteredOf(host, instance.uuid)),
  );
}

export function refreshProviderFirewallRules(host: HostContext): Promise<void> {
  return refresh(host, "refreshProviderFirewallRules", () =>
    host.collaborators.firewall.refreshProviderFirewallRules(),
  );
}

export function filterDeferApplyOn(host: HostContext): void {
  host.lifecycle.assertReady();
  host.collaborators.firewall.filterDeferApplyOn();
}

export function filterDeferApplyOff(host: HostContext): Promise<void> {
  return refresh(host, "filterDeferApplyOff", () => host.collaborators.firewall.filterDeferApplyOff());
}

/** A change that is of the whole host: no instance's turn, but a bounded wait. */
function refresh(host: HostContext, kind: string, work: () => Promise<void>): Promise<void> {
  return runQuery(host, kind, { deadline: host.timeouts.attachMs }, work);
}

function filteredOf(host: HostContext, uuid: string): FilteredInstance {
  const record = host.records.require(uuid);
  return filteredInstance(record, record.vifs);
}
