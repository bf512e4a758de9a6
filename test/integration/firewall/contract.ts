// What every firewall that filters must do, shown by packets.
import { describe, expect, it } from "vitest";
import { MemoryStateStore } from "../../../src/core/index.js";
import type { StateStore } from "../../../src/core/index.js";
import type { FirewallDriver, SecurityGroupSource } from "../../../src/firewall/index.js";
import type { CommandRunner } from "../../../src/host/index.js";
import { SystemCommandRunner } from "../../../src/host/index.js";
import { arpFrame, ethernet, ipFrame, neighbourPayload } from "../../lab/index.js";
import type { Payload } from "../../lab/index.js";
import { FirewallLab } from "./firewall-lab.js";
import { trafficContract } from "./traffic-contract.js";

/** A driver that can be put in force anew and taken out. */
export type TestedFirewall = FirewallDriver & { reconcile(): Promise<void>; remove(): Promise<void> };

export interface FirewallHarness {
  readonly name: string;
  make(options: {
    readonly groups: SecurityGroupSource;
    readonly state?: StateStore;
    readonly commands?: CommandRunner;
    readonly allowSameNetwork?: boolean;
  }): TestedFirewall;
  /** Does away with everything that the driver has in the kernel, as somebody else might. */
  flush(): Promise<void>;
  /** Which of the command's calls change the kernel. */
  isChange(argv: readonly string[]): boolean;
  /** False: it can't look at whose address an advertisement is about. */
  readonly readsAdvertisements?: boolean;
  /** True: a change takes so long that hosts are filtered by one call in place of three, but where the three are what a test is about. */
  readonly inOneStep?: boolean;
  /** True: groups decide for what goes from one port of a bridge to another, and for nothing else. */
  readonly onlyBridged?: boolean;
  /** True: groups decide for broadcasts and multicasts, too; else they reach every port of the bridge. */
  readonly decidesForBroadcasts?: boolean;
  /** Where changes take seconds: the most telling tests, or the others, which run on their own. Default: all. */
  readonly part?: "telling" | "others";
  /** How often the filters are put in force anew while packets come. Default 60. */
  readonly reloads?: number;
}

const tcp = (portFrom: number, portTo = portFrom) => ({ ipVersion: 4, protocol: "tcp", portFrom, portTo }) as const;
const ingress = { direction: "ingress" } as const;
const echo: Payload = { protocol: "icmp", type: 8 };

/** Defines a test. */
export type Define = (name: string, test: () => Promise<void>) => void;

export interface Tests {
  readonly detail: Define;
  readonly skip: Define;
}

/** A lab of so many hosts, and a firewall that leaves nothing. */
export async function withLab(
  harness: FirewallHarness,
  hosts: number,
  test: (lab: FirewallLab, firewall: TestedFirewall) => Promise<void>,
): Promise<void> {
  await using lab = await FirewallLab.create(hosts, harness);
  const firewall = harness.make({ groups: lab.groups });
  try {
    await test(lab, firewall);
  } finally {
    await firewall.remove();
  }
}

export function firewallContract(harness: FirewallHarness): void {
  const none: Define = () => undefined;
  const telling: Define = harness.part === "others" ? none : it;
  const detail: Define = harness.part === "telling" ? none : it;
  // Runners refuse an empty group.
  if (detail !== none) trafficContract(harness, { detail, skip: none });

  describe("security groups", () => {
    telling("permit what their rules say, and nothing else", () =>
      withLab(harness, 3, async (lab, firewall) => {
        lab.group("all-kinds", [
          { ...ingress, ...tcp(80) },
          { ...ingress, ...tcp(8000, 8010) },
          { ...ingress, ipVersion: 4, protocol: "udp", portFrom: 53 },
          { ...ingress, ipVersion: 4, protocol: "icmp", icmpType: 8 },
          { ...ingress, ipVersion: 4, protocol: 47 },
          { ...ingress, ipVersion: 6, protocol: "tcp", portFrom: 443 },
          { ...ingress, ipVersion: 6, protocol: "icmp", icmpType: 128, icmpCode: 0 },
          { ...ingress, ...tcp(22), remote: { cidr: `${lab.host(3).address[4]}/32` } },
        ]);
        await lab.filter(firewall, 1, { securityGroups: ["all-kinds"] });
        const open = [80, 8000, 8005, 8010].map((port) => lab.connects(2, 1, "tcp", port));
        expect(open).toEqual([true, true, true, true]);
        const shut = [79, 81, 7999, 8011, 53].map((port) => lab.connects(2, 1, "tcp", port));
        expect(shut).toEqual([false, false, false, false, false]);
        expect([lab.connects(2, 1, "udp", 53), lab.connects(2, 1, "udp", 80)]).toEqual([true, false]);
        expect(lab.reaches(2, 1, echo)).toBe(true);
        expect(lab.reaches(2, 1, { protocol: "icmp", type: 13 })).toBe(false);
        expect(lab.reaches(2, 1, { protocol: 47, data: Buffer.alloc(8) })).toBe(true);
        expect(lab.reaches(2, 1, { protocol: 50, data: Buffer.alloc(16) })).toBe(false);
        expect([lab.connects(2, 1, "tcp", 443, 6), lab.connects(2, 1, "tcp", 80, 6)]).toEqual([true, false]);
        expect(lab.reaches(2, 1, { protocol: "icmpv6", type: 128 }, 6)).toBe(true);
        expect(lab.reaches(2, 1, { protocol: "icmpv6", type: 128, code: 1 }, 6)).toBe(false);
        expect([lab.connects(3, 1, "tcp", 22), lab.connects(2, 1, "tcp", 22)]).toEqual([true, false]);
      }),
    );

    detail("permit replies, and whatever may be sent", () =>
      withLab(harness, 2, async (lab, firewall) => {
        lab.group("client", [{ direction: "egress", ...tcp(80) }], "rules");
        lab.group(
          "server",
          [
            { ...ingress, ...tcp(80) },
            { ...ingress, ...tcp(81) },
          ],
          "rules",
        );
        await lab.filter(firewall, 1, { securityGroups: ["client"] });
        await lab.filter(firewall, 2, { securityGroups: ["server"] });
        const ports = { sourcePort: 40_000, destinationPort: 80 };
        const back = { sourcePort: 80, destinationPort: 40_000 };
        expect(lab.reaches(2, 1, { protocol: "tcp", ...back, flags: 18 })).toBe(false);
        expect(lab.reaches(1, 2, { protocol: "tcp", ...ports, sequence: 1 })).toBe(true);
        expect(lab.reaches(2, 1, { protocol: "tcp", ...back, flags: 18, sequence: 9, acknowledgement: 2 })).toBe(true);
        expect(lab.reaches(1, 2, { protocol: "tcp", ...ports, flags: 16, sequence: 2, acknowledgement: 10 })).toBe(
          true,
        );
        expect(lab.connects(1, 2, "tcp", 81)).toBe(false);
        expect(lab.connects(2, 1, "tcp", 80)).toBe(false);
      }),
    );

    telling("follow their members, and cut the flows of those that leave", () =>
      withLab(harness, 3, async (lab, firewall) => {
        lab.group("web", []);
        lab.group("db", [
          { ...ingress, ...tcp(5432), remote: { groupId: "web" } },
          { ...ingress, ipVersion: 6, protocol: "tcp", portFrom: 5432, remote: { groupId: "web" } },
        ]);
        await lab.filter(firewall, 1, { securityGroups: ["db"] });
        expect([lab.connects(2, 1, "tcp", 5432), lab.connects(3, 1, "tcp", 5432)]).toEqual([false, false]);
        await lab.filter(firewall, 2, { securityGroups: ["web"] });
        expect([lab.connects(2, 1, "tcp", 5432), lab.connects(3, 1, "tcp", 5432)]).toEqual([true, false]);
        expect([lab.connects(2, 1, "tcp", 5432, 6), lab.connects(3, 1, "tcp", 5432, 6)]).toEqual([true, false]);

        const there = { protocol: "tcp", sourcePort: 41_000, destinationPort: 5432 } as const;
        const back = { protocol: "tcp", sourcePort: 5432, destinationPort: 41_000 } as const;
        expect(lab.reaches(2, 1, { ...there, sequence: 1 })).toBe(true);
        expect(lab.reaches(1, 2, { ...back, flags: 18, sequence: 9, acknowledgement: 2 })).toBe(true);
        expect(lab.reaches(2, 1, { ...there, flags: 16, sequence: 2, acknowledgement: 10 })).toBe(true);
        for (const id of lab.groups.deleteMember("port-2")) await firewall.refreshSecurityGroupMembers(id);
        const more = { flags: 16, sequence: 2, acknowledgement: 10, data: Buffer.from("more") };
        expect(lab.reaches(2, 1, { ...there, ...more })).toBe(false);
        expect(lab.connects(2, 1, "tcp", 5432)).toBe(false);
      }),
    );

    detail("follow their rules, and cut what is no longer permitted but nothing else", () =>
      withLab(harness, 2, async (lab, firewall) => {
        const [ssh, web] = [
          { ...ingress, ...tcp(22) },
          { ...ingress, ...tcp(80) },
        ];
        lab.group("g", [ssh, web]);
        await lab.filter(firewall, 1, { securityGroups: ["g"] });
        const flow = (destinationPort: number) => {
          const there = { protocol: "tcp", sourcePort: 42_000, destinationPort } as const;
          expect(lab.reaches(2, 1, { ...there, sequence: 1 })).toBe(true);
          const answer = { protocol: "tcp", sourcePort: destinationPort, destinationPort: 42_000 } as const;
          expect(lab.reaches(1, 2, { ...answer, flags: 18, sequence: 9, acknowledgement: 2 })).toBe(true);
          return { ...there, flags: 16, sequence: 2, acknowledgement: 10 } as const;
        };
        const [viaSsh, viaWeb] = [flow(22), flow(80)];
        lab.group("g", [web]);
        await firewall.refreshSecurityGroupRules("g");
        expect([lab.reaches(2, 1, viaSsh), lab.reaches(2, 1, viaWeb)]).toEqual([false, true]);
        lab.group("g", [{ ...ingress, ...tcp(8080) }]);
        await firewall.refreshSecurityGroupRules("g");
        expect(lab.connects(2, 1, "tcp", 8080)).toBe(true);
        expect(lab.reaches(2, 1, viaWeb)).toBe(false);
        lab.groups.deleteGroup("g");
        await firewall.refreshSecurityGroupRules("g");
        expect(lab.connects(2, 1, "tcp", 8080)).toBe(false);
      }),
    );

    detail("give way to provider rules", () =>
      withLab(harness, 3, async (lab, firewall) => {
        lab.group("any", [{ ...ingress, ipVersion: 4 }]);
        await lab.filter(firewall, 1, { securityGroups: ["any"] });
        expect([lab.connects(2, 1, "tcp", 1), lab.connects(3, 1, "tcp", 1)]).toEqual([true, true]);
        lab.groups.setProviderRules([{ ipVersion: 4, protocol: "tcp", cidr: `${lab.host(3).address[4]}/32` }]);
        await firewall.refreshProviderFirewallRules();
        expect([lab.connects(2, 1, "tcp", 1), lab.connects(3, 1, "tcp", 1)]).toEqual([true, false]);
        expect(lab.connects(3, 1, "udp", 1)).toBe(true);
        lab.groups.setProviderRules([]);
        await firewall.refreshProviderFirewallRules();
        expect(lab.connects(3, 1, "tcp", 1)).toBe(true);
      }),
    );

    detail("apply to none, to few, or not at all", () =>
      withLab(harness, 4, async (lab, firewall) => {
        await lab.filter(firewall, 1, { securityGroups: [] });
        const { securityGroups: _, ...port } = lab.instance(2).ports[0] as { securityGroups?: readonly string[] };
        const bare = { ...lab.instance(2), ports: [port as ReturnType<typeof lab.instance>["ports"][0]] };
        await firewall.setupBasicFiltering(bare);
        await firewall.prepareInstanceFilter(bare);
        await firewall.applyInstanceFilter(bare);
        await lab.filter(firewall, 3, { securityGroups: [], portSecurityEnabled: false });
        expect([1, 2, 3].map((to) => lab.connects(4, to, "tcp", 9))).toEqual([false, true, true]);
        expect([1, 2, 3].map((from) => lab.connects(from, 4, "tcp", 9))).toEqual([false, true, true]);
      }),
    );

    detail("let in their own networks where told to", async () => {
      await using lab = await FirewallLab.create(2, harness);
      const firewall = harness.make({ groups: lab.groups, allowSameNetwork: true });
      await lab.filter(firewall, 1, { securityGroups: [] });
      expect(lab.connects(2, 1, "tcp", 9)).toBe(true);
      await firewall.remove();
    });
  });

  describe("anti-spoofing", () => {
    telling("drops what a guest sends in another's name", () =>
      withLab(harness, 3, async (lab, firewall) => {
        lab.group("any", [
          { ...ingress, ipVersion: 4 },
          { ...ingress, ipVersion: 6 },
        ]);
        await lab.filter(firewall, 1, { securityGroups: ["any"] });
        const [one, two, three] = [lab.host(1), lab.host(2), lab.host(3)];
        const udp: Payload = { protocol: "udp", sourcePort: 7, destinationPort: 7 };
        const sends = (
          sourceMac: string,
          source: string,
          payload: Payload,
          destination = two.address[source.includes(":") ? 6 : 4],
        ) =>
          lab.deliver(1, ipFrame({ sourceMac, destinationMac: two.mac }, { source, destination, payload })).length > 0;
        expect(sends(one.mac, one.address[4], udp)).toBe(true);
        expect(sends(one.mac, one.address[6], udp)).toBe(true);
        expect(sends(one.mac, one.linkLocal, udp, two.linkLocal)).toBe(true);
        expect(sends(three.mac, one.address[4], udp)).toBe(false);
        expect(sends(one.mac, three.address[4], udp)).toBe(false);
        expect(sends(one.mac, three.address[6], udp)).toBe(false);
        expect(sends(one.mac, three.linkLocal, udp, two.linkLocal)).toBe(false);

        const toAll = { sourceMac: one.mac, destinationMac: "ff:ff:ff:ff:ff:ff" };
        const arp = (senderMac: string, senderAddress: string) =>
          lab.deliver(1, arpFrame(toAll, { operation: 2, senderMac, senderAddress, targetAddress: two.address[4] }));
        expect(arp(one.mac, one.address[4])).toContain(2);
        expect(arp(one.mac, "0.0.0.0")).toContain(2);
        expect(arp(one.mac, three.address[4])).toEqual([]);
        expect(arp(three.mac, one.address[4])).toEqual([]);
        const advertises = (target: string) =>
          sends(one.mac, one.linkLocal, neighbourPayload(136, target), two.linkLocal);
        expect(advertises(one.address[6])).toBe(true);
        if (harness.readsAdvertisements !== false) expect(advertises(three.address[6])).toBe(false);
        expect(
          sends(one.mac, one.linkLocal, { protocol: "icmpv6", type: 134, data: Buffer.alloc(12) }, two.linkLocal),
        ).toBe(false);
        expect(
          sends(one.mac, one.linkLocal, { protocol: "icmpv6", type: 137, data: Buffer.alloc(36) }, two.linkLocal),
        ).toBe(false);
        expect(sends(one.mac, one.address[4], { protocol: "udp", sourcePort: 67, destinationPort: 68 })).toBe(false);
        expect(
          sends(one.mac, one.linkLocal, { protocol: "udp", sourcePort: 547, destinationPort: 546 }, two.linkLocal),
        ).toBe(false);
        expect(
          lab.deliver(1, ethernet({ sourceMac: one.mac, destinationMac: two.mac }, 0x88b5, Buffer.alloc(46))),
        ).toEqual([]);
        const discover = {
          source: "0.0.0.0",
          destination: "255.255.255.255",
          payload: { protocol: "udp", sourcePort: 68, destinationPort: 67 },
        } as const;
        expect(lab.deliver(1, ipFrame(toAll, discover))).toContain(2);
      }),
    );

    detail("lets pairs of addresses pass that are allowed", () =>
      withLab(harness, 2, async (lab, firewall) => {
        lab.group("any", [{ ...ingress, ipVersion: 4 }]);
        const virtual = "00:00:5e:00:01:0a";
        const allowedAddressPairs = [{ address: "10.77.0.200" }, { address: "10.77.1.0/24", macAddress: virtual }];
        await lab.filter(firewall, 1, { securityGroups: ["any"], allowedAddressPairs });
        const sends = (sourceMac: string, source: string) =>
          lab.deliver(
            1,
            ipFrame(
              { sourceMac, destinationMac: lab.host(2).mac },
              {
                source,
                destination: lab.host(2).address[4],
                payload: { protocol: "udp", sourcePort: 9, destinationPort: 9 },
              },
            ),
          ).length > 0;
        expect([sends(lab.host(1).mac, "10.77.0.200"), sends(lab.host(1).mac, "10.77.0.201")]).toEqual([true, false]);
        expect([sends(virtual, "10.77.1.7"), sends(lab.host(1).mac, "10.77.1.7")]).toEqual([true, false]);
        const comes = (destination: string) =>
          lab.deliver(
            2,
            ipFrame(
              { sourceMac: lab.host(2).mac, destinationMac: lab.host(1).mac },
              {
                source: lab.host(2).address[4],
                destination,
                payload: { protocol: "udp", sourcePort: 9, destinationPort: 9 },
              },
            ),
          ).length > 0;
        expect([comes("10.77.0.200"), comes("10.77.1.9"), comes("10.77.0.202")]).toEqual([true, true, false]);
      }),
    );

    telling("lets a guest talk to its DHCP server before its groups are in force, and to nobody else", () =>
      withLab(harness, 3, async (lab, firewall) => {
        lab.group("any", [{ ...ingress, ipVersion: 4 }]);
        const instance = lab.instance(1, {
          securityGroups: ["any"],
          subnets: [{ cidr: "10.77.0.0/24", dhcpServer: lab.host(2).address[4] }],
        });
        await firewall.setupBasicFiltering(instance);
        expect([lab.connects(3, 1, "tcp", 9), lab.connects(1, 3, "tcp", 9)]).toEqual([false, false]);
        const offer: Payload = { protocol: "udp", sourcePort: 67, destinationPort: 68 };
        expect([lab.reaches(2, 1, offer), lab.reaches(3, 1, offer)]).toEqual([true, false]);
        expect(lab.reaches(3, 1, neighbourPayload(135, lab.host(1).address[6]), 6)).toBe(true);
        expect(await firewall.instanceFilterExists(instance)).toBe(false);
        await firewall.prepareInstanceFilter(instance);
        expect(lab.connects(3, 1, "tcp", 9)).toBe(false);
        await firewall.applyInstanceFilter(instance);
        expect(lab.connects(3, 1, "tcp", 9)).toBe(true);
        expect(await firewall.instanceFilterExists(instance)).toBe(true);
        await firewall.unfilterInstance(instance);
        await firewall.unfilterInstance(instance);
        expect(await firewall.instanceFilterExists(instance)).toBe(false);
      }),
    );
  });

  describe("in an uncertain world", () => {
    telling("changes nothing when the host refuses", async () => {
      await using lab = await FirewallLab.create(3, harness);
      const system = new SystemCommandRunner();
      let broken = false;
      const commands: CommandRunner = {
        run: (argv, options) => system.run(broken && harness.isChange(argv) ? ["false"] : argv, options),
      };
      const firewall = harness.make({ groups: lab.groups, commands });
      lab.group("g", [{ ...ingress, ...tcp(80) }]);
      await lab.filter(firewall, 1, { securityGroups: ["g"] });
      broken = true;
      lab.group("g", [{ ...ingress, ...tcp(81) }]);
      await expect(firewall.refreshSecurityGroupRules("g")).rejects.toThrow(
        expect.objectContaining({ code: "FIREWALL_FAILED" }) as Error,
      );
      await expect(firewall.setupBasicFiltering(lab.instance(2))).rejects.toThrow(
        expect.objectContaining({ code: "FIREWALL_FAILED" }) as Error,
      );
      await expect(firewall.unfilterInstance(lab.instance(1))).rejects.toThrow(
        expect.objectContaining({ code: "FIREWALL_FAILED" }) as Error,
      );
      expect([lab.connects(3, 1, "tcp", 80), lab.connects(3, 1, "tcp", 81), lab.connects(3, 2, "tcp", 9)]).toEqual([
        true,
        false,
        true,
      ]);
      expect(await firewall.instanceFilterExists(lab.instance(1))).toBe(true);
      broken = false;
      await firewall.refreshSecurityGroupRules("g");
      expect([lab.connects(3, 1, "tcp", 80), lab.connects(3, 1, "tcp", 81)]).toEqual([false, true]);
      await firewall.remove();
    });

    detail("keeps what is in force when the source can't answer, or answers with nonsense", () =>
      withLab(harness, 2, async (lab, firewall) => {
        lab.group("g", [{ ...ingress, ...tcp(80) }]);
        await lab.filter(firewall, 1, { securityGroups: ["g"] });
        lab.groups.setGroup({
          id: "g",
          rules: [{ ...ingress, ...tcp(80), remote: { cidr: "10.0.0.0/8 accept; drop" } }],
        });
        await expect(firewall.refreshSecurityGroupRules("g")).rejects.toThrow(
          expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error,
        );
        expect(lab.connects(2, 1, "tcp", 80)).toBe(true);
        const other = lab.instance(2, { deviceName: 'x"; flush ruleset' });
        await expect(firewall.setupBasicFiltering(other)).rejects.toThrow(
          expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error,
        );
        expect([lab.connects(2, 1, "tcp", 80), lab.connects(2, 1, "tcp", 81)]).toEqual([true, false]);
      }),
    );

    detail("comes back with everything after its process has died", async () => {
      await using lab = await FirewallLab.create(3, harness);
      const state = new MemoryStateStore();
      const first = harness.make({ groups: lab.groups, state });
      lab.group("g", [{ ...ingress, ...tcp(80) }]);
      const instance = await lab.filter(first, 1, { securityGroups: ["g"] });
      lab.group("g", [{ ...ingress, ...tcp(81) }]);
      const second = harness.make({ groups: lab.groups, state });
      expect(await second.instanceFilterExists(instance)).toBe(true);
      expect([lab.connects(3, 1, "tcp", 80), lab.connects(3, 1, "tcp", 81)]).toEqual([false, true]);
      await lab.filter(second, 2, { securityGroups: ["g"] });
      expect([lab.connects(3, 1, "tcp", 81), lab.connects(3, 2, "tcp", 81)]).toEqual([true, true]);
      await second.unfilterInstance(instance);
      expect(lab.connects(3, 1, "tcp", 80)).toBe(true);
      await second.remove();
    });

    telling("puts in force anew what somebody has flushed", () =>
      withLab(harness, 3, async (lab, firewall) => {
        lab.group("g", [{ ...ingress, ...tcp(80) }]);
        await lab.filter(firewall, 1, { securityGroups: ["g"] });
        await harness.flush();
        expect(lab.connects(3, 1, "tcp", 81)).toBe(true);
        await lab.filter(firewall, 2, { securityGroups: ["g"] });
        expect([1, 2].map((to) => lab.connects(3, to, "tcp", 81))).toEqual([false, false]);
        await harness.flush();
        await firewall.reconcile();
        expect([1, 2].map((to) => lab.connects(3, to, "tcp", 81))).toEqual([false, false]);
        expect([1, 2].map((to) => lab.connects(3, to, "tcp", 80))).toEqual([true, true]);
      }),
    );

    detail("collects changes until told to apply them", () =>
      withLab(harness, 3, async (lab, firewall) => {
        lab.group("g", [{ ...ingress, ...tcp(80) }]);
        firewall.filterDeferApplyOn();
        firewall.filterDeferApplyOn();
        const instance = await lab.filter(firewall, 1, { securityGroups: ["g"] });
        await lab.filter(firewall, 2, { securityGroups: ["g"] });
        expect(await firewall.instanceFilterExists(instance)).toBe(true);
        await firewall.filterDeferApplyOff();
        expect(lab.connects(3, 1, "tcp", 81)).toBe(true);
        await firewall.filterDeferApplyOff();
        expect([1, 2].map((to) => lab.connects(3, to, "tcp", 81))).toEqual([false, false]);
        expect([1, 2].map((to) => lab.connects(3, to, "tcp", 80))).toEqual([true, true]);
        await firewall.filterDeferApplyOff();
      }),
    );

    telling("lets nothing through while it is put in force anew again and again", () =>
      withLab(harness, 2, async (lab, firewall) => {
        lab.group("g", [{ ...ingress, ...tcp(80) }]);
        await lab.filter(firewall, 1, { securityGroups: ["g"] });
        let [reloading, sent, leaked] = [true, 0, 0];
        const reloads = (async () => {
          // A fast machine is done with its reloads before there were packets enough to tell anything.
          for (let i = 0; i < (harness.reloads ?? 60) || sent < 300; i++) await firewall.reconcile();
          reloading = false;
        })();
        while (reloading) {
          for (let i = 0; i < 5; i++, sent++) if (lab.connects(2, 1, "udp", 9)) leaked++;
          await new Promise((resolve) => setImmediate(resolve));
        }
        await reloads;
        expect(leaked).toBe(0);
      }),
    );
  });
}
