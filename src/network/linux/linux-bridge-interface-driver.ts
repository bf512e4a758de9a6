/** The host's end of networks on Linux bridges: the bridge itself, with the device that carries the network as its port. */
import { check } from "../../core/index.js";
import { checkLinkName, systemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { vlanBridgeName, vlanDeviceName } from "../device-names.js";
import type { DriverNetwork, InterfaceDriver, InterfaceDriverOptions } from "./interface-driver.js";
import { inNetworkNamespace } from "./namespace-commands.js";
import { NetworkExecutor } from "./network-executor.js";
import { NetworkPlan } from "./network-plan.js";
import { planBridge, planJoin, planMove, planVlan } from "./plan-devices.js";
import type { DeviceSettings } from "./plan-devices.js";
import { globalAddresses } from "./host-state.js";
import { stepAddress } from "./network-plan.js";

export interface LinuxBridgeInterfaceDriverOptions {
  /** Default: {@link systemCommandRunner}. */
  readonly commands?: CommandRunner;
  /** Network namespace, as `ip netns` names it, that is worked in; default: this process's own. */
  readonly netns?: string;
  /** Parent of VLAN devices, whatever the network says (Nova's `vlan_interface`). */
  readonly vlanInterface?: string;
  /** Port of bridges without a VLAN, whatever the network says (Nova's `flat_interface`). */
  readonly flatInterface?: string;
  /** Longest time that one command may take, in milliseconds. Default 30000. */
  readonly commandTimeoutMs?: number;
}

/** {@link InterfaceDriver} for Linux bridges; its `ensure…` are of use alone. Devices that were not made by it are left when it unplugs. */
export class LinuxBridgeInterfaceDriver implements InterfaceDriver {
  readonly #executor: NetworkExecutor;
  readonly #options: LinuxBridgeInterfaceDriverOptions;

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: LinuxBridgeInterfaceDriverOptions = {}) {
    const { commands = systemCommandRunner, netns, vlanInterface, flatInterface, commandTimeoutMs = 30_000 } = options;
    if (vlanInterface !== undefined) checkLinkName(vlanInterface, "vlanInterface");
    if (flatInterface !== undefined) checkLinkName(flatInterface, "flatInterface");
    this.#options = options;
    this.#executor = new NetworkExecutor({
      commands: inNetworkNamespace(commands, netns),
      commandTimeoutMs: check.integer({ min: 1 })(commandTimeoutMs, "commandTimeoutMs"),
    });
  }

  getDev({ bridge }: DriverNetwork): string {
    checkLinkName(bridge, "network.bridge");
    return bridge;
  }

  async plug(network: DriverNetwork, macAddress: string, options: InterfaceDriverOptions = {}): Promise<string> {
    await this.#change((plan) => this.#planPlug(plan, network, macAddress), options);
    return network.bridge;
  }

  /** The bridge gives back the addresses and routes of its port before it goes. */
  async unplug(network: DriverNetwork, options: InterfaceDriverOptions = {}): Promise<string> {
    const bridge = this.getDev(network);
    await this.#change((plan) => {
      const carrier = this.#carrierOf(network);
      if (carrier !== undefined && plan.link(carrier)?.master === bridge && network.vlan === undefined)
        planLeave(plan, bridge, carrier);
      for (const name of [...(network.vlan === undefined || carrier === undefined ? [] : [carrier]), bridge])
        if (plan.link(name)?.alias === markOf(network.id)) plan.deleteLink(name);
    }, options);
    return bridge;
  }

  /** What `plug` would do now, a command a line. */
  async plan(network: DriverNetwork, macAddress: string): Promise<string> {
    const plan = new NetworkPlan(await this.#executor.observe());
    this.#planPlug(plan, network, macAddress);
    return plan.text;
  }

  /** A bridge, and a device as its port where one is named, whose addresses and routes move onto it. */
  async ensureBridge(
    bridge: string,
    port?: string,
    settings: DeviceSettings & InterfaceDriverOptions = {},
  ): Promise<string> {
    const { signal, ...device } = settings;
    await this.#change(
      (plan) => {
        planBridge(plan, bridge, device);
        if (port !== undefined) planJoin(plan, bridge, port);
      },
      { signal },
    );
    return bridge;
  }

  /** The device `vlan<N>` of a parent. */
  async ensureVlan(
    vlan: number,
    parent: string,
    settings: DeviceSettings & InterfaceDriverOptions = {},
  ): Promise<string> {
    const { signal, ...device } = settings;
    const name = vlanDeviceName(vlan);
    await this.#change((plan) => planVlan(plan, name, { ...device, parent, vlan }), { signal });
    return name;
  }

  /** A VLAN device as a port of a bridge, which is called `br<N>` where it has no other name. */
  async ensureVlanBridge(
    vlan: number,
    parent: string,
    bridge: string = vlanBridgeName(vlan),
    settings: DeviceSettings & InterfaceDriverOptions = {},
  ): Promise<string> {
    const { signal, ...device } = settings;
    await this.#change(
      (plan) => {
        planVlan(plan, vlanDeviceName(vlan), { ...device, parent, vlan });
        planBridge(plan, bridge, device);
        planJoin(plan, bridge, vlanDeviceName(vlan));
      },
      { signal },
    );
    return bridge;
  }

  #planPlug(plan: NetworkPlan, network: DriverNetwork, macAddress: string): void {
    const { id, vlan, mtu } = network;
    const bridge = this.getDev(network);
    const parent = this.#parentOf(network);
    const settings = { alias: markOf(id), ...(mtu === undefined ? {} : { mtu }) };
    const mac = check.mac()(macAddress, "macAddress");
    const carrier = this.#carrierOf(network);
    if (vlan !== undefined && parent !== undefined && carrier !== undefined)
      planVlan(plan, carrier, { ...settings, macAddress: mac, parent, vlan });
    planBridge(plan, bridge, { ...settings, macAddress: mac });
    if (carrier !== undefined) planJoin(plan, bridge, carrier);
  }

  #parentOf({ parentInterface, vlan }: DriverNetwork): string | undefined {
    const { vlanInterface, flatInterface } = this.#options;
    return (vlan === undefined ? flatInterface : vlanInterface) ?? parentInterface;
  }

  #carrierOf(network: DriverNetwork): string | undefined {
    return network.vlan === undefined ? this.#parentOf(network) : vlanDeviceName(network.vlan);
  }

  async #change(fill: (plan: NetworkPlan) => void, options: InterfaceDriverOptions): Promise<void> {
    const plan = new NetworkPlan(await this.#executor.observe(options));
    fill(plan);
    if (plan.steps.length > 0) await this.#executor.apply(plan.steps, options);
  }
}

function planLeave(plan: NetworkPlan, bridge: string, port: string): void {
  const addresses = globalAddresses(plan.link(bridge))
    .filter(({ version, dynamic }) => version === 4 || !dynamic)
    .map(stepAddress);
  planMove(plan, { addresses, routes: plan.state.routes.filter(({ device }) => device === bridge) }, bridge, port);
  plan.set(port, { master: null });
}

/** Marks devices as made for a network. */
function markOf(id: string): string {
  return `hypervise-if:${check.uuid()(id, "network.id")}`;
}
