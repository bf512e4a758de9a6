/** A network and its guests as one host is to have them. Pure. */
import { addressAt, formatAddress, parseCidr } from "../ipam/address.js";
import type { FixedIpRecord, Network, VirtualInterface } from "../ipam/network.js";
import type { DhcpHost, HostNetwork, HostSubnet } from "../host/network-host.js";

export interface HostView {
  /** The host is gateway and DHCP server for guests of the network. */
  readonly serves: boolean;
  /** Its IPv4 address there. */
  readonly hostAddress?: string | undefined;
  /** Public address of VPN servers whose network names none. */
  readonly vpnAddress?: string | undefined;
}

/** Where DHCPv6 begins in a prefix. */
const DHCPV6_START = 0x100;

/** @returns undefined when the network has no bridge: there is nothing that a host could make */
export function hostNetworkOf(network: Network, view: HostView): HostNetwork | undefined {
  const { bridge, bridgeInterface, vlan, mtu, domain } = network;
  if (bridge === undefined) return undefined;
  const subnets = [v4Subnet(network, view), v6Subnet(network, view)].filter((subnet) => subnet !== undefined);
  const publicAddress = network.vpnPublicAddress ?? view.vpnAddress;
  const { vpnPrivateAddress: privateAddress, vpnPublicPort: publicPort } = network;
  const hasVpn = view.hostAddress !== undefined && publicAddress !== undefined && privateAddress !== undefined;
  return {
    id: network.id,
    bridge,
    ...(bridgeInterface === undefined ? {} : { parentInterface: bridgeInterface }),
    ...(vlan === undefined ? {} : { vlan }),
    ...(mtu === undefined ? {} : { mtu }),
    subnets,
    ...(domain === undefined ? {} : { domain }),
    ...(network.shareAddress ? { sharedAddress: true } : {}),
    routed: view.serves,
    ...(hasVpn && publicPort !== undefined ? { vpn: { publicAddress, publicPort, privateAddress } } : {}),
  };
}

function v4Subnet(network: Network, { hostAddress }: HostView): HostSubnet | undefined {
  if (network.cidr === undefined) return undefined;
  // Where each host serves its own guests, it is their gateway too.
  const gateway = network.multiHost && hostAddress !== undefined ? hostAddress : network.gateway;
  return {
    cidr: network.cidr,
    ...(gateway === undefined ? {} : { gateway }),
    dnsServers: network.dnsServers.filter((server) => !server.includes(":")),
    ...(hostAddress === undefined ? {} : { hostAddress }),
    ...(hostAddress === undefined || !network.enableDhcp || network.dhcpStart === undefined
      ? {}
      : { dhcpStart: network.dhcpStart }),
  };
}

function v6Subnet(network: Network, view: HostView): HostSubnet | undefined {
  if (network.cidrV6 === undefined) return undefined;
  const serves = view.serves && network.gatewayV6 !== undefined;
  const start = formatAddress(addressAt(parseCidr(network.cidrV6, "cidrV6", 6), DHCPV6_START));
  return {
    cidr: network.cidrV6,
    ...(network.gatewayV6 === undefined ? {} : { gateway: network.gatewayV6 }),
    dnsServers: network.dnsServers.filter((server) => server.includes(":")),
    ...(serves ? { hostAddress: network.gatewayV6 } : {}),
    ...(!serves ? {} : network.ipv6Mode === "random" ? { dhcpStart: start } : { slaac: true }),
  };
}

/** What DHCP is to know of a VIF; undefined when it has no address. */
export function dhcpHostOf(
  vif: VirtualInterface,
  addresses: readonly FixedIpRecord[],
  options: { readonly singleDefaultGateway: boolean },
): DhcpHost | undefined {
  const allocated = addresses.filter((ip) => ip.allocated && ip.vifId === vif.id).map((ip) => ip.address);
  if (allocated.length === 0) return undefined;
  return {
    macAddress: vif.address,
    addresses: allocated.sort((a, b) => Number(a.includes(":")) - Number(b.includes(":"))),
    ...(vif.hostname === undefined ? {} : { hostname: vif.hostname }),
    vifId: vif.id,
    ...(options.singleDefaultGateway && vif.position > 0 ? { defaultGateway: false } : {}),
  };
}
