/** What all network managers have: networks, addresses and VIFs of instances, leases. */
import { ClosedError, InvalidArgumentError, check } from "../../core/index.js";
import type { DhcpLease } from "../host/network-host.js";
import { canonicalAddress } from "../ipam/address.js";
import { AddressNotFoundError, NetworkHostUnreachableError, NoNetworkError, VifNotFoundError } from "../ipam/errors.js";
import type { FixedIpRecord, Network, VirtualInterface } from "../ipam/network.js";
import type { NetworkChanges } from "../ipam/network-book.js";
import type { NetworkRequest } from "../ipam/network-request.js";
import { ABSENT } from "../ipam/records.js";
import { retryOnConflict } from "../ipam/retry.js";
import type { NetworkStoreOptions } from "../store/network-store.js";
import type { Vif } from "../vif.js";
import { FloatingAddresses } from "./floating-addresses.js";
import { InstanceNetworks } from "./instance-networks.js";
import type { InstanceNetworkRequest, RequestedNetwork } from "./instance-request.js";
import { checkRequestedNetworks } from "./instance-request.js";
import { LeaseWatch } from "./lease-watch.js";
import { ManagerContext } from "./manager-context.js";
import type { ManagerProfile } from "./manager-context.js";
import type { NetworkManagerOptions } from "./manager-options.js";
import type { NetworkPeer } from "./network-peer.js";

/** What periodic tasks did. */
export interface PeriodicReport {
  /** Addresses that were given back and whose time is over. */
  readonly disassociated: number;
}

const DEFAULT_DISASSOCIATE_TIMEOUT_MS = 600_000;

/**
 * Nova's `NetworkManager`: one for each host, over the store that all share. A call that fails leaves state and hosts as they
 * were; what a process leaves half-way when it is killed is taken up by `initHost` of its host, or by the same call again.
 */
export abstract class NetworkManager implements AsyncDisposable {
  /** @internal */
  protected readonly context: ManagerContext;
  /** @internal */
  protected readonly floatingAddresses: FloatingAddresses | undefined;
  readonly #instances: InstanceNetworks;
  readonly #leases: LeaseWatch;
  #closed = false;

  /** @throws InvalidArgumentError for options that can't be */
  protected constructor(options: NetworkManagerOptions, profile: ManagerProfile) {
    this.context = new ManagerContext(options, profile);
    this.floatingAddresses = profile.managesNetworks ? new FloatingAddresses(this.context) : undefined;
    this.#instances = new InstanceNetworks(this.context, this.floatingAddresses);
    this.#leases = new LeaseWatch(this.context);
  }

  /** Name of the host that this manager runs on. */
  get hostName(): string {
    return this.context.hostName;
  }

  /** What managers of other hosts call through their `HostDirectory`: to be reached by the embedder's RPC. */
  get peer(): NetworkPeer {
    return this.context.agent;
  }

  /**
   * Starts the host, brings it in line with the state (networks, DHCP, floating addresses; what is left of others is taken
   * away), and follows its leases. To be called once, before all else.
   */
  async initHost(options: NetworkStoreOptions = {}): Promise<void> {
    this.#mustBeOpen();
    await this.context.options.store.open(options);
    await this.context.options.host.start(options);
    await this.floatingAddresses?.recover(options);
    await this.context.agent.applyAll(options);
    await this.#leases.start(options);
  }

  /** Lets go of the host; what guests need goes on, and the store stays open. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#leases.stop();
    await this.context.options.host.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** To be called by the embedder every minute or so. Frees addresses of this host's networks whose time is over. */
  async runPeriodicTasks(now = this.context.clock.now(), options: NetworkStoreOptions = {}): Promise<PeriodicReport> {
    this.#mustBeOpen();
    const timeout = this.context.options.fixedIpDisassociateTimeoutMs ?? DEFAULT_DISASSOCIATE_TIMEOUT_MS;
    let disassociated = 0;
    for (const { value } of await this.context.networks.all(options)) {
      if (!value.multiHost && value.host !== this.hostName) continue;
      disassociated += await this.context.addresses.disassociateTimedOut(value.id, now - timeout, options);
    }
    return { disassociated };
  }

  /** Makes networks by Nova's rules, all or none. @throws InvalidArgumentError, NetworkConflictError */
  async createNetworks(request: NetworkRequest, options: NetworkStoreOptions = {}): Promise<readonly Network[]> {
    this.#mustBeOpen();
    return this.context.networks.create(request, this.context.profile.topology, options);
  }

  /** @throws NetworkInUseError while a project has it, or guests have addresses of it */
  async deleteNetwork(networkId: string, options: NetworkStoreOptions = {}): Promise<void> {
    this.#mustBeOpen();
    const { host } = (await this.context.networks.get(networkId, options)).value;
    await this.context.networks.delete(networkId, options);
    this.context.addresses.claims.forget(networkId);
    for (const name of new Set([host, this.hostName]))
      await (await this.context.peerIfAlive(name))?.applyNetwork(networkId, options);
  }

  /** @throws NetworkNotFoundError */
  async getNetwork(networkId: string, options: NetworkStoreOptions = {}): Promise<Network> {
    return (await this.context.networks.get(networkId, options)).value;
  }

  /** In the order of their priorities. */
  async getAllNetworks(options: NetworkStoreOptions = {}): Promise<readonly Network[]> {
    return (await this.context.networks.all(options)).map(({ value }) => value);
  }

  /** Changes what may be changed of a network, and the hosts that serve it. @throws InvalidArgumentError, NetworkNotFoundError */
  async modifyNetwork(networkId: string, changes: NetworkChanges, options: NetworkStoreOptions = {}): Promise<Network> {
    this.#mustBeOpen();
    const network = await this.context.networks.modify(networkId, changes, options);
    const hosts = new Set([network.host, this.hostName]);
    for (const name of hosts) await (await this.context.peerIfAlive(name))?.applyNetwork(networkId, options);
    return network;
  }

  /** Takes the network from its project, its host, or both. @throws NetworkInUseError when guests have VIFs on it */
  async disassociateNetwork(
    networkId: string,
    what: { readonly host?: boolean; readonly project?: boolean } = {},
    options: NetworkStoreOptions = {},
  ): Promise<Network> {
    this.#mustBeOpen();
    const { host = true, project = true } = what;
    return this.context.networks.disassociate(networkId, { host, project }, options);
  }

  /** Gives a project this network, or one that nobody has. @throws NoNetworkError, NetworkInUseError */
  async addNetworkToProject(
    projectId: string,
    networkId?: string,
    options: NetworkStoreOptions = {},
  ): Promise<Network> {
    this.#mustBeOpen();
    return this.context.networks.addToProject(projectId, networkId, options);
  }

  /** Makes this host the network's, if it has none; whoever comes first wins. Returns the host that it has then. */
  async setNetworkHost(networkId: string, options: NetworkStoreOptions = {}): Promise<string> {
    this.#mustBeOpen();
    const { value } = await this.context.networks.setHost(networkId, this.hostName, options);
    if (value.host === this.hostName) await this.context.agent.applyNetwork(networkId, options);
    return value.host ?? this.hostName;
  }

  /**
   * Whether networks could be allocated so: they are there, the addresses are theirs and free, and with `requireHosts` each
   * has a host. Takes nothing. @throws what `allocateForInstance` would; NoNetworkError for one without a host
   */
  async validateNetworks(
    networks: readonly RequestedNetwork[],
    options: NetworkStoreOptions & { readonly requireHosts?: boolean } = {},
  ): Promise<void> {
    for (const { networkId, fixedIp } of checkRequestedNetworks(networks, "networks")) {
      const { value } = await this.context.networks.get(networkId, options);
      if (options.requireHosts === true && !value.multiHost && value.host === undefined)
        throw new NoNetworkError("the network has no host");
      if (fixedIp !== undefined)
        (await this.context.addresses.claims.specific(value, fixedIp, options)).settle("unused");
    }
  }

  /**
   * VIFs and addresses for an instance, in the state and at the hosts that serve them. Again for the same instance it returns
   * what is there, and makes good what hosts lack.
   * @throws NetworkNotFoundError, NoNetworkError, NoFreeAddressError, AddressInUseError, AddressNotFoundError, QuotaExceededError,
   * NoFreeMacAddressError, NetworkHostUnreachableError, and what hosts throw. Nothing is left then.
   */
  async allocateForInstance(
    request: InstanceNetworkRequest,
    options: NetworkStoreOptions = {},
  ): Promise<readonly Vif[]> {
    this.#mustBeOpen();
    return this.#instances.allocate(request, options);
  }

  /** Gives everything of an instance back; success when it has nothing. On failure it has all, or is finished by the same call. */
  async deallocateForInstance(instanceUuid: string, options: NetworkStoreOptions = {}): Promise<void> {
    this.#mustBeOpen();
    await this.#instances.deallocate(check.uuid()(instanceUuid, "instanceUuid"), options);
  }

  /** The instance's VIFs, as compute drivers take them. */
  async getInstanceNwInfo(instanceUuid: string, options: NetworkStoreOptions = {}): Promise<readonly Vif[]> {
    return this.#instances.networkInfo(check.uuid()(instanceUuid, "instanceUuid"), options);
  }

  /**
   * Sets up on a host what the instance's networks need there; with `teardown`, takes down what none of its guests needs any
   * more. @throws NetworkHostUnreachableError
   */
  async setupNetworksOnHost(
    instanceUuid: string,
    host = this.hostName,
    options: NetworkStoreOptions & { readonly teardown?: boolean } = {},
  ): Promise<void> {
    this.#mustBeOpen();
    try {
      await this.#instances.setUpOnHost(check.uuid()(instanceUuid, "instanceUuid"), host, options);
    } catch (error) {
      // With a host that is gone went what was there.
      if (options.teardown !== true || !(error instanceof NetworkHostUnreachableError)) throw error;
    }
  }

  /** One more address for an instance, on its VIF of the network or a new one. Returns the address. */
  async addFixedIpToInstance(
    instanceUuid: string,
    networkId: string,
    wanted: { readonly fixedIp?: string } = {},
    options: NetworkStoreOptions = {},
  ): Promise<string> {
    this.#mustBeOpen();
    const fixedIp = wanted.fixedIp === undefined ? undefined : canonicalAddress(wanted.fixedIp, "fixedIp");
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    return (await this.#instances.addFixedIp(uuid, networkId, { fixedIp }, options)).address;
  }

  /** Takes an address from an instance; its VIF stays. @throws AddressNotFoundError */
  async removeFixedIpFromInstance(
    instanceUuid: string,
    address: string,
    options: NetworkStoreOptions = {},
  ): Promise<void> {
    this.#mustBeOpen();
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    await this.#instances.removeFixedIp(uuid, canonicalAddress(address, "address"), options);
  }

  /** Nova's name for `addFixedIpToInstance`. */
  async allocateFixedIp(
    instanceUuid: string,
    networkId: string,
    wanted: { readonly fixedIp?: string } = {},
    options: NetworkStoreOptions = {},
  ): Promise<string> {
    return this.addFixedIpToInstance(instanceUuid, networkId, wanted, options);
  }

  /** Gives an address back, whichever instance has it; success when none does. */
  async deallocateFixedIp(address: string, options: NetworkStoreOptions = {}): Promise<void> {
    const { value } = { value: await this.getFixedIpByAddress(address, options) };
    if (value.instanceUuid !== undefined)
      await this.removeFixedIpFromInstance(value.instanceUuid, value.address, options);
  }

  /** @throws AddressNotFoundError when it has never been in use */
  async getFixedIpByAddress(address: string, options: NetworkStoreOptions = {}): Promise<FixedIpRecord> {
    const canonical = canonicalAddress(address, "address");
    const ip = await this.context.records.fixedIps.get(canonical, options);
    if (ip === undefined) throw new AddressNotFoundError(canonical);
    return ip.value;
  }

  /** As `getFixedIpByAddress`; Nova's name. */
  async getFixedIp(address: string, options: NetworkStoreOptions = {}): Promise<FixedIpRecord> {
    return this.getFixedIpByAddress(address, options);
  }

  /** Withholds an address from guests, or no longer. @throws InvalidArgumentError when it is of no network; ConflictError */
  async reserveFixedIp(address: string, reserved = true, options: NetworkStoreOptions = {}): Promise<void> {
    this.#mustBeOpen();
    const { fixedIps } = this.context.records;
    const canonical = canonicalAddress(address, "address");
    await retryOnConflict(async () => {
      const present = await fixedIps.get(canonical, options);
      if (present?.value.reserved === reserved) return;
      if (present !== undefined) {
        const updated = { ...present.value, reserved, updatedAt: this.context.clock.now() };
        await this.context.options.store.commit([fixedIps.put(updated, present.version)], options);
        return;
      }
      if (!reserved) return;
      const network = await this.#networkOf(canonical, options);
      const claim = await this.context.addresses.claims.specific(network, canonical, {
        ...options,
        evenReserved: true,
      });
      const version = canonical.includes(":") ? 6 : 4;
      const record: FixedIpRecord = {
        address: canonical,
        networkId: network.id,
        version,
        allocated: false,
        leased: false,
        reserved: true,
        updatedAt: this.context.clock.now(),
      };
      try {
        await this.context.options.store.commit([fixedIps.put(record, ABSENT)], options);
        claim.settle("taken");
      } catch (error) {
        claim.settle("unknown");
        throw error;
      }
    });
  }

  /** DHCP has given a lease. Of another instance's MAC address it is not believed. */
  async leaseFixedIp(address: string, macAddress?: string, options: NetworkStoreOptions = {}): Promise<void> {
    await this.#leases.leased(canonicalAddress(address, "address"), macAddress, options);
  }

  /** A lease has ended: an address that was given back is free now. Of another instance's MAC address it is not believed. */
  async releaseFixedIp(address: string, macAddress?: string, options: NetworkStoreOptions = {}): Promise<void> {
    await this.#leases.released(canonicalAddress(address, "address"), macAddress, options);
  }

  /** The leases that the network's DHCP server has given. @throws NetworkHostUnreachableError */
  async getDhcpLeases(networkId: string, options: NetworkStoreOptions = {}): Promise<readonly DhcpLease[]> {
    const { value } = await this.context.networks.get(networkId, options);
    const peer = await this.context.peer(value.multiHost ? this.hostName : (value.host ?? this.hostName));
    return peer.leases(networkId, options);
  }

  /** In their order. */
  async getVifsByInstance(
    instanceUuid: string,
    options: NetworkStoreOptions = {},
  ): Promise<readonly VirtualInterface[]> {
    const index = `instance:${check.uuid()(instanceUuid, "instanceUuid")}`;
    return (await this.context.records.vifs.all(index, options)).map(({ value }) => value);
  }

  /** @throws VifNotFoundError */
  async getVifByMacAddress(macAddress: string, options: NetworkStoreOptions = {}): Promise<VirtualInterface> {
    const mac = check.mac()(macAddress, "macAddress");
    const vif = await this.context.records.vifs.getByUnique(`mac:${mac}`, options);
    if (vif === undefined) throw new VifNotFoundError(mac);
    return vif.value;
  }

  /** @internal */
  protected async moveInstance(instanceUuid: string, host: string, options: NetworkStoreOptions): Promise<void> {
    await this.#instances.move(instanceUuid, host, options);
  }

  /** @internal */
  protected mustBeOpen(): void {
    this.#mustBeOpen();
  }

  async #networkOf(address: string, options: NetworkStoreOptions): Promise<Network> {
    for (const { value } of await this.context.networks.all(options)) {
      try {
        (await this.context.addresses.claims.specific(value, address, { ...options, evenReserved: true })).settle(
          "unused",
        );
        return value;
      } catch (error) {
        if (!(error instanceof AddressNotFoundError)) throw error;
      }
    }
    throw new InvalidArgumentError({ field: "address", value: address, expected: "an address of a network" });
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new ClosedError("the network manager was closed");
  }
}
