/** One Linux host's part of the guests' networks: bridges, addresses, NAT, DHCP and floating addresses, kept across restarts. */
import { join } from "node:path";
import { ClosedError, KeyedLock, check } from "../../core/index.js";
import type { RollbackStack } from "../../core/index.js";
import { FileStateStore, acquireFileLock } from "../../host/index.js";
import type { FileLock } from "../../host/index.js";
import { dhcpHostCheck } from "../dhcp/dhcp-host-file.js";
import { NetworkExecutor } from "../linux/network-executor.js";
import { PacketTables } from "../linux/packet-tables.js";
import { checkFloatingForward, checkHostNetwork, networkIdCheck } from "./check-host-network.js";
import { DhcpServers } from "./dhcp-servers.js";
import { FloatingAddresses } from "./floating-addresses.js";
import { HostNetworks } from "./host-networks.js";
import { settingsOf } from "./linux-network-host-options.js";
import type { LinuxNetworkHostOptions, LinuxNetworkHostSettings } from "./linux-network-host-options.js";
import { NetworkRecords } from "./network-records.js";
import type {
  DhcpHost,
  DhcpLease,
  DhcpLeaseEvent,
  FloatingForward,
  HostNetwork,
  NetworkHost,
  NetworkHostOptions,
} from "./network-host.js";

const HOST = "host";
const checkHosts = check.array(dhcpHostCheck, { max: 65_536 });

/**
 * {@link NetworkHost} by iproute2, nftables and dnsmasq, in this process's network namespace or another. Needs root there.
 * Changes of devices and tables are made one after another; each is all or nothing, and what a process that died was at is
 * undone at the next `start()`. DHCP servers and everything else run on without this process.
 */
export class LinuxNetworkHost implements NetworkHost {
  readonly #settings: LinuxNetworkHostSettings;
  readonly #servers: DhcpServers;
  readonly #floating: FloatingAddresses;
  readonly #networks: HostNetworks;
  readonly #locks = new KeyedLock();
  #lock: FileLock | undefined;

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: LinuxNetworkHostOptions) {
    const settings = settingsOf(options);
    const { commands, commandTimeoutMs, tableName, directory } = settings;
    const records = new NetworkRecords(options.store ?? new FileStateStore({ dir: join(directory, "state") }));
    const executor = new NetworkExecutor({ commands, commandTimeoutMs });
    const tables = new PacketTables({ commands, commandTimeoutMs, tableName });
    const parts = { settings, records, executor, tables };
    this.#settings = settings;
    this.#servers = new DhcpServers(settings);
    this.#floating = new FloatingAddresses(parts);
    this.#networks = new HostNetworks({ ...parts, servers: this.#servers, floating: this.#floating });
  }

  get name(): string {
    return this.#settings.name;
  }

  /** Directory of records that every DNS server of this host serves; for DNS drivers. */
  get dnsDirectory(): string {
    return this.#servers.commonDnsHosts;
  }

  async start(options: NetworkHostOptions = {}): Promise<void> {
    await this.#locks.run(HOST, () => this.#start(options), { signal: options.signal });
  }

  async close(): Promise<void> {
    await this.#locks.run(HOST, async () => {
      if (this.#lock === undefined) return;
      await this.#floating.close();
      await this.#servers.close();
      this.#networks.clear();
      await this.#lock.release();
      this.#lock = undefined;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The commands and the tables that `setUpNetwork` would run now, as text. */
  async plan(network: HostNetwork): Promise<string> {
    return this.#networks.plan(checkHostNetwork(network));
  }

  async setUpNetwork(
    network: HostNetwork,
    hosts: readonly DhcpHost[],
    options: NetworkHostOptions = {},
  ): Promise<void> {
    const wanted = checkHostNetwork(network);
    const wantedHosts = checkHosts(hosts, "hosts");
    await this.#change(wanted.id, options, (undo) => this.#networks.setUp(wanted, wantedHosts, undo, options));
  }

  /** @throws NetworkHostError also when there are guests' ports on the network's bridge, which would go with it. */
  async tearDownNetwork(networkId: string, options: NetworkHostOptions = {}): Promise<void> {
    const id = networkIdCheck(networkId, "networkId");
    await this.#change(id, options, (undo) => this.#networks.tearDown(id, undo, options));
    // Nothing refers to the server's files any more: should this fail, the next start does it.
    if (!this.#networks.has(id)) await this.#servers.exclusively(id, () => this.#removeServer(id));
  }

  async listNetworks(): Promise<readonly string[]> {
    this.#require();
    return this.#networks.ids;
  }

  async setDhcpHost(networkId: string, host: DhcpHost, options: NetworkHostOptions = {}): Promise<void> {
    const checked = dhcpHostCheck(host, "host");
    const id = networkIdCheck(networkId, "networkId");
    const set = async (): Promise<void> => {
      this.#require();
      this.#networks.require(id);
      await this.#servers.get(id)?.setHost(checked);
    };
    await this.#servers.exclusively(id, set, options.signal);
  }

  async removeDhcpHost(networkId: string, macAddress: string, options: NetworkHostOptions = {}): Promise<void> {
    const mac = check.mac()(macAddress, "macAddress");
    const id = networkIdCheck(networkId, "networkId");
    this.#require();
    await this.#servers.exclusively(id, async () => this.#servers.get(id)?.removeHost(mac), options.signal);
  }

  async leases(networkId: string): Promise<readonly DhcpLease[]> {
    const id = networkIdCheck(networkId, "networkId");
    this.#require();
    this.#networks.require(id);
    return (await this.#servers.get(id)?.leases()) ?? [];
  }

  async releaseLease(
    networkId: string,
    lease: Pick<DhcpLease, "macAddress" | "address">,
    options: NetworkHostOptions = {},
  ): Promise<void> {
    const mac = check.mac()(lease.macAddress, "lease.macAddress");
    const address = check.ipAddress()(lease.address, "lease.address");
    const id = networkIdCheck(networkId, "networkId");
    this.#require();
    const { signal } = options;
    await this.#servers.get(id)?.release(mac, address, signal === undefined ? {} : { signal });
  }

  leaseEvents(options: NetworkHostOptions = {}): AsyncIterableIterator<DhcpLeaseEvent> {
    return this.#servers.spool.events.subscribe({ signal: options.signal });
  }

  async addFloating(forward: FloatingForward, options: NetworkHostOptions = {}): Promise<void> {
    const checked = checkFloatingForward(forward);
    await this.#exclusively(options, () => this.#floating.add(checked, options));
  }

  async removeFloating(floatingAddress: string, options: NetworkHostOptions = {}): Promise<void> {
    const address = check.ipAddress()(floatingAddress, "floatingAddress");
    await this.#exclusively(options, () => this.#floating.remove(address, options));
  }

  async listFloating(): Promise<readonly FloatingForward[]> {
    this.#require();
    return this.#floating.list();
  }

  async #start({ signal }: NetworkHostOptions): Promise<void> {
    if (this.#lock !== undefined) return;
    const { directory } = this.#settings;
    await this.#servers.makeDirectories();
    const lock = await acquireFileLock(directory);
    try {
      await this.#networks.takeUp(signal);
      this.#lock = lock;
    } catch (error) {
      await this.#servers.close();
      this.#networks.clear();
      await lock.release();
      throw error;
    }
  }

  /** Under the locks of the network and then of the host; what fails is undone. */
  async #change(
    networkId: string,
    { signal }: NetworkHostOptions,
    work: (undo: RollbackStack) => Promise<void>,
  ): Promise<void> {
    const change = (): Promise<void> => this.#networks.change(networkId, work);
    await this.#servers.exclusively(networkId, () => this.#exclusively({ signal }, change), signal);
  }

  #exclusively(options: NetworkHostOptions, work: () => Promise<void>): Promise<void> {
    const run = (): Promise<void> => {
      this.#require();
      return work();
    };
    return this.#locks.run(HOST, run, { signal: options.signal });
  }

  async #removeServer(networkId: string): Promise<void> {
    if (!this.#networks.has(networkId)) await this.#servers.remove(networkId);
  }

  #require(): void {
    if (this.#lock === undefined) throw new ClosedError("the network host is not started");
  }
}
