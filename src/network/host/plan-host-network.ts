/** Plans of one network's devices and addresses on a host, and of their end. Pure. */
import { createHash } from "node:crypto";
import { DEFAULT_MAC_PREFIX } from "../mac-address.js";
import { vlanDeviceName } from "../device-names.js";
import type { HostRoute } from "../linux/host-state.js";
import type { NetworkPlan } from "../linux/network-plan.js";
import type { StepAddress } from "../linux/network-step.js";
import type { NetworkRules } from "../linux/packet-rules.js";
import { gatewayAddress, planGatewayAddresses } from "../linux/plan-addresses.js";
import { planBridge, planJoin, planMove, planVlan } from "../linux/plan-devices.js";
import type { HostNetwork } from "./network-host.js";

/** What of a network on this host is ours to take away again. */
export interface NetworkEffects {
  /** Devices that were not there before, in the order in which they were made. */
  readonly made: readonly string[];
  /** The device that became a port of the bridge, and what moved from it. */
  readonly joined?: {
    readonly port: string;
    readonly addresses: readonly StepAddress[];
    readonly routes: readonly HostRoute[];
  };
  /** Addresses that the bridge was given. */
  readonly addresses: readonly StepAddress[];
}

export const NO_EFFECTS: NetworkEffects = { made: [], addresses: [] };

/** The device that carries a network between hosts, once it is set up. */
export function carrierOf({ parentInterface, vlan }: HostNetwork): string | undefined {
  return vlan === undefined ? parentInterface : vlanDeviceName(vlan);
}

/** Whether a network still has the devices that it had. */
export function hasSameDevices(one: HostNetwork, other: HostNetwork): boolean {
  const names = ["bridge", "parentInterface", "vlan"] as const;
  return names.every((name) => one[name] === other[name]);
}

/** Adds to a plan what a network needs; says what is ours then, with what was ours before. */
export function planHostNetwork(plan: NetworkPlan, network: HostNetwork, before: NetworkEffects): NetworkEffects {
  const { bridge, parentInterface, vlan, mtu } = network;
  const had = new Set(plan.state.links.keys());
  const marked = { alias: aliasOf(network.id), ...(mtu === undefined ? {} : { mtu }) };
  planBridge(plan, bridge, { ...marked, macAddress: bridgeMacOf(network.id) });
  const carrier = carrierOf(network);
  if (carrier !== undefined && parentInterface !== undefined && vlan !== undefined)
    planVlan(plan, carrier, { ...marked, parent: parentInterface, vlan });
  const wasPort = carrier !== undefined && plan.link(carrier)?.master === bridge;
  const moved = carrier === undefined ? undefined : planJoin(plan, bridge, carrier);
  const wanted = gatewaysOf(network);
  for (const address of before.addresses)
    if (!wanted.some((own) => own.address === address.address)) plan.deleteAddress(bridge, address);
  const foreign = new Set(
    (plan.link(bridge)?.addresses ?? [])
      .map(({ address }) => address)
      .filter((address) => !before.addresses.some((own) => own.address === address)),
  );
  planGatewayAddresses(plan, bridge, wanted);
  const joined =
    carrier === undefined || moved === undefined
      ? undefined
      : wasPort || before.joined?.port === carrier
        ? before.joined && merged(before.joined, moved)
        : { port: carrier, ...moved };
  return {
    made: [
      ...before.made,
      ...[bridge, ...(vlan === undefined || carrier === undefined ? [] : [carrier])].filter(isNew),
    ],
    ...(joined === undefined ? {} : { joined }),
    addresses: wanted.filter(({ address }) => !foreign.has(address)),
  };

  function isNew(name: string): boolean {
    return !had.has(name) && !before.made.includes(name);
  }
}

/** Adds to a plan what takes a network's devices and addresses away, and gives back what moved. */
export function planNoHostNetwork(plan: NetworkPlan, network: HostNetwork, effects: NetworkEffects): void {
  const { bridge } = network;
  const { joined } = effects;
  const isThere = plan.link(bridge) !== undefined;
  if (joined !== undefined && isThere && plan.link(joined.port)?.master === bridge) {
    const isOn = ({ address }: StepAddress): boolean =>
      plan.link(bridge)?.addresses.some((own) => own.address === address) === true;
    const routes = joined.routes.filter((route) =>
      plan.state.routes.some((own) => own.device === bridge && own.destination === route.destination),
    );
    planMove(plan, { addresses: joined.addresses.filter(isOn), routes }, bridge, joined.port);
    plan.set(joined.port, { master: null });
  }
  if (isThere && !effects.made.includes(bridge))
    for (const address of effects.addresses) plan.deleteAddress(bridge, address);
  for (const name of [...effects.made].reverse()) plan.deleteLink(name);
}

/** Ports of a network's bridge that are neither ours nor the one that carries it. */
export function foreignPorts(plan: NetworkPlan, network: HostNetwork, effects: NetworkEffects): readonly string[] {
  if (!effects.made.includes(network.bridge)) return [];
  return [...plan.state.links.values()]
    .filter(
      ({ name, master }) => master === network.bridge && name !== effects.joined?.port && !effects.made.includes(name),
    )
    .map(({ name }) => name);
}

/** Switches that let the kernel forward what comes in by a network's bridge. */
export function forwardingKeys({ bridge, routed, subnets }: HostNetwork): readonly string[] {
  if (routed !== true) return [];
  const versions = new Set(subnets.map(({ cidr }) => (cidr.includes(":") ? "ipv6" : "ipv4")));
  return [...versions].map((version) => `net/${version}/conf/${bridge}/forwarding`);
}

/** What the host's tables are to know of a network. */
export function networkRules(network: HostNetwork): NetworkRules {
  const { bridge, subnets, routed = false, sharedAddress, vpn } = network;
  const device = carrierOf(network);
  const addresses = subnets.flatMap(({ hostAddress, gateway }) =>
    [hostAddress, gateway].filter((address) => address !== undefined),
  );
  return {
    bridge,
    cidrs: subnets.map(({ cidr }) => cidr),
    routed,
    ...(sharedAddress !== true || device === undefined
      ? {}
      : { isolation: { device, addresses: [...new Set(addresses)] } }),
    ...(vpn === undefined ? {} : { vpn }),
  };
}

function gatewaysOf({ subnets }: HostNetwork): readonly StepAddress[] {
  return subnets.flatMap(({ hostAddress, cidr }) =>
    hostAddress === undefined ? [] : [gatewayAddress(hostAddress, cidr)],
  );
}

function merged(before: NonNullable<NetworkEffects["joined"]>, moved: Omit<typeof before, "port">): typeof before {
  const isNew = ({ address }: StepAddress): boolean => !before.addresses.some((own) => own.address === address);
  return {
    ...before,
    addresses: [...before.addresses, ...moved.addresses.filter(isNew)],
    routes: [...before.routes, ...moved.routes],
  };
}

/** Marks our devices; ids are of letters that an alias may have. */
function aliasOf(id: string): string {
  return `hypervise-net:${id}`;
}

/** The same at each set-up: guests' tables of neighbours stay true. One from the ports would change with them. */
function bridgeMacOf(id: string): string {
  const bytes = createHash("sha256").update(`bridge\n${id}`).digest().subarray(0, 3);
  return `${DEFAULT_MAC_PREFIX}:${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(":")}`;
}
