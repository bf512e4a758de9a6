/** The host's end of networks on bridges of Open vSwitch: an internal port `gw-…` of the integration bridge. */
import { asError, check, isHyperviseError, withRollback } from "../../core/index.js";
import { systemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { deviceNameOf } from "../device-names.js";
import { NetworkHostError } from "../errors.js";
import type { DriverNetwork, InterfaceDriver, InterfaceDriverOptions } from "./interface-driver.js";
import { inNetworkNamespace } from "./namespace-commands.js";
import { NetworkExecutor } from "./network-executor.js";
import { NetworkPlan } from "./network-plan.js";
import { Ovs } from "./ovs.js";

export interface LinuxOvsInterfaceDriverOptions {
  /** Default: {@link systemCommandRunner}. */
  readonly commands?: CommandRunner;
  /** Network namespace, as `ip netns` names it, that Open vSwitch works in; default: this process's own. */
  readonly netns?: string;
  /** The database's socket, such as `unix:/run/openvswitch/db.sock`; default: the system's. */
  readonly database?: string;
  /** Longest time that one command may take, in milliseconds. Default 30000. */
  readonly commandTimeoutMs?: number;
}

/** {@link InterfaceDriver} for Open vSwitch. A network's VLAN is the tag of its port; `parentInterface` is the integration bridge's own matter. */
export class LinuxOvsInterfaceDriver implements InterfaceDriver {
  readonly #executor: NetworkExecutor;
  readonly #ovs: Ovs;

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: LinuxOvsInterfaceDriverOptions = {}) {
    const { commands = systemCommandRunner, netns, database, commandTimeoutMs = 30_000 } = options;
    const inside = inNetworkNamespace(commands, netns);
    check.integer({ min: 1 })(commandTimeoutMs, "commandTimeoutMs");
    this.#executor = new NetworkExecutor({ commands: inside, commandTimeoutMs });
    this.#ovs = new Ovs({ commands: inside, commandTimeoutMs, ...(database === undefined ? {} : { database }) });
  }

  getDev({ id }: DriverNetwork): string {
    return deviceNameOf("gw-", id);
  }

  async plug(network: DriverNetwork, macAddress: string, options: InterfaceDriverOptions = {}): Promise<string> {
    const name = this.getDev(network);
    const mac = check.mac()(macAddress, "macAddress");
    const { bridge, vlan, mtu } = network;
    await withRollback(async (undo) => {
      try {
        const found = (await this.#executor.observe(options)).links.has(name);
        if (!found) undo.defer(`port ${name}`, () => this.#ovs.removePort(bridge, name));
        await this.#ovs.addPort(
          {
            bridge,
            name,
            type: "internal",
            ...(vlan === undefined ? {} : { vlan }),
            ...(mtu === undefined ? {} : { mtu }),
            externalIds: { "iface-id": name, "iface-status": "active", "attached-mac": mac },
          },
          options,
        );
        const plan = new NetworkPlan(await this.#executor.observe(options));
        plan.set(name, { macAddress: mac, ...(mtu === undefined ? {} : { mtu }), up: true });
        if (plan.steps.length > 0) await this.#executor.apply(plan.steps, options);
      } catch (error) {
        throw failure(error, `the network's port ${name} could not be made`);
      }
    });
    return name;
  }

  async unplug(network: DriverNetwork): Promise<string> {
    const name = this.getDev(network);
    try {
      await this.#ovs.removePort(network.bridge, name);
    } catch (error) {
      throw failure(error, `the network's port ${name} could not be removed`);
    }
    return name;
  }
}

function failure(error: unknown, message: string): unknown {
  if (isHyperviseError(error) && error.code !== "COMMAND_FAILED") return error;
  const { detail } = error as { readonly detail?: string };
  return new NetworkHostError(message, { cause: asError(error), ...(detail === undefined ? {} : { detail }) });
}
