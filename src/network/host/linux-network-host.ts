/** One Linux host's part of the guests' networks: bridges, addresses, NAT, DHCP and floating addresses, kept across restarts. */
import { join } from "node:path";
import { ClosedError, KeyedLock, check } from "../../core/index.js";
import type { RollbackStack } from "../../core/index.js";
import { FileStateStore, acquireFileLock } from "../../host/index.js";
import type { FileLock } from "../../host/index.js";
import { dhcpHostCheck } from "../dhcp/dhcp-host-file.js";
import { NetworkHostError } from "../errors.js";
import { NetworkExecutor } from "../linux/network-executor.js";
import { NetworkPlan } from "../linux/network-plan.js";
import type { NetworkStep } from "../linux/network-step.js";
import { PacketTables } from "../linux/packet-tables.js";
import type { PacketRules } from "../linux/packet-rules.js";
import { planMetadataAddress } from "../linux/plan-addresses.js";
import { checkFloatingForward, checkHostNetwork, networkIdCheck } from "./check-host-network.js";
import { DhcpServers } from "./dhcp-servers.js";
import { forwardingSteps } from "./forwarding-steps.js";
import { FloatingAddresses } from "./floating-addresses.js";
import { undoing } from "./undoing.js";
import { settingsOf } from "./linux-network-host-options.js";
import type { LinuxNetworkHostOptions, LinuxNetworkHostSettings } from "./linux-network-host-options.js";
import { NetworkRecords } from "./network-records.js";
import type { NetworkRecord } from "./network-records.js";
import type {
  DhcpHost,
  DhcpLease,
  DhcpLeaseEvent,
  FloatingForward,
  HostNetwork,
  NetworkHost,
  NetworkHostOptions,
} from "./network-host.js";
import {
  NO_EFFECTS,
  foreignPorts,
  hasSameDevices,
  networkRules,
  planHostNetwork,
  planNoHostNetwork,
} from "./plan-host-network.js";
import type { NetworkEffects } from "./plan-host-network.js";

const HOST = "host";
const checkHosts = check.array(dhcpHostCheck, { max: 65_536 });

/** A change of one network's devices as it is going to be made. */
interface DeviceChange {
  readonly steps: readonly NetworkStep[];
  readonly effects: NetworkEffects;
}

/**
 * {@link NetworkHost} by iproute2, nftables and dnsmasq, in this process's network namespace or another. Needs root there.
 * Changes of devices and tables are made one after another; each is all or nothing, and what a process that died was at is
 * undone at the next `start()`. DHCP servers and everything else run on without this process.
 */
export class LinuxNetworkHost implements NetworkHost {
  readonly #settings: LinuxNetworkHostSettings;
  readonly #records: NetworkRecords;
  readonly #executor: NetworkExecutor;
  readonly #tables: PacketTables;
  readonly #servers: DhcpServers;
  readonly #floating: FloatingAddresses;
  readonly #locks = new KeyedLock();
  readonly #networks = new Map<string, NetworkRecord>();
  /** Of networks that a failed change could not be undone for: what is still ours. */
  readonly #remains = new Map<string, NetworkRecord>();
  #lock: FileLock | undefined;

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: LinuxNetworkHostOptions) {
    const settings = settingsOf(options);
    const { commands, commandTimeoutMs, tableName, directory } = settings;
    this.#settings = settings;
    this.#records = new NetworkRecords(options.store ?? new FileStateStore({ dir: join(directory, "state") }));
    this.#executor = new NetworkExecutor({ commands, commandTimeoutMs });
    this.#tables = new PacketTables({ commands, commandTimeoutMs, tableName });
    this.#servers = new DhcpServers(settings);
    this.#floating = new FloatingAddresses({
      settings,
      records: this.#records,
      executor: this.#executor,
      tables: this.#tables,
    });
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
      this.#remains.clear();
      await this.#lock.release();
      this.#lock = undefined;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The commands and the tables that `setUpNetwork` would run now, as text. */
  async plan(network: HostNetwork): Promise<string> {
    const wanted = checkHostNetwork(network);
    const { steps } = await this.#planSetUp(wanted, {});
    const plan = new NetworkPlan(await this.#executor.observe());
    plan.add(...steps);
    return `${plan.text}${this.#tables.plan(this.#rules(this.#with({ network: wanted, effects: NO_EFFECTS })))}`;
  }

  async setUpNetwork(
    network: HostNetwork,
    hosts: readonly DhcpHost[],
    options: NetworkHostOptions = {},
  ): Promise<void> {
    const wanted = checkHostNetwork(network);
    const wantedHosts = checkHosts(hosts, "hosts");
    await this.#change(wanted.id, options, (undo) => this.#setUp(wanted, wantedHosts, undo, options));
  }

  /** @throws NetworkHostError also when there are guests' ports on the network's bridge, which would go with it. */
  async tearDownNetwork(networkId: string, options: NetworkHostOptions = {}): Promise<void> {
    const id = networkIdCheck(networkId, "networkId");
    await this.#change(id, options, async (undo) => {
      const record = this.#networks.get(id);
      if (record !== undefined) await this.#tearDown(record, undo, options);
    });
    // Nothing refers to the server's files any more: should this fail, the next start does it.
    if (!this.#networks.has(id)) await this.#servers.exclusively(id, () => this.#removeServer(id));
  }

  async listNetworks(): Promise<readonly string[]> {
    this.#require();
    return [...this.#networks.keys()].sort();
  }

  async setDhcpHost(networkId: string, host: DhcpHost, options: NetworkHostOptions = {}): Promise<void> {
    const checked = dhcpHostCheck(host, "host");
    const id = networkIdCheck(networkId, "networkId");
    const set = async (): Promise<void> => {
      this.#recordOf(id);
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
    this.#recordOf(networkIdCheck(networkId, "networkId"));
    return (await this.#servers.get(networkId)?.leases()) ?? [];
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
      await this.#takeUp(signal);
      this.#lock = lock;
    } catch (error) {
      await this.#servers.close();
      this.#networks.clear();
      await lock.release();
      throw error;
    }
  }

  /** One plan for all networks and addresses, one transaction for all rules. */
  async #takeUp(signal: AbortSignal | undefined): Promise<void> {
    const found = await this.#records.networks();
    const plan = new NetworkPlan(await this.#executor.observe({ signal }));
    const [kept, gone]: [NetworkRecord[], NetworkRecord[]] = [[], []];
    for (const record of found) {
      const { network, effects, before } = record;
      if (before !== undefined && (before === null || !hasSameDevices(before, network)))
        planNoHostNetwork(plan, network, effects);
      if (before === null) gone.push(record);
      else {
        const target = before ?? network;
        kept.push({ network: target, effects: planHostNetwork(plan, target, effects) });
      }
    }
    if (this.#settings.rules.metadata !== undefined) planMetadataAddress(plan);
    await this.#floating.takeUp(plan);
    for (const record of kept) await this.#records.putNetwork(record);
    await this.#executor.apply(plan.steps, { signal });
    await this.#executor.apply(
      await forwardingSteps(
        this.#executor,
        this.#settings,
        kept.map(({ network }) => network),
        signal,
      ),
      { signal },
    );
    for (const record of kept) this.#networks.set(record.network.id, record);
    await this.#tables.apply(this.#rules([...this.#networks.values()]), { signal });
    await this.#servers.start(kept.map(({ network }) => network));
    for (const { network } of gone) await this.#records.deleteNetwork(network.id);
    await this.#floating.settle();
  }

  async #setUp(
    network: HostNetwork,
    hosts: readonly DhcpHost[],
    undo: RollbackStack,
    { signal }: NetworkHostOptions,
  ): Promise<void> {
    const old = this.#networks.get(network.id);
    const oldHosts = (await this.#servers.get(network.id)?.hosts()) ?? [];
    this.#checkBridge(network);
    const { steps, effects } = await this.#planSetUp(network, { signal });
    const record: NetworkRecord = { network, effects };
    await this.#note({ ...record, before: old?.network ?? null });
    await this.#applySteps(steps, undo, signal);
    await this.#applySteps(await forwardingSteps(this.#executor, this.#settings, [network], signal), undo, signal);
    await this.#applyRules(this.#with(record), undo, signal);
    undo.defer("DHCP server", () =>
      old === undefined ? this.#servers.remove(network.id) : this.#servers.ensure(old.network, oldHosts),
    );
    await this.#servers.ensure(network, hosts, signal);
    await this.#records.putNetwork(record);
    this.#networks.set(network.id, record);
  }

  async #tearDown(record: NetworkRecord, undo: RollbackStack, { signal }: NetworkHostOptions): Promise<void> {
    const { network, effects } = record;
    const plan = new NetworkPlan(await this.#executor.observe({ signal }));
    const ports = foreignPorts(plan, network, effects);
    if (ports.length > 0) {
      throw new NetworkHostError(`there are ports on the bridge ${network.bridge}`, {
        detail: ports.slice(0, 32).join(" "),
        remedy: "Unplug the guests' ports first.",
      });
    }
    planNoHostNetwork(plan, network, effects);
    await this.#note({ ...record, before: network });
    const server = this.#servers.get(network.id);
    const hosts = (await server?.hosts()) ?? [];
    undo.defer("DHCP server", () => this.#servers.ensure(network, hosts));
    await server?.halt();
    await this.#applyRules(
      [...this.#networks.values()].filter((other) => other !== record),
      undo,
      signal,
    );
    await this.#applySteps(plan.steps, undo, signal);
    await this.#records.deleteNetwork(network.id);
    this.#networks.delete(network.id);
  }

  /** What a process that takes over goes back to, written before anything changes. */
  async #note(record: NetworkRecord): Promise<void> {
    this.#remains.set(record.network.id, record);
    await this.#records.putNetwork(record);
  }

  async #applySteps(
    steps: readonly NetworkStep[],
    undo: RollbackStack,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (steps.length === 0) return;
    await this.#executor.apply(steps, { signal });
    undo.defer("devices", () => this.#executor.undo(steps));
  }

  async #applyRules(
    records: readonly NetworkRecord[],
    undo: RollbackStack,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    undo.defer("packet rules", () => this.#tables.apply(this.#rules([...this.#networks.values()])));
    await this.#tables.apply(this.#rules(records), { signal });
  }

  async #planSetUp(network: HostNetwork, options: NetworkHostOptions): Promise<DeviceChange> {
    const plan = new NetworkPlan(await this.#executor.observe(options));
    const old = this.#remains.get(network.id) ?? this.#networks.get(network.id);
    let before = old?.effects ?? NO_EFFECTS;
    if (old !== undefined && !hasSameDevices(old.network, network)) {
      planNoHostNetwork(plan, old.network, old.effects);
      before = NO_EFFECTS;
    }
    const effects = planHostNetwork(plan, network, before);
    return { steps: plan.steps, effects };
  }

  #checkBridge({ id, bridge }: HostNetwork): void {
    for (const { network } of this.#networks.values()) {
      if (network.id !== id && network.bridge === bridge)
        throw new NetworkHostError(`the bridge ${bridge} is another network's`, {
          retryable: false,
          detail: network.id,
        });
    }
  }

  #with(record: NetworkRecord): readonly NetworkRecord[] {
    return [...this.#networks.values()].filter(({ network }) => network.id !== record.network.id).concat(record);
  }

  #rules(records: readonly NetworkRecord[]): PacketRules {
    return {
      ...this.#settings.rules,
      networks: records.map(({ network }) => networkRules(network)),
      floating: this.#floating.rules(),
    };
  }

  #recordOf(networkId: string): NetworkRecord {
    this.#require();
    const record = this.#networks.get(networkId);
    if (record !== undefined) return record;
    throw new NetworkHostError("the network is not set up on this host", {
      retryable: false,
      detail: networkId,
      remedy: "Set it up with setUpNetwork().",
    });
  }

  /** Under the locks of the network and then of the host; what fails is undone. */
  async #change(
    networkId: string,
    { signal }: NetworkHostOptions,
    work: (undo: RollbackStack) => Promise<void>,
  ): Promise<void> {
    const change = async (): Promise<void> => {
      const old = this.#networks.get(networkId);
      await undoing(work, () =>
        old === undefined ? this.#records.deleteNetwork(networkId) : this.#records.putNetwork(old),
      );
      this.#remains.delete(networkId);
    };
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
