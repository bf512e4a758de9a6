// The contract and the model for one variant of iptables, so that each has a file of its own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SystemCommandRunner } from "../../../src/host/index.js";
import type { CommandRunner } from "../../../src/host/index.js";
import { IptablesFirewallDriver, IptablesManager } from "../../../src/firewall/index.js";
import type { IptablesVariant } from "../../../src/firewall/index.js";
import { requirePackages, run } from "../../lab/index.js";
import { expectAgreement } from "./agreement.js";
import { firewallContract } from "./contract.js";
import { FirewallLab } from "./firewall-lab.js";
import { bridgeTable, deleteTables } from "./nft-tables.js";

/** A process that holds a lock of files, as another iptables does. */
function startHolder(path: string): { readonly held: Promise<unknown>; release(): Promise<unknown> } {
  const child = spawn("flock", [path, "sh", "-c", "echo held; read line"], { stdio: ["pipe", "pipe", "ignore"] });
  const ended = once(child, "exit");
  return {
    held: once(child.stdout, "data"),
    release: () => {
      child.stdin.end("\n");
      return ended;
    },
  };
}

const OWNER = "hypervise_sg";

/** Why the kernel can't do a variant; undefined when it can. */
export async function lacks(variant: IptablesVariant): Promise<string | undefined> {
  try {
    for (const family of ["iptables", "ip6tables"]) await run([`${family}-${variant}`, "-w", "-S"]);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

export async function testVariant(variant: IptablesVariant): Promise<void> {
  const missing = await lacks(variant);
  describe.skipIf(missing !== undefined)(`the iptables firewall on ${variant} ${missing ?? ""}`, () => {
    beforeAll(() => requirePackages("iptables", "ipset", "nft", "conntrack", "ip"));
    // What iptables itself leaves of its tables.
    afterAll(async () => {
      for (const family of ["ip", "ip6"])
        for (const table of ["filter", "nat", "mangle"])
          await run(["nft", "delete", "table", family, table]).catch(() => "");
    });

    firewallContract({
      name: `iptables-${variant}`,
      make: (options) => new IptablesFirewallDriver({ ...options, variant }),
      async flush() {
        for (const family of ["iptables", "ip6tables"])
          for (const all of ["-F", "-X"]) await run([`${family}-${variant}`, "-w", all]);
        await run(["ipset", "destroy"]);
        await deleteTables(OWNER);
      },
      reloads: 12,
      // What is the same for both is shown in three steps by the other.
      inOneStep: variant === "legacy",
      isChange: ([command = "", first]) =>
        command.endsWith("-restore") ||
        (command === "ipset" && first === "restore") ||
        (command === "nft" && first === "-f"),
    });

    it("keeps its counters over changes, tells what it would do, and leaves the rules of others alone", async () => {
      await using lab = await FirewallLab.create(3);
      await run([`iptables-${variant}`, "-w", "-N", "others"]);
      for (const rule of ["others -s 192.0.2.1 -j ACCEPT", "FORWARD -j others"])
        await run([`iptables-${variant}`, "-w", "-A", ...rule.split(" ")]);
      await run(["ipset", "create", "others", "hash:ip"]);
      const firewall = new IptablesFirewallDriver({ groups: lab.groups, variant, owner: "mine" });
      lab.group("web", [{ direction: "ingress", ipVersion: 4, protocol: "tcp", portFrom: 80 }]);
      const planned = await firewall.plan(lab.instance(1, { securityGroups: ["web"] }));
      expect(planned).toContain("-p tcp -m tcp --dport 80 -j ACCEPT");
      expect(planned).toContain(`-d ${lab.host(1).address[4]}/32 -g mine-inst-`);
      const instance = await lab.filter(firewall, 1, { securityGroups: ["web"] });
      expect([lab.connects(2, 1, "tcp", 80), lab.connects(2, 1, "tcp", 81)]).toEqual([true, false]);
      await lab.filter(firewall, 2, { securityGroups: ["web"] });
      await run([`iptables-${variant}`, "-w", "-I", "FORWARD", "-s", "192.0.2.2", "-j", "ACCEPT"]);
      await firewall.refreshProviderFirewallRules();
      const [counted] = await firewall.portCounters(instance);
      expect(counted?.accepted.packets).toBeGreaterThanOrEqual(1n);
      expect(counted?.dropped.packets).toBeGreaterThanOrEqual(1n);
      expect((await firewall.groupCounter("web")).bytes).toBe((counted?.accepted.packets ?? 0n) * 40n);
      await firewall.reconcile();
      const rules = await run([`iptables-${variant}`, "-w", "-S", "FORWARD"]);
      expect(rules.split("\n")[1]).toBe("-A FORWARD -j nova-filter-top");
      await firewall.remove();
      expect(await run([`iptables-${variant}-save`, "-t", "filter"])).not.toMatch(/mine|nova/);
      const left = await run([`iptables-${variant}`, "-w", "-S"]);
      for (const rule of [
        "-A FORWARD -j others",
        "-A FORWARD -s 192.0.2.2/32 -j ACCEPT",
        "-A others -s 192.0.2.1/32 -j ACCEPT",
      ])
        expect(left).toContain(rule);
      expect((await run(["ipset", "list", "-n"])).trim()).toBe("others");
      await run(["ipset", "destroy", "others"]);
      for (const all of ["-F", "-X"]) await run([`iptables-${variant}`, "-w", all]);
    });

    it("takes back what came before the step that the host refuses", async () => {
      await using lab = await FirewallLab.create(3);
      const system = new SystemCommandRunner();
      let broken = "";
      const commands: CommandRunner = {
        run: (argv, options) => system.run(argv[0] === broken && argv[1] !== "list" ? ["false"] : argv, options),
      };
      const firewall = new IptablesFirewallDriver({ groups: lab.groups, variant, commands });
      const rule = { direction: "ingress", ipVersion: 4, protocol: "tcp", remote: { groupId: "g" } } as const;
      lab.group("g", [{ ...rule, portFrom: 80 }]);
      await lab.filter(firewall, 1, { securityGroups: ["g"] });
      await lab.filter(firewall, 2, { securityGroups: ["g"] });
      const look = async () => {
        const texts = ["iptables", "ip6tables"].map((family) => run([`${family}-${variant}-save`, "-t", "filter"]));
        const all = [...texts, run(["ipset", "list"]), bridgeTable(OWNER)];
        const lines = (await Promise.all(all)).join("\n").split("\n");
        return lines.filter((line) => !/^[#:]|^Size|^Header|counter/.test(line)).sort();
      };
      const before = await look();
      for (const program of ["ipset", `iptables-${variant}-restore`, `ip6tables-${variant}-restore`, "nft"]) {
        broken = program;
        await expect(lab.filter(firewall, 3, { securityGroups: ["g", "new"] }), program).rejects.toThrow();
        await expect(firewall.unfilterInstance(lab.instance(2)), program).rejects.toThrow();
        await expect(firewall.reconcile(), program).rejects.toThrow();
        broken = "";
        expect(await look(), program).toEqual(before);
        await firewall.refreshSecurityGroupRules("g");
        expect([lab.connects(2, 1, "tcp", 80), lab.connects(2, 1, "tcp", 81), lab.connects(1, 3, "tcp", 9)]).toEqual([
          true,
          false,
          true,
        ]);
      }
      await firewall.remove();
    });

    it("filters by the bridge where two of them have the same addresses", async () => {
      await using lab = await FirewallLab.create(2);
      await using twin = await FirewallLab.create(2);
      const firewall = new IptablesFirewallDriver({ groups: lab.groups, variant });
      lab.group("open", [{ direction: "ingress", ipVersion: 4 }]);
      await lab.filter(firewall, 1, { securityGroups: ["open"] });
      const uuid = "00000000-0000-4000-8000-0000000000ff";
      await firewall.refreshInstanceSecurityRules({ ...twin.instance(1), uuid, name: "twin" });
      expect([lab.connects(2, 1, "tcp", 9), twin.connects(2, 1, "tcp", 9)]).toEqual([true, false]);
      await firewall.remove();
    });

    it("changes its rules while others change theirs and hold the lock", async () => {
      const manager = new IptablesManager({ owner: "mgr", variant });
      const holder = startHolder("/run/xtables.lock");
      await holder.held;
      const { filter } = manager.ipv4;
      filter.addChain("a");
      filter.addRule("FORWARD", "-p tcp --dport 5 -s 10.0.0.1 -j $a", { wrap: false });
      const applied = manager.apply();
      await holder.release();
      await applied;
      const theirs = (async () => {
        for (let i = 0; i < 20; i++)
          await run([
            `iptables-${variant}`,
            "-w",
            i % 2 === 0 ? "-A" : "-I",
            "FORWARD",
            "-s",
            `192.0.2.${i}`,
            "-j",
            "LOG",
          ]);
      })();
      for (let i = 0; i < 20; i++) {
        filter.addRule("a", `-s 10.1.0.${i} -j ACCEPT`);
        await manager.apply();
      }
      await theirs;
      await manager.reconcile();
      const rules = (await run([`iptables-${variant}`, "-w", "-S"])).split("\n");
      expect(rules.filter((rule) => rule.startsWith("-A FORWARD -s 192.0.2."))).toHaveLength(20);
      expect(rules.filter((rule) => rule.startsWith("-A mgr-a -s 10.1.0."))).toHaveLength(20);
      expect(rules.filter((rule) => rule.startsWith("-A FORWARD -s 10.0.0.1/32"))).toHaveLength(1);
      filter.removeRule("FORWARD", "-p tcp --dport 5 -s 10.0.0.1 -j $a", { wrap: false });
      filter.addRule("a", "-p tcp -m tcp --no-such-option 1 -j ACCEPT");
      await expect(manager.apply()).rejects.toThrow(expect.objectContaining({ code: "FIREWALL_FAILED" }) as Error);
      expect((await run([`iptables-${variant}`, "-w", "-S"])).split("\n")).toEqual(rules);
      manager.revert();
      manager.ipv4.nat.addRule("float-snat", "-s 10.0.0.1 -j SNAT --to 192.0.2.9");
      await manager.apply();
      const nat = await run([`iptables-${variant}-save`, "-t", "nat"]);
      expect(nat).toContain("-A mgr-float-snat -s 10.0.0.1/32 -j SNAT --to-source 192.0.2.9");
      await manager.remove();
      for (const table of ["filter", "nat"]) {
        expect(await run([`iptables-${variant}-save`, "-t", table])).not.toMatch(/mgr|nova/);
        for (const all of ["-F", "-X"]) await run([`iptables-${variant}`, "-w", "-t", table, all]);
      }
    });

    it("agrees with the plain model on thousands of packets", async () => {
      const make = (lab: FirewallLab) => new IptablesFirewallDriver({ groups: lab.groups, variant });
      const { packets, passed } = await expectAgreement(make, { worlds: 4, packets: 1_000 });
      expect(packets).toBeGreaterThan(2_000);
      expect(passed).toBeGreaterThan(20);
    });
  });
}
