/** A firewall that filters nothing, for hosts whose filtering is done elsewhere. */
import type { FilteredInstance, FirewallDriver } from "./firewall-driver.js";

export class NoopFirewallDriver implements FirewallDriver {
  readonly #filtered = new Set<string>();

  setupBasicFiltering(_instance: FilteredInstance): Promise<void> {
    return Promise.resolve();
  }
  prepareInstanceFilter(_instance: FilteredInstance): Promise<void> {
    return Promise.resolve();
  }
  applyInstanceFilter(instance: FilteredInstance): Promise<void> {
    this.#filtered.add(instance.uuid);
    return Promise.resolve();
  }
  unfilterInstance(instance: { readonly uuid: string }): Promise<void> {
    this.#filtered.delete(instance.uuid);
    return Promise.resolve();
  }
  instanceFilterExists(instance: { readonly uuid: string }): Promise<boolean> {
    return Promise.resolve(this.#filtered.has(instance.uuid));
  }
  refreshSecurityGroupRules(_securityGroupId: string): Promise<void> {
    return Promise.resolve();
  }
  refreshSecurityGroupMembers(_securityGroupId: string): Promise<void> {
    return Promise.resolve();
  }
  refreshInstanceSecurityRules(_instance: FilteredInstance): Promise<void> {
    return Promise.resolve();
  }
  refreshProviderFirewallRules(): Promise<void> {
    return Promise.resolve();
  }
  filterDeferApplyOn(): void {}
  filterDeferApplyOff(): Promise<void> {
    return Promise.resolve();
  }
}
