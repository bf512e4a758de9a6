import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const firewallContract: ContractPart = (context, it) => {
  if (!context.has("firewall")) return;

  it("puts an instance's filters in force, again and again, running or not", async () => {
    await context.withInstance(async (instance) => {
      for (const _again of [1, 2]) await context.driver.ensureFilteringRulesForInstance(instance);
      for (const _again of [1, 2]) await context.driver.refreshInstanceSecurityRules(instance);
      await context.driver.powerOff(instance, { graceMs: 0 });
      for (const _again of [1, 2]) await context.driver.ensureFilteringRulesForInstance(instance);
    });
  });

  it("takes no filters from a guest in memory; from a stopped one it does, which then starts with them", async () => {
    await context.withInstance(async (instance) => {
      await rejectsWith("INVALID_STATE", context.driver.unfilterInstance(instance));
      await context.driver.powerOff(instance, { graceMs: 0 });
      for (const _again of [1, 2]) await context.driver.unfilterInstance(instance);
      await context.driver.powerOn(instance);
      await context.driver.refreshInstanceSecurityRules(instance);
    });
  });

  it("keeps and finds filters over a restart of the driver", async () => {
    await context.withInstance(async (instance) => {
      await context.restart();
      await context.driver.refreshInstanceSecurityRules(instance);
      await context.driver.ensureFilteringRulesForInstance(instance);
    });
  });

  it("follows groups, members and provider rules, of groups that nobody knows too, and refuses what is no id", async () => {
    await context.withInstance(async () => {
      for (const id of ["nobodys-group", "default"]) {
        await context.driver.refreshSecurityGroupRules(id);
        await context.driver.refreshSecurityGroupMembers(id);
      }
      await context.driver.refreshProviderFirewallRules();
    });
    for (const id of ["", "two words", 'x"; flush ruleset', "é", "a".repeat(256)]) {
      await rejectsWith("INVALID_ARGUMENT", context.driver.refreshSecurityGroupRules(id));
      await rejectsWith("INVALID_ARGUMENT", context.driver.refreshSecurityGroupMembers(id));
    }
  });

  it("collects changes until it is told to apply them as often as it was told to wait", async () => {
    await context.withInstance(async (instance) => {
      for (const _again of [1, 2]) context.driver.filterDeferApplyOn();
      await context.driver.refreshInstanceSecurityRules(instance);
      await context.driver.refreshProviderFirewallRules();
      for (const _again of [1, 2, 3]) await context.driver.filterDeferApplyOff();
    });
  });

  it("knows nothing of an instance that is not there, and has nothing to take from it", async () => {
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.ensureFilteringRulesForInstance(NOBODY));
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.refreshInstanceSecurityRules(NOBODY));
    await context.driver.unfilterInstance(NOBODY);
  });
};
