import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostNetwork } from "../../../../src/network/host/network-host.js";
import { NO_EFFECTS, planHostNetwork, planNoHostNetwork } from "../../../../src/network/host/plan-host-network.js";
import { parseHostState } from "../../../../src/network/linux/host-state.js";
import type { HostLink, HostState } from "../../../../src/network/linux/host-state.js";
import { NetworkPlan } from "../../../../src/network/linux/network-plan.js";
import { undoOf, wordsOf } from "../../../../src/network/linux/network-step.js";
import type { NetworkStep } from "../../../../src/network/linux/network-step.js";
import {
  gatewayAddress,
  planGatewayAddresses,
  planPublicAddress,
} from "../../../../src/network/linux/plan-addresses.js";
import { planBridge, planJoin, planTapPort, planVeth, planVlan } from "../../../../src/network/linux/plan-devices.js";

const ETH0: HostLink = {
  name: "eth0",
  macAddress: "52:54:00:12:34:56",
  mtu: 1500,
  up: true,
  addresses: [
    { version: 4, address: "192.0.2.10/24", scope: "global", broadcast: "192.0.2.255", dynamic: false },
    { version: 6, address: "2001:db8::10/64", scope: "global", dynamic: false },
    { version: 6, address: "fe80::1/64", scope: "link", dynamic: false },
  ],
};

function host(...links: readonly HostLink[]): HostState {
  return {
    links: new Map([{ name: "lo", up: true, addresses: [] }, ...links].map((link) => [link.name, link])),
    routes: [
      { version: 4, destination: "default", device: "eth0", gateway: "192.0.2.1", protocol: "static" },
      { version: 4, destination: "198.18.0.0/15", device: "eth0", scope: "link", protocol: "static", metric: 7 },
      { version: 6, destination: "default", device: "eth0", gateway: "2001:db8::1" },
    ],
    multipath: new Set(),
  };
}

const network: HostNetwork = {
  id: "net-1",
  bridge: "br7",
  parentInterface: "eth0",
  vlan: 7,
  mtu: 1450,
  subnets: [
    { cidr: "10.0.0.0/24", hostAddress: "10.0.0.1" },
    { cidr: "fd00:7::/64", hostAddress: "fd00:7::1" },
  ],
};

describe("a plan of devices", () => {
  it("makes a bridge that forwards at once", () => {
    const plan = new NetworkPlan(host());
    planBridge(plan, "br1", { macAddress: "fa:16:3e:00:00:01", mtu: 1400, alias: "net:1" });
    expect(plan.text).toBe(
      "ip link add name br1 type bridge forward_delay 0 stp_state 0\n" +
        "ip link set dev br1 mtu 1400 address fa:16:3e:00:00:01 alias net:1 up\n",
    );
  });

  it("makes a VLAN device and its bridge, and gives the bridge its addresses", () => {
    const plan = new NetworkPlan(host(ETH0));
    const effects = planHostNetwork(plan, network, NO_EFFECTS);
    expect(plan.text.split("\n").filter((line) => !line.startsWith("ip link set dev br7 mtu"))).toEqual([
      "ip link add name br7 type bridge forward_delay 0 stp_state 0",
      "ip link add link eth0 name vlan7 type vlan id 7",
      "ip link set dev vlan7 mtu 1450 alias hypervise-net:net-1 up",
      "ip link set dev br7 address 52:54:00:12:34:56",
      "ip link set dev vlan7 master br7",
      "ip address add 10.0.0.1/24 broadcast + dev br7",
      "ip address add fd00:7::1/64 dev br7 nodad",
      "",
    ]);
    expect(effects).toMatchObject({ made: ["br7", "vlan7"], joined: { port: "vlan7" } });
    const again = new NetworkPlan(plan.state);
    expect(planHostNetwork(again, network, effects)).toEqual(effects);
    expect(again.text).toBe("");
  });

  it("moves addresses and routes onto a bridge before it takes them from the port", () => {
    const plan = new NetworkPlan(host(ETH0));
    planBridge(plan, "br1");
    planJoin(plan, "br1", "eth0");
    expect(plan.text).toBe(`ip link add name br1 type bridge forward_delay 0 stp_state 0
ip link set dev br1 up
ip link set dev br1 address 52:54:00:12:34:56
ip link set dev eth0 master br1
ip address add 192.0.2.10/24 broadcast 192.0.2.255 dev br1
ip address add 2001:db8::10/64 dev br1 nodad
ip route replace default via 192.0.2.1 dev br1 proto static
ip route replace 198.18.0.0/15 dev br1 scope link proto static metric 7
ip route replace ::/0 via 2001:db8::1 dev br1
ip address delete 192.0.2.10/24 dev eth0
ip address delete 2001:db8::10/64 dev eth0
`);
  });

  it("puts the DHCP server's address first, and leaves the others and the routes", () => {
    const plan = new NetworkPlan(host({ ...ETH0, name: "br1", kind: "bridge" }));
    planGatewayAddresses(plan, "br1", [gatewayAddress("10.0.0.1", "10.0.0.0/24")]);
    expect(plan.text).toBe(
      "ip address delete 192.0.2.10/24 dev br1\n" +
        "ip address add 10.0.0.1/24 broadcast + dev br1\n" +
        "ip address add 192.0.2.10/24 broadcast 192.0.2.255 dev br1\n",
    );
  });

  it("makes ports: veth pairs and TAPs", () => {
    const plan = new NetworkPlan(host({ name: "br1", kind: "bridge", up: true, addresses: [] }));
    planVeth(plan, "v0", "v1", { mtu: 1400 });
    planTapPort(plan, "tap0", { bridge: "br1", multiQueue: true, owner: 107, macAddress: "fe:16:3e:00:00:01" });
    expect(plan.text).toBe(`ip link add name v0 type veth peer name v1
ip link set dev v0 mtu 1400 up
ip link set dev v1 mtu 1400 up
ip tuntap add dev tap0 mode tap user 107 multi_queue vnet_hdr
ip link set dev tap0 address fe:16:3e:00:00:01 addrgenmode none master br1 up
`);
  });

  it.each<readonly [string, (plan: NetworkPlan) => void]>([
    ["a bridge whose name is another device's", (plan) => planBridge(plan, "eth0")],
    ["a port that is not there", (plan) => void planJoin(plan, "br1", "eth9")],
    ["a port of another bridge", (plan) => void planJoin(plan, "br2", "taken")],
    ["a VLAN of a parent that is not there", (plan) => planVlan(plan, "vlan7", { parent: "eth9", vlan: 7 })],
    ["a VLAN device whose name is another's", (plan) => planVlan(plan, "eth0", { parent: "eth0", vlan: 7 })],
  ])("refuses %s", (_, fill) => {
    const plan = new NetworkPlan(host(ETH0, { name: "taken", master: "br1", up: true, addresses: [] }));
    expect(() => fill(plan)).toThrow(expect.objectContaining({ code: "NETWORK_HOST_FAILED" }));
  });

  it.each<readonly [string, (plan: NetworkPlan) => void]>([
    ["names", (plan) => planBridge(plan, "br 1")],
    ["names that are options", (plan) => planBridge(plan, "-batch")],
    ["names with line breaks", (plan) => planBridge(plan, "br1\nlink")],
    ["aliases", (plan) => planBridge(plan, "br1", { alias: 'x" up\nlink delete dev eth0' })],
    ["MAC addresses", (plan) => planBridge(plan, "br1", { macAddress: "01:00:00:00:00:00" })],
    ["VLANs", (plan) => planVlan(plan, "vlan5", { parent: "eth0", vlan: 4095 })],
    ["addresses", (plan) => planPublicAddress(plan, "eth0", "10.0.0.1/24/8")],
    ["addresses of odd spelling", (plan) => planPublicAddress(plan, "eth0", "010.0.0.1")],
    ["addresses with zones", (plan) => planPublicAddress(plan, "eth0", "fe80::1%eth0")],
  ])("refuses %s that are none", (_, fill) => {
    expect(() => fill(new NetworkPlan(host(ETH0)))).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("says no word that a batch would read as several, whatever the kernel's tables hold", () => {
    const step: NetworkStep = { kind: "replaceRoute", to: { version: 4, destination: "default", device: "x\nlink" } };
    expect(() => wordsOf(step)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

/** Every prefix of a plan, undone, leaves the host as it was, so far as a plan knows. */
describe("undoing a plan", () => {
  const networks = fc.record({
    vlan: fc.option(fc.integer({ min: 1, max: 4094 }), { nil: undefined }),
    mtu: fc.option(fc.integer({ min: 1280, max: 1500 }), { nil: undefined }),
    joins: fc.boolean(),
    address: fc.boolean(),
  });

  it("from any point leads back", () => {
    fc.assert(
      fc.property(networks, fc.double({ min: 0, max: 1, noNaN: true }), ({ vlan, mtu, joins, address }, part) => {
        const { vlan: _vlan, mtu: _mtu, parentInterface: _parent, ...plain } = network;
        const before = host(ETH0);
        const plan = new NetworkPlan(before);
        planHostNetwork(
          plan,
          {
            ...plain,
            subnets: address ? plain.subnets : [],
            ...(joins ? { parentInterface: "eth0" } : {}),
            ...(joins && vlan !== undefined ? { vlan } : {}),
            ...(mtu === undefined ? {} : { mtu }),
          },
          NO_EFFECTS,
        );
        const done = plan.steps.slice(0, Math.floor(part * (plan.steps.length + 1)));
        const half = new NetworkPlan(before);
        half.add(...done);
        const state = half.state;
        half.add(...[...done].reverse().flatMap((step) => undoOf(step, state)));
        expect(normal(half.state)).toEqual(normal(before));
      }),
    );
  });

  it("that took everything away brings it back, and taking away what was set up leaves what was there before", () => {
    const before = host(ETH0);
    const up = new NetworkPlan(before);
    const flat: HostNetwork = { ...network, parentInterface: "eth0" };
    const { vlan: _, ...untagged } = flat;
    const effects = planHostNetwork(up, untagged, NO_EFFECTS);
    const down = new NetworkPlan(up.state);
    planNoHostNetwork(down, untagged, effects);
    expect(normal(down.state)).toEqual(normal(before));
  });
});

describe("the state of a host", () => {
  it("is read from what ip prints", () => {
    const addresses = JSON.stringify([
      {
        ...{ ifindex: 2, ifname: "vlan5", link: "eth0", flags: ["BROADCAST", "UP"], mtu: 1400, master: "br5" },
        ...{ address: "52:54:00:00:00:01", ifalias: "a", linkinfo: { info_kind: "vlan", info_data: { id: 5 } } },
        addr_info: [
          { family: "inet", local: "10.0.0.1", prefixlen: 24, broadcast: "10.0.0.255", scope: "global" },
          { family: "inet6", local: "fd00:0:0::1", prefixlen: 64, scope: "global", dynamic: true },
        ],
      },
    ]);
    const routes = JSON.stringify([
      { dst: "default", gateway: "10.0.0.254", dev: "vlan5", metric: 100, flags: ["onlink"] },
      { dst: "10.0.0.0/24", dev: "vlan5", protocol: "kernel", scope: "link" },
      { dst: "10.9.0.0/16", nexthops: [{ dev: "vlan5" }, { dev: "eth0" }] },
    ]);
    const state = parseHostState(addresses, routes, "");
    expect(state.links.get("vlan5")).toEqual({
      ...{ name: "vlan5", kind: "vlan", vlan: 5, parent: "eth0", master: "br5", mtu: 1400, alias: "a", up: true },
      macAddress: "52:54:00:00:00:01",
      addresses: [
        { version: 4, address: "10.0.0.1/24", broadcast: "10.0.0.255", scope: "global", dynamic: false },
        { version: 6, address: "fd00::1/64", scope: "global", dynamic: true },
      ],
    });
    expect(state.routes).toEqual([
      { version: 4, destination: "default", gateway: "10.0.0.254", device: "vlan5", metric: 100, onlink: true },
    ]);
    expect([...state.multipath]).toEqual(["vlan5", "eth0"]);
  });

  it("is refused when it is no list", () => {
    for (const text of ["{}", "no", "[1", "null"])
      expect(() => parseHostState(text, "", "")).toThrow(expect.objectContaining({ code: "STATE_CORRUPT" }));
  });
});

/** Order of addresses and routes is the kernel's affair; a MAC address that nobody has set it makes up. */
function normal(state: HostState): unknown {
  return {
    links: [...state.links.values()]
      .map((link) => ({ ...link, addresses: link.addresses.map(({ address }) => address).sort() }))
      .sort((one, other) => one.name.localeCompare(other.name)),
    routes: state.routes.map((route) => JSON.stringify(Object.entries(route).sort())).sort(),
  };
}
