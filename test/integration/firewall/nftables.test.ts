import { beforeAll, describe, expect, it } from "vitest";
import { NftablesFirewallDriver } from "../../../src/firewall/index.js";
import { requirePackages, run } from "../../lab/index.js";
import { expectAgreement } from "./agreement.js";
import { firewallContract } from "./contract.js";
import { FirewallLab } from "./firewall-lab.js";

beforeAll(() => requirePackages("nft", "conntrack", "ip"));

describe("the nftables firewall", () => {
  firewallContract({
    name: "nftables",
    make: (options) => new NftablesFirewallDriver(options),
    async flush() {
      for (const family of ["bridge", "inet"])
        await run(["nft", "delete", "table", family, "hypervise"]).catch(() => "");
    },
    isChange: ([command, first]) => command === "nft" && first === "-f",
  });

  it("agrees with the plain model on thousands of packets", async () => {
    const { packets, passed } = await expectAgreement((lab) => new NftablesFirewallDriver({ groups: lab.groups }), {
      worlds: 8,
    });
    expect(packets).toBeGreaterThan(1_500);
    expect(passed).toBeGreaterThan(20);
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
