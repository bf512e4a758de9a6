/** Filters of instances; the work is the `FirewallDriver`'s. */
import type { InstanceRef } from "../instance-spec.js";
import type { OperationOptions } from "../../core/index.js";

export interface FirewallFacet {
  /** Resolves when the instance's filters are in force, on the destination of a migration before the guest arrives. */
  ensureFilteringRulesForInstance(instance: InstanceRef, options?: OperationOptions): Promise<void>;
  /** Removes the instance's filters. Rejects with `InvalidStateError` while its guest is in memory. Success when there are none. */
  unfilterInstance(instance: InstanceRef): Promise<void>;
  refreshSecurityGroupRules(securityGroupId: string): Promise<void>;
  refreshSecurityGroupMembers(securityGroupId: string): Promise<void>;
  refreshInstanceSecurityRules(instance: InstanceRef): Promise<void>;
  refreshProviderFirewallRules(): Promise<void>;
  /** Collects changes of filters until `filterDeferApplyOff`. Calls nest. */
  filterDeferApplyOn(): void;
  filterDeferApplyOff(): Promise<void>;
}
