/** What network managers are made with. */
import type { Clock } from "../../core/index.js";
import type { DnsDriver } from "../dns/dns-driver.js";
import type { NetworkHost } from "../host/network-host.js";
import type { NetworkStore } from "../store/network-store.js";
import type { HostDirectory } from "./network-peer.js";

export interface NetworkManagerOptions {
  readonly store: NetworkStore;
  /** The host that this manager runs on. */
  readonly host: NetworkHost;
  /** The managers of other hosts. Default: there are none. */
  readonly directory?: HostDirectory | undefined;
  readonly dns?: NetworkDnsOptions | undefined;
  readonly quotas?: NetworkQuotas | undefined;
  /** Pool of floating addresses where none is named. Default `nova`. */
  readonly defaultFloatingPool?: string | undefined;
  /** Each instance gets a floating address with its first fixed one. Default false. */
  readonly autoAssignFloatingIp?: boolean | undefined;
  /** A fixed address that was given back and whose lease never ended is free after this. Default 600000. */
  readonly fixedIpDisassociateTimeoutMs?: number | undefined;
  /** Default 5. */
  readonly createUniqueMacAddressAttempts?: number | undefined;
  /** Generates MAC addresses. Default: random ones that begin with `fa:16:3e`. */
  readonly newMacAddress?: (() => string) | undefined;
  /** DHCP is made to forget the leases of addresses that are given back, which are then free at once. Default true. */
  readonly forceDhcpRelease?: boolean | undefined;
  /** A host takes a network down with the last of its guests. Default false. */
  readonly teardownUnusedNetworks?: boolean | undefined;
  /** Only an instance's first VIF learns of a default gateway. Default false. */
  readonly useSingleDefaultGateway?: boolean | undefined;
  /** Public address of VPN servers whose network names none. */
  readonly vpnIp?: string | undefined;
  /** Addresses at the top of each VLAN network that are kept for VPN clients. Default 0. */
  readonly cntVpnClients?: number | undefined;
  /** Told when an instance has come to or gone from its security groups, or its addresses have changed. */
  readonly onMembersChanged?: ((change: MembersChange) => Promise<void>) | undefined;
  /** Told of what fails when nobody waits for it: lease events. Default: it is dropped. */
  readonly onBackgroundError?: ((error: Error) => void) | undefined;
  readonly clock?: Clock | undefined;
}

export interface NetworkDnsOptions {
  /** Takes the names of instances. */
  readonly instances?: DnsDriver | undefined;
  /** The domain that they are in; it must have been made. Without it instances have no names. */
  readonly instanceDomain?: string | undefined;
  /** Takes the names that projects give to floating addresses. */
  readonly floating?: DnsDriver | undefined;
}

/** -1: no limit. */
export interface NetworkQuotas {
  /** Default -1. */
  readonly fixedIps?: number | undefined;
  /** Without those that come with instances. Default 10. */
  readonly floatingIps?: number | undefined;
}

export interface MembersChange {
  readonly instanceUuid: string;
  /** Ids of the groups whose members changed. */
  readonly securityGroups: readonly string[];
}
