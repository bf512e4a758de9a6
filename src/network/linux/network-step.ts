/** Steps that change devices, addresses, routes and switches of a network namespace: data, each with its inverse. */
import { InvalidArgumentError } from "../../core/index.js";
import type { HostRoute, HostState } from "./host-state.js";

export interface StepSettings {
  readonly mtu?: number;
  readonly macAddress?: string;
  /** Empty: none. */
  readonly alias?: string;
  /** Null: a port of nothing. */
  readonly master?: string | null;
  readonly up?: boolean;
  /** False: the kernel gives the device no IPv6 link-local address. */
  readonly linkLocal?: boolean;
}

export interface StepAddress {
  readonly version: 4 | 6;
  /** With prefix length. */
  readonly address: string;
  readonly broadcast?: string;
  readonly scope?: string;
}

export type NetworkStep =
  | { readonly kind: "addBridge"; readonly name: string }
  | { readonly kind: "addVlan"; readonly name: string; readonly parent: string; readonly vlan: number }
  | { readonly kind: "addVeth"; readonly name: string; readonly peer: string }
  | {
      readonly kind: "addTap";
      readonly name: string;
      readonly multiQueue: boolean;
      readonly owner?: number;
    }
  /** `recreate`: what brings the device back. */
  | { readonly kind: "deleteLink"; readonly name: string; readonly recreate: readonly NetworkStep[] }
  | { readonly kind: "setLink"; readonly name: string; readonly to: StepSettings; readonly from: StepSettings }
  | { readonly kind: "addAddress"; readonly device: string; readonly address: StepAddress }
  | { readonly kind: "deleteAddress"; readonly device: string; readonly address: StepAddress }
  | { readonly kind: "replaceRoute"; readonly to: HostRoute; readonly from?: HostRoute }
  | { readonly kind: "sysctl"; readonly key: string; readonly to: string; readonly from: string };

/** A step of `ip`: all but switches. */
export type IpStep = Exclude<NetworkStep, { readonly kind: "sysctl" }>;

/** The words of `ip` (or `sysctl`) that do a step. @throws InvalidArgumentError for a word that its batch would read otherwise. */
export function wordsOf(step: NetworkStep): readonly string[] {
  const words = rawWordsOf(step);
  for (const word of words) {
    if (!/^[A-Za-z0-9._:/@%=+-]+$/.test(word) && word !== '""')
      throw new InvalidArgumentError({ field: `${step.kind} step`, value: word, expected: "plain words" });
  }
  return words;
}

/** One line for people, as a shell takes it. */
export function describeStep(step: NetworkStep): string {
  return `${step.kind === "sysctl" ? "sysctl" : "ip"} ${wordsOf(step).join(" ")}`;
}

/** A plan as text, a command a line. */
export function describePlan(steps: readonly NetworkStep[]): string {
  return steps.map((step) => `${describeStep(step)}\n`).join("");
}

function rawWordsOf(step: NetworkStep): readonly string[] {
  switch (step.kind) {
    case "addBridge":
      return ["link", "add", "name", step.name, "type", "bridge", "forward_delay", "0", "stp_state", "0"];
    case "addVlan":
      return ["link", "add", "link", step.parent, "name", step.name, "type", "vlan", "id", String(step.vlan)];
    case "addVeth":
      return ["link", "add", "name", step.name, "type", "veth", "peer", "name", step.peer];
    case "addTap": {
      const owner = step.owner === undefined ? [] : ["user", String(step.owner)];
      const mode = step.multiQueue ? ["multi_queue", "vnet_hdr"] : ["vnet_hdr"];
      return ["tuntap", "add", "dev", step.name, "mode", "tap", ...owner, ...mode];
    }
    case "deleteLink":
      return ["link", "delete", "dev", step.name];
    case "setLink":
      return ["link", "set", "dev", step.name, ...settingWords(step.to)];
    case "addAddress":
      return ["address", "add", ...addressWords(step.address), "dev", step.device, ...noDad(step.address)];
    case "deleteAddress":
      return ["address", "delete", step.address.address, "dev", step.device];
    case "replaceRoute":
      return ["route", "replace", ...routeWords(step.to)];
    case "sysctl":
      return ["-w", `${step.key}=${step.to}`];
  }
}

/** What undoes a step that was done, in this order; nothing where it did not change anything. */
export function undoOf(step: NetworkStep, state: HostState): readonly NetworkStep[] {
  switch (step.kind) {
    case "addBridge":
    case "addVlan":
    case "addVeth":
    case "addTap":
      return state.links.has(step.name) ? [{ kind: "deleteLink", name: step.name, recreate: [] }] : [];
    case "deleteLink":
      return state.links.has(step.name) ? [] : step.recreate;
    case "setLink":
      return undoSettings(step, state);
    case "addAddress":
      return hasAddress(state, step.device, step.address)
        ? [{ kind: "deleteAddress", device: step.device, address: step.address }]
        : [];
    case "deleteAddress":
      return state.links.has(step.device) && !hasAddress(state, step.device, step.address)
        ? [{ kind: "addAddress", device: step.device, address: step.address }]
        : [];
    case "replaceRoute":
      return step.from === undefined || state.routes.some((route) => sameRoute(route, step.from))
        ? []
        : [{ kind: "replaceRoute", to: step.from, from: step.to }];
    case "sysctl":
      return [{ ...step, to: step.from, from: step.to }];
  }
}

export function hasAddress(state: HostState, device: string, { address }: Pick<StepAddress, "address">): boolean {
  return state.links.get(device)?.addresses.some((own) => own.address === address) === true;
}

function undoSettings(step: Extract<NetworkStep, { kind: "setLink" }>, state: HostState): readonly NetworkStep[] {
  const link = state.links.get(step.name);
  if (link === undefined || Object.keys(step.from).length === 0) return [];
  const now = { ...link, master: link.master ?? null, alias: link.alias ?? "" };
  const { linkLocal, ...rest } = step.from;
  const differs =
    linkLocal !== undefined ||
    (Object.keys(rest) as (keyof typeof rest)[]).some((name) => rest[name] !== now[name as keyof typeof now]);
  return differs ? [{ kind: "setLink", name: step.name, to: step.from, from: step.to }] : [];
}

function sameRoute(one: HostRoute, other: HostRoute | undefined): boolean {
  const names = ["version", "destination", "device", "gateway", "metric"] as const;
  return other !== undefined && names.every((name) => one[name] === other[name]);
}

function settingWords(settings: StepSettings): readonly string[] {
  const { mtu, macAddress, alias, master, up, linkLocal } = settings;
  return [
    ...(mtu === undefined ? [] : ["mtu", String(mtu)]),
    ...(macAddress === undefined ? [] : ["address", macAddress]),
    ...(alias === undefined ? [] : ["alias", alias === "" ? '""' : alias]),
    ...(linkLocal === undefined ? [] : ["addrgenmode", linkLocal ? "eui64" : "none"]),
    ...(master === undefined ? [] : master === null ? ["nomaster"] : ["master", master]),
    ...(up === undefined ? [] : [up ? "up" : "down"]),
  ];
}

function addressWords({ address, broadcast, scope }: StepAddress): readonly string[] {
  return [
    address,
    ...(broadcast === undefined ? [] : ["broadcast", broadcast]),
    ...(scope === undefined || scope === "global" ? [] : ["scope", scope]),
  ];
}

/** An IPv6 address that is still being looked for on a bridge without a port can't be listened on. */
function noDad({ version }: StepAddress): readonly string[] {
  return version === 6 ? ["nodad"] : [];
}

function routeWords(route: HostRoute): readonly string[] {
  const { destination, gateway, device, source, scope, protocol, metric, onlink } = route;
  return [
    // The word "default" alone would be of IPv4.
    destination === "default" && route.version === 6 ? "::/0" : destination,
    ...(gateway === undefined ? [] : ["via", gateway]),
    ...["dev", device],
    ...(source === undefined ? [] : ["src", source]),
    ...(scope === undefined || route.version === 6 ? [] : ["scope", scope]),
    ...(protocol === undefined || protocol === "boot" ? [] : ["proto", protocol]),
    ...(metric === undefined ? [] : ["metric", String(metric)]),
    ...(onlink === true ? ["onlink"] : []),
  ];
}
