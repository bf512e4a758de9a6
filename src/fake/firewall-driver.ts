/** A firewall that keeps, instead of rules, what it was told to filter. */
import type { FilteredInstance, FirewallDriver } from "../firewall/index.js";
import type { FaultPoint } from "./fault-points.js";
import type { FakeHost, InstanceFilter } from "./host.js";
import type { FakeProcess, Halfway } from "./process.js";

/** A refresh that was asked for. */
export interface FirewallRefresh {
  readonly what: "securityGroupRules" | "securityGroupMembers" | "instance" | "provider";
  /** Id of the group, uuid of the instance. */
  readonly id?: string;
}

/** Refreshes kept at most; older ones are forgotten. */
const REFRESHES = 1_000;

const STAGES: Readonly<Record<InstanceFilter["stage"], number>> = { basic: 0, prepared: 1, applied: 2 };

export class FakeFirewallDriver implements FirewallDriver {
  readonly #process: FakeProcess;
  readonly #host: FakeHost;
  readonly #refreshes: FirewallRefresh[] = [];
  #deferred: FirewallRefresh[] | undefined;
  #depth = 0;

  constructor(process: FakeProcess) {
    this.#process = process;
    this.#host = process.host;
  }

  /** Refreshes that took effect, oldest first. */
  get refreshes(): readonly FirewallRefresh[] {
    return this.#refreshes;
  }

  setupBasicFiltering(instance: FilteredInstance): Promise<void> {
    return this.#bring("firewall.setupBasicFiltering", instance, "basic");
  }

  prepareInstanceFilter(instance: FilteredInstance): Promise<void> {
    return this.#bring("firewall.prepareInstanceFilter", instance, "prepared");
  }

  applyInstanceFilter(instance: FilteredInstance): Promise<void> {
    return this.#bring("firewall.applyInstanceFilter", instance, "applied");
  }

  unfilterInstance(instance: { readonly uuid: string; readonly name: string }): Promise<void> {
    return this.#process.pass("firewall.unfilterInstance", { instanceUuid: instance.uuid }, () => {
      this.#host.filters.delete(instance.uuid);
    });
  }

  instanceFilterExists(instance: { readonly uuid: string; readonly name: string }): Promise<boolean> {
    return this.#process.pass(
      "firewall.instanceFilterExists",
      { instanceUuid: instance.uuid },
      () => this.#host.filters.get(instance.uuid)?.stage === "applied",
    );
  }

  refreshSecurityGroupRules(securityGroupId: string): Promise<void> {
    return this.#refresh("firewall.refreshSecurityGroupRules", { what: "securityGroupRules", id: securityGroupId });
  }

  refreshSecurityGroupMembers(securityGroupId: string): Promise<void> {
    return this.#refresh("firewall.refreshSecurityGroupMembers", { what: "securityGroupMembers", id: securityGroupId });
  }

  refreshInstanceSecurityRules(instance: FilteredInstance): Promise<void> {
    const filter = this.#host.filters.get(instance.uuid);
    if (filter !== undefined) filter.ports = portsOf(instance);
    return this.#refresh("firewall.refreshInstanceSecurityRules", { what: "instance", id: instance.uuid });
  }

  refreshProviderFirewallRules(): Promise<void> {
    return this.#refresh("firewall.refreshProviderFirewallRules", { what: "provider" });
  }

  filterDeferApplyOn(): void {
    this.#process.passNow(() => {
      this.#depth++;
      this.#deferred ??= [];
    });
  }

  filterDeferApplyOff(): Promise<void> {
    return this.#process.pass("firewall.filterDeferApplyOff", {}, () => {
      this.#depth = Math.max(0, this.#depth - 1);
      if (this.#depth > 0) return;
      const deferred = this.#deferred ?? [];
      this.#deferred = undefined;
      this.#keep(deferred);
    });
  }

  #bring(point: FaultPoint, instance: FilteredInstance, stage: InstanceFilter["stage"]): Promise<void> {
    return this.#process.pass(point, { instanceUuid: instance.uuid }, async (halfway: Halfway) => {
      const { uuid, name } = instance;
      const present = this.#host.filters.get(uuid);
      const filter: InstanceFilter = present ?? { owner: uuid, name, stage: "basic", ports: [] };
      this.#host.filters.set(uuid, filter);
      await halfway();
      filter.ports = portsOf(instance);
      if (STAGES[stage] > STAGES[filter.stage]) filter.stage = stage;
    });
  }

  #refresh(point: FaultPoint, refresh: FirewallRefresh): Promise<void> {
    return this.#process.pass(point, { subject: refresh.id }, () => {
      if (this.#deferred === undefined) this.#keep([refresh]);
      else this.#deferred.push(refresh);
    });
  }

  #keep(refreshes: readonly FirewallRefresh[]): void {
    this.#refreshes.push(...refreshes);
    if (this.#refreshes.length > REFRESHES) this.#refreshes.splice(0, this.#refreshes.length - REFRESHES);
  }
}

function portsOf(instance: FilteredInstance): InstanceFilter["ports"] {
  return instance.ports.map(({ id, securityGroups = [], portSecurityEnabled = true }) => ({
    id,
    securityGroups: [...securityGroups],
    filtered: portSecurityEnabled,
  }));
}
