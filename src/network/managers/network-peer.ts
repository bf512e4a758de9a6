/** How managers of different hosts reach each other's hosts: the embedder's RPC, or a map in one process. */
import type { DhcpLease, NetworkHostOptions } from "../host/network-host.js";

/**
 * What a manager does for others on its host. Each call reads the state anew and brings the host in line with it, so that it
 * may come twice, late, or out of order.
 */
export interface NetworkPeer {
  /** Name of its host. */
  readonly name: string;
  /** The network with all of its guests: set up where it is to be on the host, torn down where not. */
  applyNetwork(networkId: string, options?: NetworkHostOptions): Promise<void>;
  /** What DHCP knows of one MAC address. */
  applyVif(networkId: string, macAddress: string, options?: NetworkHostOptions): Promise<void>;
  /** The forwarding of one floating address. */
  applyFloating(floatingAddress: string, options?: NetworkHostOptions): Promise<void>;
  /** Makes DHCP forget a lease. */
  releaseLease(
    networkId: string,
    lease: Pick<DhcpLease, "macAddress" | "address">,
    options?: NetworkHostOptions,
  ): Promise<void>;
  leases(networkId: string, options?: NetworkHostOptions): Promise<readonly DhcpLease[]>;
}

/** Finds the peers of other hosts. */
export interface HostDirectory {
  /** Undefined: there is no such host, or it is known to be dead. */
  remoteHost(name: string): Promise<NetworkPeer | undefined>;
}

/** Peers of one process, by name. */
export class LocalHostDirectory implements HostDirectory {
  readonly #peers = new Map<string, NetworkPeer>();

  add(peer: NetworkPeer): void {
    this.#peers.set(peer.name, peer);
  }

  remove(name: string): void {
    this.#peers.delete(name);
  }

  async remoteHost(name: string): Promise<NetworkPeer | undefined> {
    return this.#peers.get(name);
  }
}
