/** VIFs as compute drivers take them, made of what the store has. Pure. */
import type { FixedIpRecord, Network, VirtualInterface } from "../ipam/network.js";
import type { Subnet, Vif } from "../vif.js";

/** Nova's `network_info` of one VIF; undefined when its network has no bridge. */
export function vifOf(
  vif: VirtualInterface,
  network: Network,
  ips: readonly FixedIpRecord[],
  hostAddress: string | undefined,
): Vif | undefined {
  if (network.bridge === undefined) return undefined;
  const own = ips.filter((ip) => ip.vifId === vif.id && ip.allocated).sort((a, b) => a.version - b.version);
  return {
    type: "bridge",
    id: vif.id,
    macAddress: vif.address,
    bridge: network.bridge,
    network: {
      id: network.id,
      label: network.label,
      ...(network.mtu === undefined ? {} : { mtu: network.mtu }),
      subnets: subnetsOf(network, hostAddress),
    },
    fixedIps: own.map(({ address }) => ({ address })),
    ...(vif.securityGroups === undefined ? {} : { securityGroups: vif.securityGroups }),
    ...(vif.tag === undefined ? {} : { tag: vif.tag }),
  };
}

function subnetsOf(network: Network, hostAddress: string | undefined): readonly Subnet[] {
  const { cidr, gateway, dhcpServer, cidrV6, gatewayV6, ipv6Mode, dnsServers, multiHost, shareAddress } = network;
  const subnets: Subnet[] = [];
  // Where each host serves its own guests it has an address of its own, or the one that all have.
  const common = dhcpServer ?? gateway;
  const server = multiHost && !shareAddress ? hostAddress : common;
  const router = multiHost ? (server ?? gateway) : gateway;
  if (cidr !== undefined)
    subnets.push({
      cidr,
      ...(router === undefined ? {} : { gateway: router }),
      dnsServers: dnsServers.filter((address) => !address.includes(":")),
      ...(server === undefined || !network.enableDhcp ? {} : { dhcpServer: server }),
    });
  if (cidrV6 !== undefined)
    subnets.push({
      cidr: cidrV6,
      ...(gatewayV6 === undefined ? {} : { gateway: gatewayV6 }),
      dnsServers: dnsServers.filter((address) => address.includes(":")),
      // Addresses that are drawn are told by DHCPv6; the others guests make themselves.
      ...(gatewayV6 === undefined || ipv6Mode !== "random" ? {} : { dhcpServer: gatewayV6 }),
    });
  return subnets;
}
