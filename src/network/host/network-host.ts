/** What the network layer does on one host, for those who decide what is to be there: devices, gateway addresses, DHCP, NAT. */

export interface NetworkHostOptions {
  readonly signal?: AbortSignal | undefined;
}

/** One subnet as its host serves it. */
export interface HostSubnet {
  /** IPv4 or IPv6 CIDR. */
  readonly cidr: string;
  /** The guests' default gateway. Set on the host's device when `hostAddress` equals it. */
  readonly gateway?: string;
  /** The address of this host in the subnet: gateway and DHCP server for its guests; absent: the host has none. */
  readonly hostAddress?: string;
  readonly dnsServers?: readonly string[];
  /** First address that DHCP gives out; absent: no DHCP. */
  readonly dhcpStart?: string;
  /** IPv6 only: guests make their own addresses from router advertisements. */
  readonly slaac?: boolean;
}

/** One network as a host is asked to have it. */
export interface HostNetwork {
  /** 1 to 64 characters of `[A-Za-z0-9._-]`. */
  readonly id: string;
  /** 1 to 15 characters. */
  readonly bridge: string;
  /** Device that carries the network between hosts: joined to the bridge, or the parent of the VLAN device. Absent: the network ends at this host. */
  readonly parentInterface?: string;
  /** 1 to 4094; absent: the parent itself is joined to the bridge. */
  readonly vlan?: number;
  /** Bytes. */
  readonly mtu?: number;
  readonly subnets: readonly HostSubnet[];
  /** DNS domain that DHCP hands out. */
  readonly domain?: string;
  /** Each host has the same gateway address, which must not be heard between them (Nova's `share_address`). */
  readonly sharedAddress?: boolean;
  /** This host routes between the network and others. */
  readonly routed?: boolean;
  /** A VPN server among the guests, reached by a port of the host's public address. */
  readonly vpn?: { readonly publicAddress: string; readonly publicPort: number; readonly privateAddress: string };
}

/** What DHCP and DNS know of one guest's NIC. */
export interface DhcpHost {
  readonly macAddress: string;
  /** IPv4 and IPv6 addresses. */
  readonly addresses: readonly string[];
  /** Host name without a domain, 1 to 63 characters of `[a-z0-9-]`. */
  readonly hostname?: string;
  /** Id of the VIF. */
  readonly vifId: string;
  /** False: the NIC learns no default gateway from this network. Default true. */
  readonly defaultGateway?: boolean;
}

export interface DhcpLease {
  readonly macAddress: string;
  readonly address: string;
  /** Milliseconds since the epoch; absent: it does not end. */
  readonly expiresAt?: number;
  readonly hostname?: string;
}

export type DhcpLeaseEvent =
  | { readonly type: "leased" | "released"; readonly networkId: string; readonly lease: DhcpLease }
  | { readonly type: "overflow"; readonly dropped: number };

/** A public address that stands for a fixed one. */
export interface FloatingForward {
  readonly floatingAddress: string;
  readonly fixedAddress: string;
  readonly networkId: string;
  /** Device that the public address is bound to; absent: the host's public one. */
  readonly publicInterface?: string;
}

/** All that is asked is idempotent; on failure the host is as before. */
export interface NetworkHost {
  /** Name of the host, as records name it. */
  readonly name: string;
  /** Takes up what an earlier process left, and what applies to every network: NAT for the fixed range, metadata. */
  start(options?: NetworkHostOptions): Promise<void>;
  /** Lets go of processes and watches; what guests need goes on. */
  close(): Promise<void>;

  /** Devices, addresses, forwarding, DHCP with exactly these hosts. Called again it changes what differs. */
  setUpNetwork(network: HostNetwork, hosts: readonly DhcpHost[], options?: NetworkHostOptions): Promise<void>;
  /** Success when it is not set up. */
  tearDownNetwork(networkId: string, options?: NetworkHostOptions): Promise<void>;
  listNetworks(): Promise<readonly string[]>;

  /** Adds a DHCP host or replaces the one of the same MAC address. */
  setDhcpHost(networkId: string, host: DhcpHost, options?: NetworkHostOptions): Promise<void>;
  /** Success when there is none. */
  removeDhcpHost(networkId: string, macAddress: string, options?: NetworkHostOptions): Promise<void>;
  leases(networkId: string, options?: NetworkHostOptions): Promise<readonly DhcpLease[]>;
  /** Makes the DHCP server forget a lease; success when there is none. */
  releaseLease(
    networkId: string,
    lease: Pick<DhcpLease, "macAddress" | "address">,
    options?: NetworkHostOptions,
  ): Promise<void>;
  /** Leases given and ended, from the call on. */
  leaseEvents(options?: NetworkHostOptions): AsyncIterableIterator<DhcpLeaseEvent>;

  /** Binds a floating address here and forwards it, replacing where it led to. */
  addFloating(forward: FloatingForward, options?: NetworkHostOptions): Promise<void>;
  /** Success when it is not here; flows through it are cut. */
  removeFloating(floatingAddress: string, options?: NetworkHostOptions): Promise<void>;
  listFloating(): Promise<readonly FloatingForward[]>;
}
