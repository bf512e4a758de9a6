/** The networks that a Linux host has set up: their devices, rules, DHCP servers and records, changed as one. */
import type { RollbackStack } from "../../core/index.js";
import { NetworkHostError } from "../errors.js";
import type { NetworkExecutor } from "../linux/network-executor.js";
import { NetworkPlan } from "../linux/network-plan.js";
import type { NetworkStep } from "../linux/network-step.js";
import type { PacketRules } from "../linux/packet-rules.js";
import type { PacketTables } from "../linux/packet-tables.js";
import { planMetadataAddress } from "../linux/plan-addresses.js";
import type { DhcpServers } from "./dhcp-servers.js";
import type { FloatingAddresses } from "./floating-addresses.js";
import { forwardingSteps } from "./forwarding-steps.js";
import type { LinuxNetworkHostSettings } from "./linux-network-host-options.js";
import type { DhcpHost, HostNetwork, NetworkHostOptions } from "./network-host.js";
import type { NetworkRecord, NetworkRecords } from "./network-records.js";
import {
  NO_EFFECTS,
  foreignPorts,
  hasSameDevices,
  networkRules,
  planHostNetwork,
  planNoHostNetwork,
} from "./plan-host-network.js";
import type { NetworkEffects } from "./plan-host-network.js";
import { undoing } from "./undoing.js";

/** A change of one network's devices as it is going to be made. */
interface DeviceChange {
  readonly steps: readonly NetworkStep[];
  readonly effects: NetworkEffects;
}

export interface HostNetworksOptions {
  readonly settings: LinuxNetworkHostSettings;
  readonly records: NetworkRecords;
  readonly executor: NetworkExecutor;
  readonly tables: PacketTables;
  readonly servers: DhcpServers;
  readonly floating: FloatingAddresses;
}

/** Not safe against calls at the same time: the host sees to that. */
export class HostNetworks {
  readonly #settings: LinuxNetworkHostSettings;
  readonly #records: NetworkRecords;
  readonly #executor: NetworkExecutor;
  readonly #tables: PacketTables;
  readonly #servers: DhcpServers;
  readonly #floating: FloatingAddresses;
  readonly #networks = new Map<string, NetworkRecord>();
  /** Of networks that a failed change could not be undone for: what is still ours. */
  readonly #remains = new Map<string, NetworkRecord>();

  constructor({ settings, records, executor, tables, servers, floating }: HostNetworksOptions) {
    this.#settings = settings;
    this.#records = records;
    this.#executor = executor;
    this.#tables = tables;
    this.#servers = servers;
    this.#floating = floating;
  }

  get ids(): readonly string[] {
    return [...this.#networks.keys()].sort();
  }

  has(networkId: string): boolean {
    return this.#networks.has(networkId);
  }

  /** @throws NetworkHostError */
  require(networkId: string): void {
    if (this.#networks.has(networkId)) return;
    throw new NetworkHostError("the network is not set up on this host", {
      retryable: false,
      detail: networkId,
      remedy: "Set it up with setUpNetwork().",
    });
  }

  /** Forgets all, as if this process had never known of it. */
  clear(): void {
    this.#networks.clear();
    this.#remains.clear();
  }

  /** What `setUp` would do now, as text. */
  async plan(network: HostNetwork): Promise<string> {
    const { steps } = await this.#planSetUp(network, {});
    const plan = new NetworkPlan(await this.#executor.observe());
    plan.add(...steps);
    return `${plan.text}${this.#tables.plan(this.#rules(this.#with({ network, effects: NO_EFFECTS })))}`;
  }

  /** One plan for all networks and addresses, one transaction for all rules. */
  async takeUp(signal: AbortSignal | undefined): Promise<void> {
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

  /** Does work on a network; what fails is undone. */
  async change(networkId: string, work: (undo: RollbackStack) => Promise<void>): Promise<void> {
    const old = this.#networks.get(networkId);
    await undoing(work, () =>
      old === undefined ? this.#records.deleteNetwork(networkId) : this.#records.putNetwork(old),
    );
    this.#remains.delete(networkId);
  }

  async setUp(
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

  /** Nothing, where it is not set up. The server's files stay. @throws NetworkHostError when there are guests' ports on its bridge. */
  async tearDown(networkId: string, undo: RollbackStack, { signal }: NetworkHostOptions): Promise<void> {
    const record = this.#networks.get(networkId);
    if (record === undefined) return;
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
}
