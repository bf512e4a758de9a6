/** What a host's tables do with its guests' packets, as data: addresses translated, networks kept apart, gateways kept to one host. */

/** Where instance metadata is served. */
export interface MetadataTarget {
  readonly address: string;
  readonly port: number;
}

export interface NetworkRules {
  readonly bridge: string;
  /** CIDRs of the guests. */
  readonly cidrs: readonly string[];
  /** The host routes between the network and others. */
  readonly routed: boolean;
  /** The gateway's addresses are on other hosts too: keep them, and DHCP, from crossing this device. */
  readonly isolation?: { readonly device: string; readonly addresses: readonly string[] };
  readonly vpn?: { readonly publicAddress: string; readonly publicPort: number; readonly privateAddress: string };
}

export interface FloatingRule {
  readonly floatingAddress: string;
  readonly fixedAddress: string;
}

export interface PacketRules {
  /** Guests' CIDRs beside those of the networks here, which leave by the same source address. */
  readonly fixedRanges: readonly string[];
  /** Device that leads outside. Absent: nothing is translated on the way out but what has a floating address. */
  readonly publicInterface?: string;
  /** Source address of what leaves; absent: the device's own. */
  readonly routingSourceAddress?: string;
  /** CIDRs that guests are seen at by their own addresses. */
  readonly snatExceptions: readonly string[];
  readonly metadata?: MetadataTarget;
  /** False: packets are not forwarded from one routed network of this host to another, other than by floating addresses. */
  readonly routeBetweenNetworks: boolean;
  /** True: guests reach DHCP, DNS, echo and metadata of this host and nothing else. */
  readonly restrictHostAccess: boolean;
  readonly networks: readonly NetworkRules[];
  readonly floating: readonly FloatingRule[];
}
