import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  dhcpHostCheck,
  formatDhcpHost,
  formatDnsHost,
  parseDhcpHost,
} from "../../../../src/network/dhcp/dhcp-host-file.js";
import {
  checkPlainPath,
  dnsmasqConfig,
  dnsmasqOptions,
  leaseScript,
} from "../../../../src/network/dhcp/dnsmasq-config.js";
import { macOfDuid, parseLeases } from "../../../../src/network/dhcp/lease-file.js";
import { parseSpoolLine } from "../../../../src/network/dhcp/lease-spool.js";
import { checkFloatingForward, checkHostNetwork } from "../../../../src/network/host/check-host-network.js";
import type { HostNetwork } from "../../../../src/network/host/network-host.js";
import { settingsOf } from "../../../../src/network/host/linux-network-host-options.js";
import { fullScript } from "../../../../src/network/linux/nat-script.js";

const VIF = "11111111-1111-4111-8111-111111111111";
const network: HostNetwork = {
  id: "net-1",
  bridge: "br1",
  mtu: 1400,
  domain: "cloud.example",
  subnets: [
    {
      cidr: "10.0.0.0/24",
      gateway: "10.0.0.1",
      hostAddress: "10.0.0.1",
      dhcpStart: "10.0.0.2",
      dnsServers: ["9.9.9.9"],
    },
    { cidr: "10.1.0.0/24", hostAddress: "10.1.0.1", dhcpStart: "10.1.0.2" },
    { cidr: "fd00::/64", hostAddress: "fd00::1", dhcpStart: "fd00::2", slaac: true },
    { cidr: "10.2.0.0/24" },
  ],
};
const paths = {
  ...{ config: "/d/conf", options: "/d/options", dhcpHosts: "/d/dhcp", dnsHosts: "/d/dns", commonDnsHosts: "/c" },
  ...{ leases: "/d/leases", pid: "/d/pid", log: "/d/log", script: "/d/script" },
};

describe("dnsmasq's files", () => {
  it("are a configuration that a change of restarts the server", () => {
    const config = dnsmasqConfig(network, paths, { leaseSeconds: 120, dnsForwarders: ["192.0.2.53"], user: "nobody" });
    expect(
      config.split("\n").filter((line) => /^(?:dhcp-range|interface|domain|local|server|enable-ra|user)/.test(line)),
    ).toEqual([
      "interface=br1",
      "domain=cloud.example",
      "local=/cloud.example/",
      "server=192.0.2.53",
      "dhcp-range=set:n0,10.0.0.2,static,255.255.255.0,120s",
      "dhcp-range=set:n1,10.1.0.2,static,255.255.255.0,120s",
      "dhcp-range=set:n2,fd00::2,static,slaac,64,120s",
      "enable-ra",
      "user=nobody",
    ]);
  });

  it("are options that it reads again", () => {
    expect(dnsmasqOptions(network)).toBe(`tag:n0,tag:!nogateway,option:router,10.0.0.1
tag:n0,option:dns-server,9.9.9.9
tag:n1,option:router
tag:nogateway,option:router
option:mtu,1400
`);
  });

  it("are hosts that are read back as they were", () => {
    const host = { macAddress: "fa:16:3e:00:00:01", addresses: ["10.0.0.5", "fd00::5"], hostname: "web", vifId: VIF };
    expect(formatDhcpHost(host)).toContain("\nfa:16:3e:00:00:01,10.0.0.5,[fd00::5],web\n");
    expect(parseDhcpHost(formatDhcpHost(host))).toEqual(host);
    expect(formatDhcpHost({ ...host, defaultGateway: false })).toContain("\nfa:16:3e:00:00:01,set:nogateway,");
    expect(formatDnsHost(host, "cloud.example")).toBe(
      "10.0.0.5 web.cloud.example web\nfd00::5 web.cloud.example web\n",
    );
    expect(parseDhcpHost("fa:16:3e:00:00:01,ignore\n")).toBeUndefined();
    expect(() => parseDhcpHost("# {}\n")).toThrow(expect.objectContaining({ code: "STATE_CORRUPT" }));
  });

  it("take no name or address that would say more than itself", () => {
    const host = { macAddress: "fa:16:3e:00:00:01", addresses: ["10.0.0.5"], vifId: VIF };
    for (const hostname of ["a,ignore", "a\nb", "#a", "A", "a.b", "-a", "a-", "", "x".repeat(64), "$(x)"])
      expect(() => dhcpHostCheck({ ...host, hostname }, "host")).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", field: "host.hostname" }),
      );
    for (const change of [
      { macAddress: "01:00:5e:00:00:01" },
      { addresses: ["10.0.0.5/8"] },
      { addresses: ["::1%lo"] },
      { vifId: "x" },
    ])
      expect(() => dhcpHostCheck({ ...host, ...change }, "host")).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    for (const path of ["/a b", "/a'b", "a/b", "/a/../b", "/a\nb", "/a//b", "/a/", "/ä"])
      expect(() => checkPlainPath(path, "directory")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(leaseScript("net-1", "/d/spool")).toContain(" net-1 ");
  });
});

describe("a network for a host", () => {
  it.each<readonly [string, Record<string, unknown>]>([
    ["network.id", { id: "../x" }],
    ["network.id", { id: "a b" }],
    ["network.bridge", { bridge: "br1; reboot" }],
    ["network.bridge", { bridge: "a-name-too-long-x" }],
    ["network.parentInterface", { parentInterface: "-j" }],
    ["network.parentInterface", { parentInterface: "br1" }],
    ["network.vlan", { vlan: 7 }],
    ["network.vlan", { parentInterface: "eth0", vlan: 4095 }],
    ["network.mtu", { mtu: 1 }],
    ["network.domain", { domain: "a\nserver=6.6.6.6" }],
    ["network.subnets[0].cidr", { subnets: [{ cidr: "10.0.0.0/33" }] }],
    ["network.subnets[0].hostAddress", { subnets: [{ cidr: "10.0.0.0/24", hostAddress: "10.0.1.1" }] }],
    ["network.subnets[0].dhcpStart", { subnets: [{ cidr: "10.0.0.0/24", dhcpStart: "fd00::1" }] }],
    ["network.subnets[0].slaac", { subnets: [{ cidr: "10.0.0.0/24", slaac: true }] }],
    ["network.subnets[0].cidr", { subnets: [{ cidr: "fd00::/80", slaac: true }] }],
    ["network.vpn.publicPort", { vpn: { publicAddress: "192.0.2.1", publicPort: 0, privateAddress: "10.0.0.2" } }],
    ["network.unknown", { unknown: 1 }],
  ])("is refused by %s when that can't be", (field, change) => {
    const bad = { id: "net-1", bridge: "br1", subnets: [], ...change } as unknown as HostNetwork;
    expect(() => checkHostNetwork(bad)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", field }));
  });

  it("has floating addresses of one version alone", () => {
    const forward = { floatingAddress: "192.0.2.1", fixedAddress: "fd00::1", networkId: "net-1" };
    expect(() => checkFloatingForward(forward)).toThrow(expect.objectContaining({ field: "forward.fixedAddress" }));
  });

  it.each<readonly [string, Record<string, unknown>]>([
    ["directory", { directory: "/tmp/with space" }],
    ["netns", { netns: "a/b" }],
    ["publicInterface", { publicInterface: "eth0 up" }],
    ["tableName", { tableName: "a b" }],
    ["dnsmasqUser", { dnsmasqUser: "root\nx" }],
    ["fixedRanges[0]", { fixedRanges: ["10.0.0.0/8 }"] }],
    ["snatExceptions[0]", { snatExceptions: ["x"] }],
    ["metadata.port", { metadata: { address: "127.0.0.1", port: 70000 } }],
    ["timeouts.stopMs", { timeouts: { stopMs: 0 } }],
  ])("is not served by a host whose option %s can't be", (field, change) => {
    expect(() => settingsOf({ name: "h", directory: "/tmp/h", ...change })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field }),
    );
  });
});

describe("rules of packets", () => {
  const rules = {
    ...{ fixedRanges: [], snatExceptions: [], routeBetweenNetworks: false, restrictHostAccess: false, networks: [] },
    floating: [],
  };

  it("never hold a text that is no address, name or number", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), (text) => {
        const attempt = (change: object): string | undefined => {
          try {
            return fullScript("hv", { ...rules, ...change }, "mark");
          } catch (error) {
            expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
            return undefined;
          }
        };
        for (const change of [
          { publicInterface: text },
          { routingSourceAddress: text, publicInterface: "eth0" },
          { fixedRanges: [text] },
          { floating: [{ floatingAddress: text, fixedAddress: text }] },
          { networks: [{ bridge: text, cidrs: [], routed: true }] },
        ]) {
          const script = attempt(change);
          if (script !== undefined) expect(script).not.toMatch(/["}]\s*\n\s*[^\n]*;\s*flush|\$\(|`/);
        }
      }),
    );
  });
});

describe("leases", () => {
  it("are read from dnsmasq's file, of both versions", () => {
    const text = `1795290667 fa:16:3e:00:00:01 10.1.0.5 web1 01:fa:16:3e:00:00:01
0 fa:16:3e:00:00:02 10.1.0.6 * *
duid 00:01:00:01:32:94:b2:33:be:94:5f:09:41:db
1795290700 251658241 fd00::5 web1 00:03:00:01:fa:16:3e:00:00:01
1795290700 T7 fd00::6 * ff:ff
broken
`;
    const leases = parseLeases(text, (address) => (address === "fd00::6" ? "fa:16:3e:00:00:06" : undefined));
    expect(leases).toMatchObject([
      { macAddress: "fa:16:3e:00:00:01", address: "10.1.0.5", expiresAt: 1_795_290_667_000, hostname: "web1" },
      { macAddress: "fa:16:3e:00:00:02", address: "10.1.0.6" },
      { macAddress: "fa:16:3e:00:00:01", address: "fd00::5", version6: { iaid: "251658241" } },
      { macAddress: "fa:16:3e:00:00:06", address: "fd00::6", version6: { iaid: "7" } },
    ]);
    expect(leases[1]).not.toHaveProperty("expiresAt");
    expect(macOfDuid("00:01:00:01:32:94:b2:33:be:94:5f:09:41:db")).toBe("be:94:5f:09:41:db");
    expect(macOfDuid("00:02:00:00")).toBeUndefined();
  });

  it("are told of by lines, of which those of no sense are passed over", () => {
    const macOf = (): undefined => undefined;
    expect(parseSpoolLine("add net-1 fa:16:3e:00:00:01 10.1.0.5 1795290667 web1", macOf)).toEqual({
      type: "leased",
      networkId: "net-1",
      lease: { macAddress: "fa:16:3e:00:00:01", address: "10.1.0.5", expiresAt: 1_795_290_667_000, hostname: "web1" },
    });
    expect(parseSpoolLine("del net-1 fa:16:3e:00:00:01 10.1.0.5 0 -", macOf)).toMatchObject({ type: "released" });
    for (const line of [
      "",
      "old net-1 fa:16:3e:00:00:01 10.1.0.5 0 -",
      "add net-1 - 10.1.0.5 0 -",
      "add net-1 fa:16:3e:00:00:01 10.1.0.5 x -",
      "add a b c d e f g",
    ])
      expect(parseSpoolLine(line, macOf)).toBeUndefined();
  });
});
