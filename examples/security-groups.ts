/** What security groups become on a host: prints it for each driver, and touches nothing. */
import { IptablesFirewallDriver, MemorySecurityGroupSource, NftablesFirewallDriver } from "hypervise/firewall";
import type { FilteredInstance } from "hypervise/firewall";

const groups = new MemorySecurityGroupSource();
groups.setGroup({
  id: "web",
  rules: [
    { direction: "ingress", ipVersion: 4, protocol: "tcp", portFrom: 443 },
    { direction: "ingress", ipVersion: 6, protocol: "tcp", portFrom: 443 },
    { direction: "ingress", ipVersion: 4, protocol: "icmp", icmpType: 8 },
    { direction: "ingress", ipVersion: 4, protocol: "tcp", portFrom: 22, remote: { groupId: "admins" } },
  ],
});
groups.setGroup({ id: "admins", rules: [] });
groups.setMember("9a1f0c52-5b5e-4d4e-8a0b-6a4cf1f0a001", { addresses: ["10.0.0.5"] }, ["admins"]);

const instance: FilteredInstance = {
  uuid: "0b7cbf0c-9a3f-4d3e-9c52-0a52c1a0f6a1",
  name: "web-1",
  ports: [
    {
      id: "7b4f9c7e-14a1-4a3f-8a55-3a9c1f6b2d10",
      macAddress: "52:54:00:12:34:56",
      deviceName: "tap7b4f9c7e-14",
      bridge: "br0",
      fixedIps: [{ address: "10.0.0.7" }],
      subnets: [{ cidr: "10.0.0.0/24", dhcpServer: "10.0.0.1" }],
      securityGroups: ["web"],
    },
  ],
};

for (const firewall of [new NftablesFirewallDriver({ groups }), new IptablesFirewallDriver({ groups })])
  console.log(`${firewall.constructor.name}\n${await firewall.plan(instance)}`);
