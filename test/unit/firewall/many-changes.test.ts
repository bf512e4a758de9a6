import { describe, expect, it } from "vitest";
import { MemorySecurityGroupSource, NftablesFirewallDriver } from "../../../src/firewall/index.js";
import type { FilteredInstance } from "../../../src/firewall/index.js";
import type { CommandRunner } from "../../../src/host/index.js";

/** Takes everything, and keeps the scripts. */
class Host implements CommandRunner {
  readonly scripts: string[] = [];

  run(...[argv, options]: Parameters<CommandRunner["run"]>): ReturnType<CommandRunner["run"]> {
    if (argv[0] === "nft" && argv[1] === "-f") this.scripts.push(String(options?.input));
    return Promise.resolve({ stdout: "", stderr: "", exitCode: 0 });
  }
}

const COUNT = 1_000;

function instance(index: number): FilteredInstance {
  const hex = index.toString(16).padStart(4, "0");
  const port = {
    macAddress: `52:54:00:00:${hex.slice(0, 2)}:${hex.slice(2)}`,
    deviceName: `nodev${index}`,
    bridge: "br0",
  };
  const fixedIps = [{ address: `10.0.${index >> 8}.${index & 255}` }];
  return {
    uuid: `00000000-0000-4000-8000-${String(index).padStart(12, "0")}`,
    name: `i${index}`,
    ports: [{ id: "p", ...port, fixedIps, securityGroups: ["web"] }],
  };
}

describe("thousands of changes", { timeout: 60_000 }, () => {
  const open = (): {
    readonly host: Host;
    readonly groups: MemorySecurityGroupSource;
    readonly firewall: NftablesFirewallDriver;
  } => {
    const [host, groups] = [new Host(), new MemorySecurityGroupSource()];
    groups.setGroup({ id: "web", rules: [{ direction: "ingress", ipVersion: 4, remote: { groupId: "peers" } }] });
    return { host, groups, firewall: new NftablesFirewallDriver({ groups, commands: host, mode: "bridge" }) };
  };
  const all = Array.from({ length: COUNT }, (_, index) => instance(index));

  it("that come together go in a few transactions", async () => {
    const { host, groups, firewall } = open();
    await Promise.all(all.map((each) => firewall.refreshInstanceSecurityRules(each)));
    expect(host.scripts.length).toBeLessThan(20);
    const before = host.scripts.length;
    await Promise.all(
      Array.from({ length: COUNT }, (_, index) => {
        groups.setMember(`m${index}`, { addresses: [`192.0.${index >> 8}.${index & 255}`] }, ["peers"]);
        return firewall.refreshSecurityGroupMembers("peers");
      }),
    );
    await Promise.all(all.map(({ uuid, name }) => firewall.unfilterInstance({ uuid, name })));
    expect(host.scripts.length - before).toBeLessThan(100);
  });

  it("that are deferred go in one", async () => {
    const { host, firewall } = open();
    await firewall.reconcile();
    const before = host.scripts.length;
    firewall.filterDeferApplyOn();
    for (const each of all) {
      await firewall.setupBasicFiltering(each);
      await firewall.prepareInstanceFilter(each);
      await firewall.applyInstanceFilter(each);
    }
    await firewall.filterDeferApplyOff();
    expect(host.scripts.length - before).toBe(1);
    expect(host.scripts.at(-1)).toContain(`nodev${COUNT - 1}`);
  });

  it("of groups that are deferred are read once, and one that can't be read holds nothing else up", async () => {
    const { host, groups, firewall } = open();
    await firewall.refreshInstanceSecurityRules(instance(1));
    firewall.filterDeferApplyOn();
    for (let index = 0; index < COUNT; index++) {
      groups.setMember(`m${index}`, { addresses: [`192.0.${index >> 8}.${index & 255}`] }, ["peers"]);
      await firewall.refreshSecurityGroupMembers("peers");
    }
    groups.setGroup({ id: "web", rules: [{ direction: "ingress", ipVersion: 4, remote: { cidr: "no address" } }] });
    await firewall.refreshSecurityGroupRules("web");
    groups.setProviderRules([{ ipVersion: 4, cidr: "203.0.113.0/24" }]);
    await firewall.refreshProviderFirewallRules();
    const before = host.scripts.length;
    await expect(firewall.filterDeferApplyOff()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(host.scripts.length - before).toBe(1);
    expect(host.scripts.at(-1)).toContain("203.0.113.0/24");
    expect(host.scripts.at(-1)).toContain(`192.0.0.0-192.0.${(COUNT - 1) >> 8}.${(COUNT - 1) & 255}`);
  });
});
