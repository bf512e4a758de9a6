import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { planNetworks } from "../../../../src/network/index.js";
import type { Network, NetworkRequest, NetworkTopology } from "../../../../src/network/index.js";
import { contains, overlaps, parseAddress, parseCidr } from "../../../../src/network/ipam/address.js";

const FLAT: NetworkTopology = { vlans: false, bottomReserved: 2, topReserved: 1, required: ["bridge"] };
const VLAN: NetworkTopology = { vlans: true, bottomReserved: 3, topReserved: 1, required: ["bridgeInterface"] };

let ids = 0;
const newId = (): string => `id-${++ids}`;

function plan(
  request: Partial<NetworkRequest>,
  topology = FLAT,
  existing: readonly Network[] = [],
): readonly Network[] {
  const needed = topology === FLAT ? { bridge: "br100" } : { bridgeInterface: "eth1" };
  return planNetworks({ label: "net", ...needed, ...request }, { topology, existing, newId, now: 7 });
}

const existing = (cidr: string, more: Partial<Network> = {}): Network => ({ ...plan({ cidr })[0]!, cidr, ...more });
const cidrs = (networks: readonly Network[]): readonly (string | undefined)[] => networks.map(({ cidr }) => cidr);

describe("planning flat networks", () => {
  it("gives one network the first address as gateway and the second to DHCP", () => {
    expect(plan({ cidr: "192.168.0.0/24", networkSize: 256 })).toEqual([
      {
        id: expect.any(String) as string,
        label: "net",
        bridge: "br100",
        multiHost: false,
        injected: false,
        enableDhcp: true,
        shareAddress: false,
        dnsServers: [],
        cidr: "192.168.0.0/24",
        netmask: "255.255.255.0",
        broadcast: "192.168.0.255",
        gateway: "192.168.0.1",
        dhcpServer: "192.168.0.1",
        dhcpStart: "192.168.0.2",
        reserved: [
          { first: "192.168.0.0", last: "192.168.0.1" },
          { first: "192.168.0.255", last: "192.168.0.255" },
          { first: "192.168.0.1", last: "192.168.0.1" },
        ],
        createdAt: 7,
      },
    ]);
  });

  it("cuts several networks, numbered", () => {
    const networks = plan({ cidr: "10.0.0.0/8", numNetworks: 3, networkSize: 16 });
    expect(cidrs(networks)).toEqual(["10.0.0.0/28", "10.0.0.16/28", "10.0.0.32/28"]);
    expect(networks.map(({ label }) => label)).toEqual(["net_0", "net_1", "net_2"]);
    expect(networks.map(({ gateway, dhcpStart }) => [gateway, dhcpStart])[2]).toEqual(["10.0.0.33", "10.0.0.34"]);
  });

  it("rounds sizes up to a power of two, and takes what there is for each where none is named", () => {
    expect(cidrs(plan({ cidr: "10.0.0.0/8", networkSize: 100 }))).toEqual(["10.0.0.0/25"]);
    expect(cidrs(plan({ cidr: "10.0.0.0/8" }))).toEqual(["10.0.0.0/24"]);
    expect(cidrs(plan({ cidr: "10.0.0.0/27" }))).toEqual(["10.0.0.0/27"]);
    expect(cidrs(plan({ cidr: "10.0.0.0/24", numNetworks: 3 }))).toEqual([
      "10.0.0.0/26",
      "10.0.0.64/26",
      "10.0.0.128/26",
    ]);
  });

  it("passes over networks that are taken, and puts those in their place last", () => {
    const used = [existing("10.0.1.0/24")];
    expect(cidrs(plan({ cidr: "10.0.0.0/22", numNetworks: 2, networkSize: 256 }, FLAT, used))).toEqual([
      "10.0.0.0/24",
      "10.0.2.0/24",
    ]);
    const both = [existing("10.0.0.0/24"), existing("10.0.2.0/24")];
    expect(cidrs(plan({ cidr: "10.0.0.0/22", numNetworks: 2, networkSize: 256 }, FLAT, both))).toEqual([
      "10.0.1.0/24",
      "10.0.3.0/24",
    ]);
  });

  it("passes over a network with a smaller one in it", () => {
    expect(cidrs(plan({ cidr: "10.0.0.0/22", networkSize: 256 }, FLAT, [existing("10.0.0.64/26")]))).toEqual([
      "10.0.1.0/24",
    ]);
  });

  it.each([
    ["nothing is left", "10.0.0.0/24", [existing("10.0.0.0/24")]],
    ["it is inside a larger one", "10.0.0.0/24", [existing("10.0.0.0/16")]],
    ["all siblings are taken", "10.0.0.0/23", [existing("10.0.0.0/24"), existing("10.0.1.0/25")]],
  ])("refuses when %s", (_, cidr, used) => {
    expect(() => plan({ cidr, networkSize: 256 }, FLAT, used)).toThrow(
      expect.objectContaining({ code: "NETWORK_CONFLICT", field: "request.cidr" }) as Error,
    );
  });

  it("takes gateway, DHCP server and the allowed span from the request", () => {
    const [network] = plan({
      cidr: "10.0.0.0/24",
      gateway: "10.0.0.254",
      dhcpServer: "10.0.0.10",
      allowedStart: "10.0.0.10",
      allowedEnd: "10.0.0.20",
    });
    expect(network).toMatchObject({ gateway: "10.0.0.254", dhcpServer: "10.0.0.10", dhcpStart: "10.0.0.11" });
    expect(network?.reserved).toEqual([
      { first: "10.0.0.0", last: "10.0.0.9" },
      { first: "10.0.0.21", last: "10.0.0.255" },
      { first: "10.0.0.254", last: "10.0.0.254" },
      { first: "10.0.0.10", last: "10.0.0.10" },
    ]);
  });

  it("gives out only the addresses of fixedCidr, whose ends are reserved", () => {
    const [network] = plan({ cidr: "10.0.0.0/16", networkSize: 65_536, fixedCidr: "10.0.9.0/28" });
    expect(network?.pool).toEqual({ first: "10.0.9.0", last: "10.0.9.15" });
    expect(network?.reserved).toEqual([
      { first: "10.0.9.0", last: "10.0.9.1" },
      { first: "10.0.9.15", last: "10.0.9.15" },
    ]);
  });

  it("cuts IPv6 in networks of at most 64 bits", () => {
    const networks = plan({ cidr: "10.0.0.0/23", cidrV6: "fd00::/48", numNetworks: 2, networkSize: 256 });
    expect(networks.map(({ cidrV6, gatewayV6 }) => [cidrV6, gatewayV6])).toEqual([
      ["fd00::/64", "fd00::1"],
      ["fd00:0:0:1::/64", "fd00:0:0:1::1"],
    ]);
    const [other] = plan({ cidrV6: "fd00::/48" }, FLAT, networks);
    expect(other).toMatchObject({ cidrV6: "fd00:0:0:2::/64", ipv6Mode: "eui64" });
    expect(other?.cidr).toBeUndefined();
  });

  it.each<[string, Partial<NetworkRequest>]>([
    ["request.label", { cidr: "10.0.0.0/24", label: "" }],
    ["request.label", { cidr: "10.0.0.0/24", label: "x".repeat(256) }],
    ["request.cidr", {}],
    ["request.cidr", { cidr: "10.0.0.0/24;rm" }],
    ["request.cidr", { cidr: "10.0.0.0/24", numNetworks: 2, networkSize: 256 }],
    ["request.numNetworks", { cidr: "10.0.0.0/8", numNetworks: 0 }],
    ["request.numNetworks", { cidr: "10.0.0.0/8", numNetworks: 1.5 }],
    ["request.networkSize", { cidr: "10.0.0.0/8", networkSize: 2 }],
    ["request.networkSize", { cidr: "10.0.0.0/31" }],
    ["request.gateway", { cidr: "10.0.0.0/24", gateway: "10.0.1.1" }],
    ["request.gateway", { cidr: "10.0.0.0/16", numNetworks: 2, networkSize: 256, gateway: "10.0.0.1" }],
    ["request.dhcpServer", { cidr: "10.0.0.0/24", dhcpServer: "10.0.1.1" }],
    ["request.allowedStart", { cidr: "10.0.0.0/24", allowedStart: "10.9.0.1" }],
    ["request.allowedEnd", { cidr: "10.0.0.0/24", allowedStart: "10.0.0.9", allowedEnd: "10.0.0.8" }],
    ["request.fixedCidr", { cidr: "10.0.0.0/24", fixedCidr: "10.0.1.0/28" }],
    ["request.bridge", { cidr: "10.0.0.0/24", bridge: "a bridge" }],
    ["request.bridge", { cidr: "10.0.0.0/24", bridge: "bridge-too-long-for-linux" }],
    ["request.dnsServers[0]", { cidr: "10.0.0.0/24", dnsServers: ["8.8.8.8\nserver"] }],
    ["request.domain", { cidr: "10.0.0.0/24", domain: "a_b\n" }],
    ["request.mtu", { cidr: "10.0.0.0/24", mtu: 10 }],
    ["request.vlan", { cidr: "10.0.0.0/24", vlan: 5 }],
    ["request.cidrV6", { cidrV6: "fd00::/96" }],
    ["request.cidrV6", { cidrV6: "fd00::/63", numNetworks: 3 }],
    ["request.gatewayV6", { cidrV6: "fd00::/64", gatewayV6: "fd01::1" }],
    ["request.id", { cidr: "10.0.0.0/8", numNetworks: 2, id: "7b4d1c3e-8a5f-4c55-9a52-c6c7f0a1b2c3" }],
    ["request.projectId", { cidr: "10.0.0.0/24", projectId: "../x" }],
  ])("refuses %s in %j", (field, request) => {
    expect(() => plan(request)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", field }) as Error);
  });

  it("needs a bridge", () => {
    expect(() =>
      planNetworks({ label: "a", cidr: "10.0.0.0/24" }, { topology: FLAT, existing: [], newId, now: 0 }),
    ).toThrow(expect.objectContaining({ field: "request.bridge" }) as Error);
  });
});

describe("planning VLAN networks", () => {
  it("numbers VLANs and VPN ports, and keeps an address for the VPN server", () => {
    const networks = plan({ cidr: "10.0.0.0/8", numNetworks: 2, networkSize: 16 }, VLAN);
    expect(networks).toMatchObject([
      { vlan: 100, bridge: "br100", vpnPublicPort: 1000, vpnPrivateAddress: "10.0.0.2", dhcpStart: "10.0.0.3" },
      { vlan: 101, bridge: "br101", vpnPublicPort: 1001, vpnPrivateAddress: "10.0.0.18", dhcpStart: "10.0.0.19" },
    ]);
    expect(networks[0]?.reserved?.slice(0, 2)).toEqual([
      { first: "10.0.0.0", last: "10.0.0.2" },
      { first: "10.0.0.15", last: "10.0.0.15" },
    ]);
    const [next] = plan({ cidr: "10.0.0.0/8", networkSize: 16 }, VLAN, networks);
    expect(next).toMatchObject({ vlan: 102, vpnPublicPort: 1002, cidr: "10.0.0.32/28" });
  });

  it("takes the VLAN behind the highest where its own is taken", () => {
    const used = [existing("172.16.0.0/24", { vlan: 102 }), existing("172.16.1.0/24", { vlan: 110 })];
    expect(plan({ cidr: "10.0.0.0/24", networkSize: 16 }, VLAN, used)[0]?.vlan).toBe(111);
    expect(plan({ cidr: "10.0.0.0/24", networkSize: 16, vlan: 7 }, VLAN, used)[0]?.vlan).toBe(7);
  });

  it.each<[string, Partial<NetworkRequest>, string]>([
    [
      "request.vlanStart",
      { cidr: "10.0.0.0/8", vlanStart: 4_000, numNetworks: 95, networkSize: 16 },
      "INVALID_ARGUMENT",
    ],
    ["request.vlan", { cidr: "10.0.0.0/8", vlan: 4_095 }, "INVALID_ARGUMENT"],
    ["request.vlan", { cidr: "10.0.0.0/8", vlan: 0 }, "INVALID_ARGUMENT"],
    ["request.vlan", { cidr: "10.0.0.0/8", vlan: 5, numNetworks: 2, networkSize: 16 }, "INVALID_ARGUMENT"],
    ["request.vpnStart", { cidr: "10.0.0.0/8", vpnStart: 65_535, numNetworks: 2, networkSize: 16 }, "INVALID_ARGUMENT"],
    ["request.cidr", { cidrV6: "fd00::/64" }, "INVALID_ARGUMENT"],
    ["request.vlan", { cidr: "10.0.0.0/24", vlan: 9 }, "NETWORK_CONFLICT"],
  ])("refuses %s in %j", (field, request, code) => {
    const used = [existing("172.16.0.0/24", { vlan: 9 })];
    expect(() => plan(request, VLAN, used)).toThrow(expect.objectContaining({ code, field }) as Error);
  });
});

describe("planning networks of any kind", () => {
  it("never overlaps what is there, keeps gateway and DHCP apart from guests, and gives nobody a VLAN twice", () => {
    const request = fc.record({
      prefix: fc.integer({ min: 8, max: 26 }),
      base: fc.integer({ min: 0, max: 15 }),
      numNetworks: fc.integer({ min: 1, max: 6 }),
      networkSize: fc.integer({ min: 4, max: 512 }),
      vlans: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(request, { minLength: 1, maxLength: 12 }), (requests) => {
        const made: Network[] = [];
        for (const { prefix, base, numNetworks, networkSize, vlans } of requests) {
          const topology = vlans ? VLAN : FLAT;
          try {
            made.push(...plan({ cidr: `10.${base}.0.0/${prefix}`, numNetworks, networkSize }, topology, made));
          } catch (error) {
            expect(["INVALID_ARGUMENT", "NETWORK_CONFLICT"]).toContain((error as { code?: string }).code);
          }
        }
        const ranges = made.map(({ cidr }) => parseCidr(cidr, "cidr"));
        for (const [at, range] of ranges.entries())
          for (const other of ranges.slice(at + 1)) expect(overlaps(range, other)).toBe(false);
        for (const [at, network] of made.entries()) {
          for (const address of [network.gateway, network.dhcpServer, network.dhcpStart])
            expect(contains(ranges[at]!, parseAddress(address, "address"))).toBe(true);
          expect(network.dhcpStart).not.toBe(network.dhcpServer);
        }
        const vlans = made.flatMap(({ vlan }) => vlan ?? []);
        expect(new Set(vlans).size).toBe(vlans.length);
      }),
      { numRuns: 200 },
    );
  });
});
