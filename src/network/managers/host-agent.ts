/** Brings one host in line with the state: for its own manager, and for those of other hosts. */
import { KeyedLock } from "../../core/index.js";
import type { InstanceAddresses } from "../ipam/instance-addresses.js";
import type { FixedIpRecord, Network } from "../ipam/network.js";
import type { NetworkRecords } from "../ipam/network-records.js";
import type { Versioned } from "../ipam/records.js";
import type { DhcpHost, DhcpLease, NetworkHost, NetworkHostOptions } from "../host/network-host.js";
import { dhcpHostOf, hostNetworkOf } from "./host-network.js";
import type { NetworkPeer } from "./network-peer.js";

export interface HostAgentOptions {
  readonly host: NetworkHost;
  readonly records: NetworkRecords;
  readonly addresses: InstanceAddresses;
  /** False: the host has nothing of networks but their bridges, which someone else makes (`FlatManager`). */
  readonly managesNetworks: boolean;
  readonly teardownUnusedNetworks: boolean;
  readonly singleDefaultGateway: boolean;
  readonly vpnAddress?: string | undefined;
}

/**
 * {@link NetworkPeer} over a `NetworkHost`. What concerns one network or one floating address goes one after the other, each
 * time from the state as it is then: who comes last has seen everything.
 */
export class HostAgent implements NetworkPeer {
  readonly name: string;
  readonly #options: HostAgentOptions;
  readonly #locks = new KeyedLock();
  /** Networks that this process has set up. */
  readonly #up = new Set<string>();

  constructor(options: HostAgentOptions) {
    this.#options = options;
    this.name = options.host.name;
  }

  async applyNetwork(networkId: string, options: NetworkHostOptions = {}): Promise<void> {
    if (!this.#options.managesNetworks) return;
    await this.#locks.run(`network/${networkId}`, () => this.#applyNetwork(networkId, options), options);
  }

  async applyVif(networkId: string, macAddress: string, options: NetworkHostOptions = {}): Promise<void> {
    if (!this.#options.managesNetworks) return;
    const { host, records } = this.#options;
    await this.#locks.run(
      `network/${networkId}`,
      async () => {
        const network = await records.networks.get(networkId, options);
        const vif = await records.vifs.getByUnique(`mac:${macAddress}`, options);
        const isHere =
          network !== undefined && vif?.value.networkId === networkId && this.#serves(network.value, vif.value.host);
        const isUp = this.#up.has(networkId);
        // What is to be taken away may be a network's that was never set up here, or that could not be.
        if (!isHere && !isUp) return host.removeDhcpHost(networkId, macAddress, options);
        // A network without guests may not be there; the first guest brings it, the last may take it away.
        if (network === undefined || !isUp) return this.#applyNetwork(networkId, options);
        if (!(await this.#isWanted(network.value, options))) return this.#applyNetwork(networkId, options);
        const ips = isHere ? await records.fixedIps.all(`vif:${vif.value.id}`, options) : [];
        const entry = isHere ? this.#dhcpHost(vif.value, ips) : undefined;
        if (entry === undefined) await host.removeDhcpHost(networkId, macAddress, options);
        else await host.setDhcpHost(networkId, entry, options);
      },
      options,
    );
  }

  async applyFloating(floatingAddress: string, options: NetworkHostOptions = {}): Promise<void> {
    const { host, records } = this.#options;
    await this.#locks.run(
      `floating/${floatingAddress}`,
      async () => {
        const record = (await records.floatingIps.get(floatingAddress, options))?.value;
        const fixed =
          record?.fixedAddress === undefined ? undefined : await records.fixedIps.get(record.fixedAddress, options);
        const isHere = record?.host === this.name && record.releasing !== true;
        if (!isHere || record.fixedAddress === undefined || fixed === undefined) {
          await host.removeFloating(floatingAddress, options);
          return;
        }
        await host.addFloating(
          {
            floatingAddress,
            fixedAddress: record.fixedAddress,
            networkId: fixed.value.networkId,
            ...(record.interface === undefined ? {} : { publicInterface: record.interface }),
          },
          options,
        );
      },
      options,
    );
  }

  async releaseLease(
    networkId: string,
    lease: Pick<DhcpLease, "macAddress" | "address">,
    options: NetworkHostOptions = {},
  ): Promise<void> {
    if (this.#options.managesNetworks) await this.#options.host.releaseLease(networkId, lease, options);
  }

  async leases(networkId: string, options: NetworkHostOptions = {}): Promise<readonly DhcpLease[]> {
    return this.#options.managesNetworks ? this.#options.host.leases(networkId, options) : [];
  }

  /**
   * After a start: every network that belongs here, every floating address of this host; what is here of others is taken
   * away. Goes on after a failure, and throws the first at the end.
   */
  async applyAll(options: NetworkHostOptions = {}): Promise<void> {
    const { records, host } = this.#options;
    const failures: unknown[] = [];
    const attempt = async (work: () => Promise<void>): Promise<void> => {
      await work().catch((error: unknown) => failures.push(error));
    };
    if (this.#options.managesNetworks) {
      const networks = await records.networks.all(undefined, options);
      const known = new Set(networks.map(({ value }) => value.id));
      const here = new Set(await host.listNetworks());
      for (const { value } of networks)
        if (here.has(value.id) || (await this.#isWanted(value, options)))
          await attempt(() => this.applyNetwork(value.id, options));
      for (const id of here) if (!known.has(id)) await attempt(() => this.applyNetwork(id, options));
    }
    const floating = (await records.floatingIps.all(`host:${this.name}`, options)).map(({ value }) => value.address);
    const bound = (await host.listFloating()).map((forward) => forward.floatingAddress);
    for (const address of new Set([...bound, ...floating])) await attempt(() => this.applyFloating(address, options));
    if (failures.length > 0) throw failures[0];
  }

  async #applyNetwork(networkId: string, options: NetworkHostOptions): Promise<void> {
    const { host, records, teardownUnusedNetworks } = this.#options;
    const network = await records.networks.get(networkId, options);
    const wanted = network !== undefined && (await this.#isWanted(network.value, options));
    const keeps = network !== undefined && (this.#up.has(networkId) || (await host.listNetworks()).includes(networkId));
    if (network === undefined || (!wanted && (teardownUnusedNetworks || !keeps))) {
      await host.tearDownNetwork(networkId, options);
      this.#up.delete(networkId);
      if (network !== undefined) await this.#freeHostAddress(network.value, options);
      return;
    }
    const hostAddress = await this.#hostAddress(network, options);
    const serves = network.value.multiHost || network.value.host === this.name;
    const view = { serves, hostAddress, vpnAddress: this.#options.vpnAddress };
    const hostNetwork = hostNetworkOf(network.value, view);
    if (hostNetwork === undefined) return;
    await host.setUpNetwork(hostNetwork, await this.#dhcpHosts(network.value, options), options);
    this.#up.add(networkId);
  }

  /** Whether this host serves the network, or has guests on it. */
  async #isWanted(network: Network, options: NetworkHostOptions): Promise<boolean> {
    const { records } = this.#options;
    if (!network.multiHost && network.host === this.name) return true;
    return (await records.store.count(records.vifs.kind, `network-host:${network.id}:${this.name}`, options)) > 0;
  }

  /** Whether DHCP for a guest on this host is given here. */
  #serves(network: Network, vifHost: string): boolean {
    return network.multiHost ? vifHost === this.name : network.host === this.name;
  }

  async #hostAddress(network: Versioned<Network>, options: NetworkHostOptions): Promise<string | undefined> {
    const { multiHost, shareAddress, host, dhcpServer, gateway, cidr } = network.value;
    if (cidr === undefined || (!multiHost && host !== this.name)) return undefined;
    if (multiHost && !shareAddress) return this.#options.addresses.hostAddress(network, this.name, options);
    return dhcpServer ?? gateway;
  }

  /** The address that this host had of a network that each host serves goes back to the pool. */
  async #freeHostAddress(network: Network, options: NetworkHostOptions): Promise<void> {
    const { records, addresses } = this.#options;
    const own = await records.fixedIps.getByUnique(`dhcp:${network.id}:${this.name}`, options);
    if (own === undefined) return;
    const isOwn = (ip: FixedIpRecord): boolean => ip.networkId === network.id && ip.host === this.name;
    await addresses.change([own.value.address], (ip) => (isOwn(ip) ? addresses.disassociated(ip) : ip), options);
  }

  async #dhcpHosts(network: Network, options: NetworkHostOptions): Promise<readonly DhcpHost[]> {
    const { records } = this.#options;
    const vifs = (await records.vifs.all(`network:${network.id}`, options)).filter(({ value }) =>
      this.#serves(network, value.host),
    );
    if (vifs.length === 0) return [];
    const byVif = new Map<string, Versioned<FixedIpRecord>[]>();
    for (const ip of await records.fixedIps.all(`allocated:${network.id}`, options)) {
      const list = byVif.get(ip.value.vifId ?? "") ?? [];
      byVif.set(ip.value.vifId ?? "", [...list, ip]);
    }
    return vifs.flatMap(({ value }) => this.#dhcpHost(value, byVif.get(value.id) ?? []) ?? []);
  }

  #dhcpHost(vif: Parameters<typeof dhcpHostOf>[0], ips: readonly Versioned<FixedIpRecord>[]): DhcpHost | undefined {
    const { singleDefaultGateway } = this.#options;
    const values = ips.map(({ value }) => value);
    return dhcpHostOf(vif, values, { singleDefaultGateway });
  }
}
