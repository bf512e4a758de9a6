import { describe, expect, it } from "vitest";
import { MemorySecurityGroupSource } from "../../../src/firewall/index.js";
import {
  checkFilteredInstance,
  checkMembers,
  checkProviderRules,
  checkSecurityGroup,
} from "../../../src/firewall/policy/validate-security-group.js";

const ssh = { direction: "ingress", ipVersion: 4, protocol: "tcp", portFrom: 22, portTo: 22 } as const;
const check = (rule: object): unknown => checkSecurityGroup({ id: "web", rules: [rule] }, "web");

describe("a security group", () => {
  it.each([
    ssh,
    { direction: "egress", ipVersion: 6 },
    { direction: "ingress", ipVersion: 4, protocol: "icmp", icmpType: 8, icmpCode: 0 },
    { direction: "ingress", ipVersion: 6, protocol: "icmp", icmpType: 128 },
    { direction: "ingress", ipVersion: 4, protocol: 47 },
    { ...ssh, portTo: undefined },
    { ...ssh, remote: { cidr: "10.0.0.0/8" } },
    { ...ssh, remote: { groupId: "bastions" } },
  ])("may have the rule %j", (rule) => expect(check(rule)).toMatchObject({ id: "web" }));

  it.each([
    [{ ...ssh, portFrom: 23 }, "securityGroup.rules[0].portTo"],
    [{ ...ssh, portFrom: 70_000 }, "securityGroup.rules[0].portFrom"],
    [{ ...ssh, protocol: "tcp; flush ruleset" }, "securityGroup.rules[0].protocol"],
    [{ ...ssh, protocol: 256 }, "securityGroup.rules[0].protocol"],
    [{ ...ssh, protocol: "icmp" }, "securityGroup.rules[0].portFrom"],
    [{ ...ssh, protocol: undefined }, "securityGroup.rules[0].portFrom"],
    [{ ...ssh, icmpType: 8 }, "securityGroup.rules[0].icmpType"],
    [{ direction: "ingress", ipVersion: 4, protocol: "icmp", icmpCode: 8 }, "securityGroup.rules[0].icmpCode"],
    [{ ...ssh, remote: { cidr: "fd00::/8" } }, "securityGroup.rules[0].remote.cidr"],
    [{ ...ssh, remote: { cidr: "10.0.0.0/8 accept" } }, "securityGroup.rules[0].remote.cidr"],
    [{ ...ssh, remote: { groupId: "a b" } }, "securityGroup.rules[0].remote.groupId"],
    [{ ...ssh, direction: "in" }, "securityGroup.rules[0].direction"],
    [{ ...ssh, comment: "x" }, "securityGroup.rules[0].comment"],
  ])("may not have the rule %j", (rule, field) =>
    expect(() => check(rule)).toThrow(expect.objectContaining({ field }) as Error),
  );

  it("is the one that was asked for", () => {
    expect(() => checkSecurityGroup({ id: "other", rules: [] }, "web")).toThrow(
      expect.objectContaining({ field: "securityGroup.id" }) as Error,
    );
  });
});

describe("members and provider rules", () => {
  it("are addresses, not text", () => {
    expect(checkMembers([{ addresses: ["10.0.0.1", "fd00::/64"] }], "members")).toHaveLength(1);
    expect(() => checkMembers([{ addresses: ["10.0.0.1, 10.0.0.2"] }], "members")).toThrow(
      expect.objectContaining({ field: "members[0].addresses[0]" }) as Error,
    );
    expect(() => checkProviderRules([{ ipVersion: 6, cidr: "10.0.0.0/8" }], "rules")).toThrow(
      expect.objectContaining({ field: "rules[0].cidr" }) as Error,
    );
  });
});

describe("an instance to be filtered", () => {
  const port = { id: "p1", macAddress: "52:54:00:00:00:01", deviceName: "tap0", bridge: "br0" };
  const instance = { uuid: "0b7cbf0c-9a3f-4d3e-9c52-0a52c1a0f6a1", name: "web" };

  it("keeps what a firewall needs of its ports", () => {
    const fixedIps = [{ address: "10.0.0.1", subnetId: "s" }];
    const subnets = [{ cidr: "10.0.0.0/24", dnsServers: ["10.0.0.53"], dhcpServer: "10.0.0.2" }];
    const checked = checkFilteredInstance({ ...instance, ports: [{ ...port, fixedIps, subnets }] }, "instance");
    expect(checked.ports[0]).toMatchObject({
      fixedIps: [{ address: "10.0.0.1" }],
      subnets: [{ cidr: "10.0.0.0/24", dhcpServer: "10.0.0.2" }],
    });
  });

  it.each([
    [{ ...port, deviceName: 'tap0"' }, "instance.ports[0].deviceName"],
    [{ ...port, deviceName: "-j" }, "instance.ports[0].deviceName"],
    [{ ...port, bridge: "br 0" }, "instance.ports[0].bridge"],
    [{ ...port, macAddress: "ff:ff:ff:ff:ff:ff" }, "instance.ports[0].macAddress"],
    [{ ...port, fixedIps: [{ address: "10.0.0.1/24" }] }, "instance.ports[0].fixedIps[0].address"],
    [{ ...port, allowedAddressPairs: [{ address: "any" }] }, "instance.ports[0].allowedAddressPairs[0].address"],
    [{ ...port, securityGroups: ["$x"] }, "instance.ports[0].securityGroups[0]"],
  ])("may not have the port %j", (bad, field) =>
    expect(() => checkFilteredInstance({ ...instance, ports: [bad] }, "instance")).toThrow(
      expect.objectContaining({ field }) as Error,
    ),
  );
});

describe("groups in memory", () => {
  it("tell which groups a change concerns", async () => {
    const source = new MemorySecurityGroupSource();
    source.setGroup({ id: "web", rules: [ssh] });
    expect(source.setMember("p1", { addresses: ["10.0.0.1"] }, ["web", "db"])).toEqual(["web", "db"]);
    expect(await source.members("web")).toEqual([{ addresses: ["10.0.0.1"] }]);
    expect(source.setMember("p1", { addresses: ["10.0.0.2"] }, ["db"])).toEqual(["db", "web"]);
    expect(await source.members("web")).toEqual([]);
    expect(source.deleteMember("p1")).toEqual(["db"]);
    expect(await source.securityGroup("web")).toMatchObject({ rules: [ssh] });
    source.deleteGroup("web");
    expect(await source.securityGroup("web")).toBeUndefined();
    source.setProviderRules([{ ipVersion: 4, cidr: "192.0.2.0/24" }]);
    expect(await source.providerRules()).toHaveLength(1);
  });
});
