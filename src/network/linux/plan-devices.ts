/** Plans of bridges, VLAN devices and ports: what differs from what is wanted, as steps. Pure. */
import { check } from "../../core/index.js";
import { checkLinkName } from "../../host/index.js";
import { NetworkHostError } from "../errors.js";
import type { HostRoute } from "./host-state.js";
import { globalAddresses } from "./host-state.js";
import { stepAddress } from "./network-plan.js";
import type { NetworkPlan } from "./network-plan.js";
import type { StepAddress } from "./network-step.js";

const checkMac = check.mac();
const checkMtu = check.integer({ min: 68, max: 65_535 });
const checkVlan = check.integer({ min: 1, max: 4094 });
const checkAlias = check.string({ max: 255, pattern: /^[A-Za-z0-9._:-]+$/, expected: "letters, digits and . _ : -" });

export interface DeviceSettings {
  readonly macAddress?: string;
  /** Bytes. */
  readonly mtu?: number;
  /** Marks the device as somebody's. */
  readonly alias?: string;
}

/** A bridge that forwards at once (no forward delay, no spanning tree) and is up. One that is there is kept. @throws NetworkHostError when the name is another device's. */
export function planBridge(plan: NetworkPlan, name: string, settings: DeviceSettings = {}): void {
  checkDevice(name, settings);
  const found = plan.link(name);
  if (found !== undefined && found.kind !== "bridge") throw taken(name, "a bridge");
  if (found === undefined) {
    plan.add({ kind: "addBridge", name });
    plan.set(name, { ...settings, up: true });
    return;
  }
  const { mtu } = settings;
  plan.set(name, { ...(mtu === undefined ? {} : { mtu }), up: true });
}

/** The VLAN device of a parent, up. @throws NetworkHostError when the parent is missing, or the name another device's. */
export function planVlan(
  plan: NetworkPlan,
  name: string,
  { parent, vlan, ...settings }: DeviceSettings & { readonly parent: string; readonly vlan: number },
): void {
  checkDevice(name, settings);
  checkLinkName(parent, "parent");
  checkVlan(vlan, "vlan");
  if (plan.link(parent) === undefined) throw missing(parent);
  const found = plan.link(name);
  if (found !== undefined && (found.vlan !== vlan || found.parent !== parent))
    throw taken(name, `VLAN ${vlan} of ${parent}`);
  plan.set(parent, { up: true });
  if (found === undefined) plan.add({ kind: "addVlan", name, parent, vlan });
  const { mtu, ...rest } = settings;
  plan.set(name, { ...(found === undefined ? rest : {}), ...(mtu === undefined ? {} : { mtu }), up: true });
}

/** What moved from a device to the bridge that it became a port of. */
export interface Moved {
  readonly addresses: readonly StepAddress[];
  readonly routes: readonly HostRoute[];
}

/**
 * Makes a device a port of a bridge. Its addresses and routes move onto the bridge, first there and then away, so that the
 * host is never without them; the bridge takes the device's MAC address, so that the neighbours' tables stay true.
 * @throws NetworkHostError when the device is missing, a port of another bridge, or part of a route of several ways.
 */
export function planJoin(plan: NetworkPlan, bridge: string, port: string): Moved {
  checkLinkName(port, "port");
  const link = plan.link(port);
  if (link === undefined) throw missing(port);
  if (link.master !== undefined && link.master !== bridge) {
    throw new NetworkHostError(`${port} is a port of ${link.master} already`, {
      retryable: false,
      detail: `${port} was to be joined to ${bridge}`,
      remedy: "Take it out of that bridge, or name another interface.",
    });
  }
  if (plan.state.multipath.has(port)) {
    throw new NetworkHostError(`a route of several ways goes through ${port}`, {
      retryable: false,
      remedy: "Move the route to the bridge by hand before.",
    });
  }
  const addresses = globalAddresses(link)
    .filter(({ version, dynamic }) => version === 4 || !dynamic)
    .map(stepAddress);
  const routes = plan.state.routes.filter((route) => route.device === port);
  if (link.master !== bridge && link.macAddress !== undefined) plan.set(bridge, { macAddress: link.macAddress });
  plan.set(port, { master: bridge, up: true });
  planMove(plan, { addresses, routes }, port, bridge);
  return { addresses, routes };
}

/** Moves addresses and routes from one device to another. */
export function planMove(plan: NetworkPlan, { addresses, routes }: Moved, from: string, to: string): void {
  for (const address of addresses) plan.addAddress(to, address);
  for (const route of routes) {
    const [source, target] = [
      { ...route, device: from },
      { ...route, device: to },
    ];
    plan.add({ kind: "replaceRoute", to: target, from: source });
  }
  for (const address of addresses) plan.deleteAddress(from, address);
}

/** A pair of Ethernet ends, both up. */
export function planVeth(plan: NetworkPlan, name: string, peer: string, settings: DeviceSettings = {}): void {
  checkDevice(name, settings);
  checkLinkName(peer, "peer");
  const found = plan.link(name);
  if (found !== undefined && found.kind !== "veth") throw taken(name, "a veth device");
  if (found === undefined) plan.add({ kind: "addVeth", name, peer });
  const { mtu } = settings;
  plan.set(name, { ...settings, up: true });
  if (plan.link(peer) !== undefined) plan.set(peer, { ...(mtu === undefined ? {} : { mtu }), up: true });
}

/** A persistent TAP that is a port of a bridge. */
export interface TapPort extends DeviceSettings {
  readonly bridge: string;
  readonly multiQueue?: boolean;
  /** Uid that may open it. */
  readonly owner?: number;
}

/** A TAP with virtio-net headers as a port of a bridge, up. */
export function planTapPort(plan: NetworkPlan, name: string, port: TapPort): void {
  const { bridge, multiQueue = false, owner, ...settings } = port;
  checkDevice(name, settings);
  checkLinkName(bridge, "bridge");
  const found = plan.link(name);
  if (found !== undefined && found.kind !== "tun") throw taken(name, "a TAP");
  if (found === undefined) plan.add({ kind: "addTap", name, multiQueue, ...(owner === undefined ? {} : { owner }) });
  plan.set(name, { ...settings, master: bridge, ...(found === undefined ? { linkLocal: false } : {}), up: true });
}

function checkDevice(name: string, { macAddress, mtu, alias }: DeviceSettings): void {
  checkLinkName(name);
  if (macAddress !== undefined) checkMac(macAddress, "macAddress");
  if (mtu !== undefined) checkMtu(mtu, "mtu");
  if (alias !== undefined) checkAlias(alias, "alias");
}

function missing(name: string): NetworkHostError {
  return new NetworkHostError(`there is no interface ${name}`, {
    remedy: `See "ip link" for the names of this host's interfaces.`,
  });
}

function taken(name: string, wanted: string): NetworkHostError {
  return new NetworkHostError(`${name} exists and is not ${wanted}`, {
    retryable: false,
    remedy: "Remove the device, or choose another name.",
  });
}
