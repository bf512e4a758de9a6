/** A network host in memory: what it was asked to have, for tests of those who ask. */
import { ClosedError, ConflictError, EventHub, throwIfAborted } from "../../core/index.js";
import type {
  DhcpHost,
  DhcpLease,
  DhcpLeaseEvent,
  FloatingForward,
  HostNetwork,
  NetworkHost,
  NetworkHostOptions,
} from "../../network/index.js";

/** Methods of a host that change it. */
export type NetworkHostEffect =
  | "setUpNetwork"
  | "tearDownNetwork"
  | "setDhcpHost"
  | "removeDhcpHost"
  | "releaseLease"
  | "addFloating"
  | "removeFloating";

export interface FakeNetworkHostOptions {
  readonly name?: string;
  /** Called before each effect; what it throws or rejects with is what the effect fails with, and the host stays as it was. */
  readonly beforeEffect?: (effect: NetworkHostEffect, subject: string) => void | Promise<void>;
}

interface FakeNetwork {
  readonly network: HostNetwork;
  readonly hosts: Map<string, DhcpHost>;
  readonly leases: Map<string, DhcpLease>;
}

/**
 * {@link NetworkHost} that keeps what it was asked for. It refuses what a real host could not do either: a DHCP host on a
 * network that is not set up, an address that two MAC addresses have, two networks on one bridge.
 */
export class FakeNetworkHost implements NetworkHost {
  readonly name: string;
  readonly #beforeEffect: FakeNetworkHostOptions["beforeEffect"];
  readonly #networks = new Map<string, FakeNetwork>();
  readonly #floating = new Map<string, FloatingForward>();
  readonly #events = new EventHub<DhcpLeaseEvent>({ overflow: (dropped) => ({ type: "overflow", dropped }) });
  #started = false;

  constructor(options: FakeNetworkHostOptions = {}) {
    this.name = options.name ?? "host1";
    this.#beforeEffect = options.beforeEffect;
  }

  get started(): boolean {
    return this.#started;
  }

  async start(options: NetworkHostOptions = {}): Promise<void> {
    throwIfAborted(options.signal);
    this.#started = true;
  }

  async close(): Promise<void> {
    this.#started = false;
  }

  async setUpNetwork(
    network: HostNetwork,
    hosts: readonly DhcpHost[],
    options: NetworkHostOptions = {},
  ): Promise<void> {
    await this.#effect("setUpNetwork", network.id, options);
    for (const [id, other] of this.#networks)
      if (id !== network.id && other.network.bridge === network.bridge)
        throw new ConflictError(`the bridge ${network.bridge} is of another network`);
    checkAddresses(hosts);
    const leases = this.#networks.get(network.id)?.leases ?? new Map<string, DhcpLease>();
    this.#networks.set(network.id, {
      network,
      hosts: new Map(hosts.map((host) => [host.macAddress, host])),
      leases,
    });
  }

  async tearDownNetwork(networkId: string, options: NetworkHostOptions = {}): Promise<void> {
    await this.#effect("tearDownNetwork", networkId, options);
    this.#networks.delete(networkId);
  }

  async listNetworks(): Promise<readonly string[]> {
    return [...this.#networks.keys()].sort();
  }

  async setDhcpHost(networkId: string, host: DhcpHost, options: NetworkHostOptions = {}): Promise<void> {
    await this.#effect("setDhcpHost", host.macAddress, options);
    const network = this.#networks.get(networkId);
    if (network === undefined) throw new ConflictError("the network is not set up on the host");
    const others = [...network.hosts.values()].filter(({ macAddress }) => macAddress !== host.macAddress);
    checkAddresses([...others, host]);
    network.hosts.set(host.macAddress, host);
  }

  async removeDhcpHost(networkId: string, macAddress: string, options: NetworkHostOptions = {}): Promise<void> {
    await this.#effect("removeDhcpHost", macAddress, options);
    this.#networks.get(networkId)?.hosts.delete(macAddress);
  }

  async leases(networkId: string): Promise<readonly DhcpLease[]> {
    return [...(this.#networks.get(networkId)?.leases.values() ?? [])];
  }

  async releaseLease(
    networkId: string,
    lease: Pick<DhcpLease, "macAddress" | "address">,
    options: NetworkHostOptions = {},
  ): Promise<void> {
    await this.#effect("releaseLease", lease.address, options);
    if (this.#networks.get(networkId)?.leases.get(lease.address)?.macAddress === lease.macAddress)
      this.endLease(networkId, lease.address);
  }

  leaseEvents(options: NetworkHostOptions = {}): AsyncIterableIterator<DhcpLeaseEvent> {
    return this.#events.subscribe({ signal: options.signal });
  }

  async addFloating(forward: FloatingForward, options: NetworkHostOptions = {}): Promise<void> {
    await this.#effect("addFloating", forward.floatingAddress, options);
    this.#floating.set(forward.floatingAddress, forward);
  }

  async removeFloating(floatingAddress: string, options: NetworkHostOptions = {}): Promise<void> {
    await this.#effect("removeFloating", floatingAddress, options);
    this.#floating.delete(floatingAddress);
  }

  async listFloating(): Promise<readonly FloatingForward[]> {
    return [...this.#floating.values()];
  }

  /** The network as it was last set up; undefined when it is not. */
  network(networkId: string): HostNetwork | undefined {
    return this.#networks.get(networkId)?.network;
  }

  /** What DHCP knows on a network, by MAC address. */
  dhcpHosts(networkId: string): readonly DhcpHost[] {
    const hosts = [...(this.#networks.get(networkId)?.hosts.values() ?? [])];
    return hosts.sort((a, b) => (a.macAddress < b.macAddress ? -1 : 1));
  }

  /** A guest asks for an address and gets its first. @throws ConflictError when DHCP does not know it */
  giveLease(networkId: string, macAddress: string): DhcpLease {
    const network = this.#networks.get(networkId);
    const address = network?.hosts.get(macAddress)?.addresses[0];
    if (network === undefined || address === undefined) throw new ConflictError("DHCP has no address for the guest");
    const lease: DhcpLease = { macAddress, address };
    network.leases.set(address, lease);
    this.#events.publish({ type: "leased", networkId, lease });
    return lease;
  }

  /** A lease runs out, or its guest gives it back. */
  endLease(networkId: string, address: string): void {
    const lease = this.#networks.get(networkId)?.leases.get(address);
    if (lease === undefined) return;
    this.#networks.get(networkId)?.leases.delete(address);
    this.#events.publish({ type: "released", networkId, lease });
  }

  async #effect(effect: NetworkHostEffect, subject: string, options: NetworkHostOptions): Promise<void> {
    throwIfAborted(options.signal);
    if (!this.#started) throw new ClosedError("the host was not started");
    await this.#beforeEffect?.(effect, subject);
  }
}

function checkAddresses(hosts: readonly DhcpHost[]): void {
  const seen = new Set<string>();
  for (const address of hosts.flatMap(({ addresses }) => addresses)) {
    if (seen.has(address)) throw new ConflictError(`two guests have the address ${address}`);
    seen.add(address);
  }
}
