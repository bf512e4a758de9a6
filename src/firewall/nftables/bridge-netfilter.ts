/** Bridges that hand their packets to where routed ones are filtered: each by a switch of its own, never by the host's. */
import { access, readFile } from "node:fs/promises";
import { asError, NotSupportedError } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { FirewallError } from "../errors.js";
import { isDecided, portsOf } from "../policy/address-places.js";
import type { OwnedPort } from "../policy/address-places.js";
import type { PolicyState } from "../policy/policy-state.js";

const SWITCHES = ["nf_call_iptables", "nf_call_ip6tables"] as const;

export class BridgeNetfilter {
  readonly #commands: CommandRunner;
  /** Bridges that we have switched on. */
  readonly #switched = new Set<string>();

  constructor(commands: CommandRunner) {
    this.#commands = commands;
  }

  /** Whether the kernel can do it as it is; loading what it lacks would change how all bridges of the host behave. */
  async isThere(): Promise<boolean> {
    return access("/proc/sys/net/bridge").then(
      () => true,
      () => false,
    );
  }

  /** @throws FirewallError when the bridge is not there */
  async switchOn(bridge: string): Promise<void> {
    if (this.#switched.has(bridge)) return;
    const states = await Promise.all(SWITCHES.map((name) => stateOf(bridge, name)));
    if (states.every((on) => on === true)) return;
    await this.#set(bridge, "1");
    this.#switched.add(bridge);
  }

  /** Leaves the bridge as it was found; success when it is gone. */
  async switchOff(bridge: string): Promise<void> {
    if (!this.#switched.delete(bridge)) return;
    if ((await stateOf(bridge, SWITCHES[0])) !== undefined) await this.#set(bridge, "0");
  }

  /** For the ports that groups decide for. @throws FirewallError; NotSupportedError when the kernel can't */
  async switchOnFor(ports: readonly OwnedPort[]): Promise<void> {
    const bridges = bridgesOf(ports);
    if (bridges.size === 0) return;
    if (!(await this.isThere())) throw bridgeNetfilterMissing();
    for (const bridge of bridges) await this.switchOn(bridge);
  }

  /** For the bridges that these ports were the last ones of. */
  async switchOffUnused(ports: readonly OwnedPort[], state: PolicyState): Promise<void> {
    const left = bridgesOf(ports);
    for (const instance of state.instances.values()) {
      if (left.size === 0) return;
      for (const bridge of bridgesOf(portsOf(instance))) left.delete(bridge);
    }
    for (const bridge of left) await this.switchOff(bridge);
  }

  async switchAllOff(): Promise<void> {
    for (const bridge of [...this.#switched]) await this.switchOff(bridge);
  }

  async #set(bridge: string, value: "0" | "1"): Promise<void> {
    const settings = SWITCHES.flatMap((name) => [name, value]);
    try {
      await this.#commands.run(["ip", "link", "set", "dev", bridge, "type", "bridge", ...settings]);
    } catch (error) {
      throw new FirewallError(`bridge ${bridge} does not hand over its packets`, { cause: asError(error) });
    }
  }
}

function bridgesOf(ports: readonly OwnedPort[]): Set<string> {
  return new Set(ports.filter(isDecided).map(({ port }) => port.bridge ?? port.deviceName));
}

function bridgeNetfilterMissing(): NotSupportedError {
  return new NotSupportedError({
    capability: "security groups on bridges",
    message: "the kernel tracks no connections in bridges, and br_netfilter is not loaded",
    remedy:
      "Load nf_conntrack_bridge, or br_netfilter. The latter has all bridges hand over their packets unless net.bridge.bridge-nf-call-iptables and its like are set to 0.",
  });
}

async function stateOf(bridge: string, name: string): Promise<boolean | undefined> {
  try {
    return (await readFile(`/sys/class/net/${bridge}/bridge/${name}`, "utf8")).trim() === "1";
  } catch {
    return undefined;
  }
}
