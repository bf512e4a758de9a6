import { beforeAll, describe, expect, it } from "vitest";
import { SystemCommandRunner } from "../../../src/host/index.js";
import type { CommandRunner } from "../../../src/host/index.js";
import { NftablesFirewallDriver } from "../../../src/firewall/index.js";
import { requirePackages, run } from "../../lab/index.js";
import { expectAgreement } from "./agreement.js";
import { firewallContract } from "./contract.js";
import { FirewallLab } from "./firewall-lab.js";
import { deleteTables } from "./nft-tables.js";

beforeAll(() => requirePackages("nft", "conntrack", "ip"));

describe("the nftables firewall", () => {
  firewallContract({
    name: "nftables",
    make: (options) => new NftablesFirewallDriver(options),
    flush: () => deleteTables("hypervise"),
    isChange: ([command, first]) => command === "nft" && first === "-f",
  });

  it("agrees with the plain model on thousands of packets", async () => {
    const { packets, passed } = await expectAgreement((lab) => new NftablesFirewallDriver({ groups: lab.groups }), {
      worlds: 8,
    });
    expect(packets).toBeGreaterThan(1_500);
    expect(passed).toBeGreaterThan(20);
  });

  it("has one pair of tables in force, whatever fails or dies while they are put in force anew", async () => {
    await using lab = await FirewallLab.create(2);
    const system = new SystemCommandRunner();
    let [changes, from, to] = [0, 0, 0];
    const commands: CommandRunner = {
      run: (argv, options) => {
        const broken = argv[1] === "-f" && ++changes >= from && changes <= to;
        return system.run(broken ? ["false"] : argv, options);
      },
    };
    const firewall = new NftablesFirewallDriver({ groups: lab.groups, commands });
    lab.group("web", [{ direction: "ingress", ipVersion: 4, protocol: "tcp", portFrom: 80 }]);
    await lab.filter(firewall, 1, { securityGroups: ["web"] });
    const tables = async (): Promise<string[]> => (await run(["nft", "list", "tables"])).trim().split("\n").sort();
    const holds = (): void => expect([80, 81].map((port) => lab.connects(2, 1, "tcp", port))).toEqual([true, false]);
    const before = await tables();
    for (const step of [1, 2]) {
      [changes, from, to] = [0, step, step];
      await expect(firewall.reconcile()).rejects.toMatchObject({ code: "FIREWALL_FAILED" });
      expect(await tables()).toEqual(before);
      holds();
    }
    // Nothing that follows the first step comes about, as if the process had died there.
    [changes, from, to] = [0, 2, Infinity];
    await expect(firewall.reconcile()).rejects.toMatchObject({ code: "FIREWALL_FAILED" });
    expect(await tables()).toHaveLength(4);
    holds();
    to = 0;
    const next = new NftablesFirewallDriver({ groups: lab.groups });
    await lab.filter(next, 1, { securityGroups: ["web"] });
    expect(await tables()).toHaveLength(2);
    holds();
    await firewall.reconcile();
    expect(await tables()).toHaveLength(2);
    holds();
    await firewall.remove();
    expect(await run(["nft", "list", "tables"])).toBe("");
  });

  it("leaves the tables of others alone, counts, and says what it would do", async () => {
    await using lab = await FirewallLab.create(2);
    await run(["nft", "add table inet others; add chain inet others theirs; add rule inet others theirs counter"]);
    const before = await run(["nft", "list", "table", "inet", "others"]);
    const firewall = new NftablesFirewallDriver({ groups: lab.groups, table: "mine" });
    lab.group("web", [{ direction: "ingress", ipVersion: 4, protocol: "tcp", portFrom: 80 }]);
    const planned = await firewall.plan(lab.instance(1, { securityGroups: ["web"] }));
    expect(planned).toContain("th dport 80 counter");
    const instance = await lab.filter(firewall, 1, { securityGroups: ["web"] });
    expect(firewall.mode).toBe("inet");
    expect([lab.connects(2, 1, "tcp", 80), lab.connects(2, 1, "tcp", 81)]).toEqual([true, false]);
    expect(await firewall.portCounters(instance)).toEqual([
      { portId: "port-1", accepted: { packets: 1n, bytes: 40n }, dropped: { packets: 1n, bytes: 40n } },
    ]);
    expect(await firewall.groupCounter("web")).toEqual({ packets: 1n, bytes: 40n });
    expect(await firewall.groupCounter("unknown")).toEqual({ packets: 0n, bytes: 0n });
    await firewall.unfilterInstance(instance);
    expect(await firewall.portCounters(instance)).toEqual([]);
    await firewall.remove();
    expect(await run(["nft", "list", "table", "inet", "others"])).toBe(before);
    expect(await run(["nft", "list", "tables"])).not.toContain("mine");
    await run(["nft", "delete", "table", "inet", "others"]);
  });

  it("has the bridge of a filtered port hand over its packets by the bridge's own switch", async () => {
    await using lab = await FirewallLab.create(2);
    await run(["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0"]);
    const firewall = new NftablesFirewallDriver({ groups: lab.groups });
    lab.group("web", [{ direction: "ingress", ipVersion: 4, protocol: "tcp", portFrom: 80 }]);
    const instance = await lab.filter(firewall, 1, { securityGroups: ["web"] });
    expect([lab.connects(2, 1, "tcp", 80), lab.connects(2, 1, "tcp", 81)]).toEqual([true, false]);
    const flag = async (): Promise<string> => run(["cat", `/sys/class/net/${lab.bridge.name}/bridge/nf_call_iptables`]);
    expect((await flag()).trim()).toBe("1");
    expect((await run(["sysctl", "-n", "net.bridge.bridge-nf-call-iptables"])).trim()).toBe("0");
    await firewall.unfilterInstance(instance);
    expect((await flag()).trim()).toBe("0");
    await firewall.remove();
  });
});
