/** What is kept of networks. */
import type { Ipv6Mode } from "./ipv6-address.js";

/** Both ends included. */
export interface AddressSpan {
  readonly first: string;
  readonly last: string;
}

/** A network as the store keeps it: a row of Nova's `networks`. */
export interface Network {
  /** UUID. */
  readonly id: string;
  /** 1 to 255 characters. */
  readonly label: string;
  /** Whose it is; absent: it is shared, or nobody's yet. */
  readonly projectId?: string;
  /** The host that serves it, when each host does not serve its own guests (`multiHost`). */
  readonly host?: string;
  /** Each host is gateway and DHCP server for its own guests. */
  readonly multiHost: boolean;
  readonly bridge?: string;
  readonly bridgeInterface?: string;
  /** 1 to 4094. */
  readonly vlan?: number;
  /** Bytes. */
  readonly mtu?: number;
  /** Guests get their addresses written into their images. */
  readonly injected: boolean;
  /** Networks of a guest are in ascending order of it. */
  readonly priority?: number;
  readonly cidr?: string;
  readonly netmask?: string;
  readonly broadcast?: string;
  readonly gateway?: string;
  readonly dhcpServer?: string;
  readonly dhcpStart?: string;
  readonly enableDhcp: boolean;
  /** Every host has the same gateway address. */
  readonly shareAddress: boolean;
  /** The addresses to be given out; absent: all of `cidr`. */
  readonly pool?: AddressSpan;
  /** Addresses of the pool that are never given out. */
  readonly reserved?: readonly AddressSpan[];
  readonly cidrV6?: string;
  readonly gatewayV6?: string;
  readonly ipv6Mode?: Ipv6Mode;
  readonly dnsServers: readonly string[];
  /** DNS domain of its guests. */
  readonly domain?: string;
  readonly vpnPublicAddress?: string;
  readonly vpnPublicPort?: number;
  readonly vpnPrivateAddress?: string;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
}

/** A virtual interface: a row of Nova's `virtual_interfaces`. */
export interface VirtualInterface {
  /** UUID. */
  readonly id: string;
  /** MAC address; no two VIFs have one in common. */
  readonly address: string;
  readonly networkId: string;
  readonly instanceUuid: string;
  readonly projectId: string;
  /** The host that the instance is on. */
  readonly host: string;
  /** Place among the instance's VIFs. */
  readonly position: number;
  /** Which of the instance's VIFs on the same network. */
  readonly ordinal: number;
  /** DNS label of the instance, for DHCP. */
  readonly hostname?: string;
  readonly tag?: string;
  /** Ids of its security groups; absent: none apply. */
  readonly securityGroups?: readonly string[];
  readonly createdAt: number;
}

/** A fixed address: a row of Nova's `fixed_ips`, made when the address is first used. */
export interface FixedIpRecord {
  readonly address: string;
  readonly networkId: string;
  readonly version: 4 | 6;
  /** Bound to this VIF; no other can have it. */
  readonly vifId?: string;
  readonly instanceUuid?: string;
  readonly projectId?: string;
  /** The instance uses it. False with a `vifId`: given back, but not free before the lease or the time-out has ended. */
  readonly allocated: boolean;
  /** A DHCP client holds it. */
  readonly leased: boolean;
  /** Never given out. */
  readonly reserved: boolean;
  /** A host's own address in a network that each host serves (`multiHost`). */
  readonly host?: string;
  /** Milliseconds since the epoch. */
  readonly updatedAt: number;
}

/** A range of floating addresses. */
export interface FloatingRange {
  /** CIDR. */
  readonly cidr: string;
  readonly pool: string;
  /** Public device of the hosts. */
  readonly interface?: string;
  /** First and last address that are given out. */
  readonly first: string;
  readonly last: string;
}

/** A floating address: a row of Nova's `floating_ips`, made when the address is first used. */
export interface FloatingIp {
  readonly address: string;
  readonly pool: string;
  readonly interface?: string;
  readonly projectId?: string;
  /** What it stands for. */
  readonly fixedAddress?: string;
  /** The host that forwards it. */
  readonly host?: string;
  /** It was given with an instance, and goes with it; quotas don't count it. */
  readonly autoAssigned: boolean;
  /** Its forwarding is being taken down: it stands for `fixedAddress` until that is done. */
  readonly releasing?: boolean;
  readonly updatedAt: number;
}
