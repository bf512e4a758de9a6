/** A plan that grows step by step, and knows what the host will look like when it is carried out. Pure. */
import type { HostAddress, HostLink, HostRoute, HostState } from "./host-state.js";
import { describePlan, hasAddress } from "./network-step.js";
import type { NetworkStep, StepAddress, StepSettings } from "./network-step.js";

export class NetworkPlan {
  readonly #steps: NetworkStep[] = [];
  #state: HostState;

  constructor(state: HostState) {
    this.#state = state;
  }

  get steps(): readonly NetworkStep[] {
    return this.#steps;
  }

  /** The host as the plan leaves it. */
  get state(): HostState {
    return this.#state;
  }

  /** The commands, a line each. */
  get text(): string {
    return describePlan(this.#steps);
  }

  link(name: string): HostLink | undefined {
    return this.#state.links.get(name);
  }

  add(...steps: readonly NetworkStep[]): void {
    for (const step of steps) {
      this.#steps.push(step);
      this.#state = stateAfter(this.#state, step);
    }
  }

  /** Sets what differs of a device. */
  set(name: string, to: StepSettings): void {
    const link = this.link(name);
    const now: StepSettings = {
      ...(link?.mtu === undefined ? {} : { mtu: link.mtu }),
      ...(link?.macAddress === undefined ? {} : { macAddress: link.macAddress }),
      alias: link?.alias ?? "",
      master: link?.master ?? null,
      up: link?.up ?? false,
      ...(to.linkLocal === undefined ? {} : { linkLocal: !to.linkLocal }),
    };
    const names = (Object.keys(to) as (keyof StepSettings)[]).filter(
      (key) => to[key] !== undefined && to[key] !== now[key],
    );
    if (names.length === 0) return;
    const pick = (settings: StepSettings): StepSettings =>
      Object.fromEntries(names.filter((key) => settings[key] !== undefined).map((key) => [key, settings[key]]));
    this.add({ kind: "setLink", name, to: pick(to), from: pick(now) });
  }

  /** Adds an address that is not there. */
  addAddress(device: string, address: StepAddress): void {
    if (!hasAddress(this.#state, device, address)) this.add({ kind: "addAddress", device, address });
  }

  /** Takes away an address that is there. */
  deleteAddress(device: string, address: StepAddress): void {
    if (hasAddress(this.#state, device, address)) this.add({ kind: "deleteAddress", device, address });
  }

  /** Deletes a device that is there, with what it takes to bring it back. */
  deleteLink(name: string): void {
    const link = this.link(name);
    if (link !== undefined) this.add({ kind: "deleteLink", name, recreate: recreationOf(link, this.#state) });
  }
}

/** An address as a step has it, that the kernel's list shows. */
export function stepAddress({ version, address, broadcast, scope }: HostAddress): StepAddress {
  return { version, address, scope, ...(broadcast === undefined ? {} : { broadcast }) };
}

function recreationOf(link: HostLink, state: HostState): readonly NetworkStep[] {
  const { name, mtu, macAddress, alias, master, up, parent, vlan } = link;
  const to: StepSettings = {
    ...(mtu === undefined ? {} : { mtu }),
    ...(macAddress === undefined ? {} : { macAddress }),
    ...(alias === undefined ? {} : { alias }),
    ...(master === undefined ? {} : { master }),
    up,
  };
  const made: NetworkStep | undefined =
    link.kind === "bridge"
      ? { kind: "addBridge", name }
      : parent !== undefined && vlan !== undefined
        ? { kind: "addVlan", name, parent, vlan }
        : undefined;
  if (made === undefined) return [];
  const ports = [...state.links.values()].filter((port) => port.master === name);
  const own = link.addresses.filter(({ scope, dynamic }) => scope !== "link" && !dynamic);
  return [
    made,
    { kind: "setLink", name, to, from: {} },
    ...own.map((address): NetworkStep => ({ kind: "addAddress", device: name, address: stepAddress(address) })),
    ...state.routes
      .filter((route) => route.device === name)
      .map((route): NetworkStep => ({ kind: "replaceRoute", to: route })),
    ...ports.map((port): NetworkStep => ({ kind: "setLink", name: port.name, to: { master: name }, from: {} })),
  ];
}

/** What a host looks like after a step. */
export function stateAfter(state: HostState, step: NetworkStep): HostState {
  switch (step.kind) {
    case "addBridge":
      return withLink(state, { name: step.name, kind: "bridge", up: false, addresses: [] });
    case "addVlan": {
      const { name, parent, vlan } = step;
      const { macAddress, mtu } = state.links.get(parent) ?? {};
      return withLink(state, {
        ...{ name, kind: "vlan", parent, vlan, up: false, addresses: [] },
        ...(macAddress === undefined ? {} : { macAddress }),
        ...(mtu === undefined ? {} : { mtu }),
      });
    }
    case "addVeth": {
      const end = (name: string): HostLink => ({ name, kind: "veth", up: false, addresses: [] });
      return withLink(withLink(state, end(step.name)), end(step.peer));
    }
    case "addTap":
      return withLink(state, { name: step.name, kind: "tun", up: false, addresses: [] });
    case "deleteLink":
      return withoutLink(state, step.name);
    case "setLink":
      return withSettings(state, step.name, step.to);
    case "addAddress":
      return changeLink(state, step.device, (link) => ({
        ...link,
        addresses: [...link.addresses, { scope: "global", dynamic: false, ...step.address }],
      }));
    case "deleteAddress":
      return changeLink(state, step.device, (link) => ({
        ...link,
        addresses: link.addresses.filter(({ address }) => address !== step.address.address),
      }));
    case "replaceRoute":
      return { ...state, routes: [...state.routes.filter((route) => !isReplaced(route, step.to)), step.to] };
    case "sysctl":
      return state;
  }
}

function isReplaced(route: HostRoute, by: HostRoute): boolean {
  return route.version === by.version && route.destination === by.destination && route.metric === by.metric;
}

function withLink(state: HostState, link: HostLink): HostState {
  return { ...state, links: new Map(state.links).set(link.name, link) };
}

function withoutLink(state: HostState, name: string): HostState {
  const left = [...state.links.values()]
    .filter((link) => link.name !== name && link.parent !== name)
    .map(({ master, ...link }): HostLink => (master === undefined || master === name ? link : { ...link, master }));
  const links = new Map(left.map((link) => [link.name, link]));
  return { ...state, links, routes: state.routes.filter(({ device }) => links.has(device)) };
}

function changeLink(state: HostState, name: string, change: (link: HostLink) => HostLink): HostState {
  const link = state.links.get(name);
  return link === undefined ? state : withLink(state, change(link));
}

function withSettings(state: HostState, name: string, to: StepSettings): HostState {
  return changeLink(state, name, (link) => {
    const { master: oldMaster, alias: oldAlias, ...rest } = link;
    const master = to.master === undefined ? oldMaster : (to.master ?? undefined);
    const alias = to.alias === undefined ? oldAlias : to.alias === "" ? undefined : to.alias;
    return {
      ...rest,
      ...(to.mtu === undefined ? {} : { mtu: to.mtu }),
      ...(to.macAddress === undefined ? {} : { macAddress: to.macAddress }),
      ...(to.up === undefined ? {} : { up: to.up }),
      ...(master === undefined ? {} : { master }),
      ...(alias === undefined ? {} : { alias }),
    };
  });
}
