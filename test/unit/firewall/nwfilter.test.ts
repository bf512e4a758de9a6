import { describe, expect, it } from "vitest";
import { MemoryStateStore, VirtualClock } from "../../../src/core/index.js";
import { MemorySecurityGroupSource, NwfilterFirewallDriver, nwfilterReference } from "../../../src/firewall/index.js";
import type {
  FilteredInstance,
  FilteredPort,
  FirewallError,
  NwfilterFirewallOptions,
} from "../../../src/firewall/index.js";
import { groupName, isPortName, portName } from "../../../src/firewall/nwfilter/names.js";
import { parseRules } from "../../../src/firewall/nwfilter/rule-counters.js";
import { rejection } from "../libvirt/support/fake-peer.js";
import { FakeNwfilterDaemon, quietCommands } from "./support-nwfilter.js";

const PORT = "hypervise-instance-web1-525400000001";
const ingress = { direction: "ingress" } as const;
const egress = { direction: "egress" } as const;
const tcp = (port: number) => ({ ipVersion: 4, protocol: "tcp", portFrom: port }) as const;

/** The one interface that is everywhere. */
function instance(port: Partial<FilteredPort> = {}): FilteredInstance {
  return {
    uuid: "00000000-0000-4000-8000-000000000001",
    name: "web1",
    ports: [
      {
        id: "port-1",
        macAddress: "52:54:00:00:00:01",
        deviceName: "lo",
        fixedIps: [{ address: "10.0.0.5" }, { address: "fd00::5" }],
        subnets: [{ cidr: "10.0.0.0/24", dhcpServer: "10.0.0.2" }],
        securityGroups: ["web"],
        ...port,
      },
    ],
  };
}

interface Lab {
  readonly daemon: FakeNwfilterDaemon;
  readonly groups: MemorySecurityGroupSource;
  readonly firewall: NwfilterFirewallDriver;
  make(options?: Partial<NwfilterFirewallOptions>): NwfilterFirewallDriver;
  filter(filtered?: FilteredInstance): Promise<void>;
}

async function lab(options: Partial<NwfilterFirewallOptions> = {}): Promise<Lab> {
  const daemon = await FakeNwfilterDaemon.start();
  const groups = new MemorySecurityGroupSource();
  groups.setGroup({ id: "web", rules: [{ ...ingress, ...tcp(80) }], egress: "rules" });
  const make = (more: Partial<NwfilterFirewallOptions> = {}): NwfilterFirewallDriver =>
    new NwfilterFirewallDriver({ groups, libvirt: daemon.client, commands: quietCommands(), ...options, ...more });
  const firewall = make();
  const filter = async (filtered = instance()): Promise<void> => {
    await firewall.setupBasicFiltering(filtered);
    await firewall.prepareInstanceFilter(filtered);
    await firewall.applyInstanceFilter(filtered);
  };
  return { daemon, groups, firewall, make, filter };
}

const fails = (code: string): Error => expect.objectContaining({ code }) as Error;

describe("the filters of libvirt", () => {
  it("say what a port may do, in libvirt's words", async () => {
    const { groups, firewall } = await lab({ allowSameNetwork: true });
    groups.setMember("other", { addresses: ["10.0.0.8", "10.0.0.9", "10.0.0.10", "fd00::8"] }, ["peers"]);
    groups.setProviderRules([
      { ipVersion: 4, protocol: "tcp", portFrom: 25, cidr: "192.0.2.0/24" },
      { ipVersion: 4, protocol: 47, cidr: "192.0.2.0/24" },
    ]);
    groups.setGroup({
      id: "web",
      rules: [
        { ...ingress, ipVersion: 4 },
        { ...ingress, ipVersion: 4, protocol: "tcp", portFrom: 8000, portTo: 8010 },
        { ...ingress, ipVersion: 6, protocol: "udp", portFrom: 53, remote: { cidr: "2001:db8::/32" } },
        { ...ingress, ipVersion: 4, protocol: "icmp", icmpType: 8, icmpCode: 0 },
        { ...ingress, ipVersion: 6, protocol: "icmp", icmpType: 128 },
        { ...ingress, ...tcp(5432), remote: { groupId: "peers" } },
        { ...ingress, ipVersion: 6, protocol: "tcp", portFrom: 5432, remote: { groupId: "peers" } },
        { ...ingress, ...tcp(9), remote: { groupId: "nobody" } },
        { ...ingress, ipVersion: 4, protocol: 47, remote: { cidr: "198.51.100.0/24" } },
        { ...ingress, ipVersion: 6, protocol: "dccp", portFrom: 5, portTo: 7 },
        ...(["sctp", 50, 51, 2, "udplite"] as const).map(
          (protocol) => ({ ...egress, ipVersion: 4, protocol }) as const,
        ),
        { ...egress, ipVersion: 6, protocol: "sctp", portFrom: 7, remote: { cidr: "::/0" } },
      ],
      egress: "rules",
    });
    await firewall.refreshProviderFirewallRules();
    const text = await firewall.plan(
      instance({
        allowedAddressPairs: [{ address: "10.1.0.0/24", macAddress: "00:00:5e:00:01:0a" }],
        subnets: [
          { cidr: "10.0.0.0/24", dhcpServer: "10.0.0.2" },
          { cidr: "fd00::/64", dhcpServer: "fd00::2" },
        ],
      }),
    );
    await expect(text.replace(/comment="[0-9a-f]{16}"/, 'comment="mark"')).toMatchFileSnapshot(
      "nwfilter/all-kinds.xml",
    );
  });

  it("have names that say whose they are, and that nothing from outside can make another's", () => {
    expect(groupName("hv", "b7f1")).toBe("hv-secgroup-b7f1");
    expect(portName("hv", "instance-00000001", "FA:16:3E:00:00:01")).toBe("hv-instance-instance-00000001-fa163e000001");
    const long = groupName("hv", "x".repeat(255));
    expect(long).toMatch(/^hv-secgrouphash-[0-9a-f]{32}$/);
    expect(portName("hv", "../../etc/passwd", "fa:16:3e:00:00:01")).toMatch(
      /^hv-instancehash-[0-9a-f]{32}-fa163e000001$/,
    );
    expect(isPortName("hv", groupName("hv", "instance-x"))).toBe(false);
  });

  it("are referred to by the domain's interface", () => {
    const [port] = instance().ports as [FilteredPort];
    expect(nwfilterReference(instance(), port)).toEqual({ name: PORT });
    expect(nwfilterReference(instance(), port, "mine")).toEqual({ name: "mine-instance-web1-525400000001" });
    expect(nwfilterReference(instance(), { ...port, portSecurityEnabled: false })).toBeUndefined();
    expect(() => nwfilterReference(instance(), port, "a/b")).toThrow(fails("INVALID_ARGUMENT"));
  });
});

describe("the nwfilter driver", () => {
  it("shuts a port before it is bound, and opens it when its groups are there", async () => {
    const { daemon, firewall } = await lab();
    await firewall.setupBasicFiltering(instance());
    const order = daemon.changes.slice(-2);
    expect(order).toEqual([`define ${PORT}`, `bind lo ${PORT}`]);
    expect(daemon.references(PORT)).not.toContain("hypervise-secgroup-web");
    expect(daemon.references(PORT)).toContain("hypervise-closed");
    daemon.changes.length = 0;
    await firewall.prepareInstanceFilter(instance());
    expect(daemon.changes).toContain("define hypervise-secgroup-web");
    expect(daemon.changes).not.toContain(`define ${PORT}`);
    daemon.changes.length = 0;
    const uuid = daemon.filters.get(PORT)?.uuid;
    await firewall.applyInstanceFilter(instance());
    expect(daemon.changes).toEqual([`define ${PORT}`]);
    expect(daemon.filters.get(PORT)?.uuid).toBe(uuid);
    expect(daemon.references(PORT)).toContain("hypervise-secgroup-web");
    daemon.changes.length = 0;
    await firewall.unfilterInstance(instance());
    expect(daemon.changes).toEqual([
      "unbind lo",
      `undefine ${PORT}`,
      "undefine hypervise-secgroup-web",
      "undefine hypervise-untracked4-web",
      "undefine hypervise-untracked6-web",
    ]);
    await firewall.remove();
    expect(daemon.filters.size).toBe(0);
  });

  it("sends no more than what has changed", async () => {
    const { daemon, groups, firewall, filter } = await lab();
    await filter();
    daemon.changes.length = 0;
    groups.setGroup({ id: "web", rules: [{ ...ingress, ...tcp(81) }], egress: "rules" });
    await firewall.refreshSecurityGroupRules("web");
    await firewall.refreshSecurityGroupRules("web");
    expect(daemon.changes).toEqual(["define hypervise-secgroup-web"]);
    daemon.changes.length = 0;
    await firewall.refreshInstanceSecurityRules(instance({ fixedIps: [{ address: "10.0.0.6" }] }));
    expect(daemon.changes).toEqual([`define ${PORT}`]);
  });

  it("puts back what it has changed when libvirt refuses a part", async () => {
    const { daemon, groups, firewall, filter } = await lab();
    await filter();
    const before = new Map(daemon.filters);
    groups.setGroup({ id: "new", rules: [{ ...ingress, ...tcp(22) }] });
    let refusals = 1;
    daemon.refuses = (change) => change === `define ${PORT}` && refusals-- > 0;
    const error = await rejection(firewall.refreshInstanceSecurityRules(instance({ securityGroups: ["web", "new"] })));
    expect(error).toMatchObject({ code: "FIREWALL_FAILED" });
    expect((error as FirewallError).undoErrors).toEqual([]);
    expect(new Map(daemon.filters)).toEqual(before);
    await firewall.refreshInstanceSecurityRules(instance({ securityGroups: ["web", "new"] }));
    expect(daemon.references(PORT)).toContain("hypervise-secgroup-new");
  });

  it("waits for a domain to let go of its filter, and gives up without having changed anything", async () => {
    const clock = new VirtualClock({ autoAdvance: true });
    const { daemon, firewall, filter } = await lab({ bindings: "domain", clock });
    await filter(instance({ deviceName: "nosuch0" }));
    expect(daemon.bindings.size).toBe(0);
    daemon.bindings.set("vnet0", PORT);
    const before = new Map(daemon.filters);
    await expect(firewall.unfilterInstance(instance())).rejects.toThrow(fails("BUSY"));
    expect(clock.monotonic()).toBeGreaterThanOrEqual(10_000);
    expect(new Map(daemon.filters)).toEqual(before);
    expect(await firewall.instanceFilterExists(instance())).toBe(true);
    daemon.bindings.clear();
    daemon.busy.set(PORT, 3);
    await firewall.unfilterInstance(instance());
    expect(daemon.filters.has(PORT)).toBe(false);
  });

  it("makes anew what somebody else has taken out", async () => {
    const { daemon, firewall, filter } = await lab();
    await filter();
    daemon.bindings.clear();
    daemon.filters.delete(PORT);
    await firewall.refreshInstanceSecurityRules(instance({ fixedIps: [{ address: "10.0.0.7" }] }));
    expect([...daemon.bindings]).toEqual([["lo", PORT]]);
    expect(daemon.filters.has(PORT)).toBe(true);
  });

  it("has libvirt make all rules anew when it reconciles, and not when a new process takes over", async () => {
    const state = new MemoryStateStore();
    const { daemon, firewall, make, filter } = await lab({ state });
    await filter();
    const mark = () => daemon.filter("hypervise-base").rule?.find(({ mac }) => mac?.comment !== undefined)?.mac;
    const first = mark();
    expect(first).toBeDefined();
    daemon.bindings.set("gone0", "hypervise-instance-old-525400000009");
    const second = make();
    expect(await second.instanceFilterExists(instance())).toBe(true);
    expect(mark()).toEqual(first);
    expect([...daemon.bindings]).toEqual([["lo", PORT]]);
    await second.reconcile();
    expect(mark()).not.toEqual(first);
    await firewall.close();
    expect((await daemon.client.listAllNwFilters()).length).toBeGreaterThan(0);
  });

  it("refuses what it could not keep apart, or could not filter", async () => {
    const { groups, firewall, filter } = await lab();
    const [port] = instance().ports as [FilteredPort];
    const twins = { ...instance(), ports: [port, { ...port, id: "port-2" }] };
    await expect(firewall.setupBasicFiltering(twins)).rejects.toThrow(fails("INVALID_ARGUMENT"));
    const namesake = { ...instance(), uuid: "00000000-0000-4000-8000-000000000002" };
    await filter();
    await expect(firewall.setupBasicFiltering(namesake)).rejects.toThrow(fails("CONFLICT"));
    const absent = { ...instance({ deviceName: "nosuch0" }), uuid: "00000000-0000-4000-8000-000000000003", name: "b" };
    await expect(firewall.setupBasicFiltering(absent)).rejects.toThrow(fails("FIREWALL_FAILED"));
    groups.setGroup({ id: "web", rules: [{ ...ingress, ipVersion: 4, protocol: "udplite", portFrom: 5 }] });
    await expect(firewall.refreshSecurityGroupRules("web")).rejects.toThrow(fails("NOT_SUPPORTED"));
    await expect(firewall.groupCounter("web")).rejects.toThrow(fails("NOT_SUPPORTED"));
  });

  it("tells of libvirt's end as of any failure of a firewall", async () => {
    const { daemon, firewall, filter } = await lab();
    await filter();
    daemon.peer.hangUp();
    await expect(firewall.unfilterInstance(instance())).rejects.toThrow(fails("FIREWALL_FAILED"));
    await expect(firewall.reconcile()).rejects.toThrow(fails("FIREWALL_FAILED"));
  });

  it("keeps packets in libvirt's chains while libvirt replaces its jumps to them", async () => {
    const commands = quietCommands();
    const { filter, firewall } = await lab({ commands });
    await filter(instance({ securityGroups: undefined as unknown as string[] }));
    expect(commands.calls.filter((call) => call.includes("libvirt-in"))).toEqual([]);
    await filter();
    const comment = "-m comment --comment hypervise: while libvirt replaces its own";
    expect(commands.calls).toContain(`iptables -w -C FORWARD ${comment} -j libvirt-in`);
    expect(commands.calls).toContain(`ip6tables -w -C INPUT ${comment} -j libvirt-host-in`);
    expect(firewall).toBeDefined();
  });

  it("reads counters from the rules that libvirt made", () => {
    const text = [
      "-N FO-tap0",
      "-A FO-tap0 -m conntrack --ctstate RELATED,ESTABLISHED -c 9 900 -j ACCEPT",
      "-A FO-tap0 -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -c 2 120 -j ACCEPT",
      "-A FO-tap0 -c 3 180 -j DROP",
    ].join("\n");
    expect(parseRules(text)).toEqual([
      { target: "ACCEPT", isReply: true, packets: 9n, bytes: 900n },
      { target: "ACCEPT", isReply: false, packets: 2n, bytes: 120n },
      { target: "DROP", isReply: false, packets: 3n, bytes: 180n },
    ]);
  });
});
