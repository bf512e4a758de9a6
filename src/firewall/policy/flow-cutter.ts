/** Ends flows that were permitted and no longer are: a connection that is established is asked nothing any more. */
import { readFile } from "node:fs/promises";
import type { AddressRange } from "./address-range.js";
import { formatRange, rangeContains } from "./address-range.js";
import { ruleKey } from "./group-policy.js";
import type { GroupPolicy } from "./group-policy.js";
import { permitsEgress, permitsIngress } from "./permits.js";
import type { Flow } from "./permits.js";
import type { PolicyChange } from "./policy-state.js";
import type { InstancePolicy, PortPolicy } from "./port-policy.js";

export interface FlowCutter {
  /** After the change is in force. */
  cut(change: PolicyChange): Promise<void>;
}

/** The flows that a host tracks. */
export interface TrackedFlows<F extends Flow = Flow> {
  /** Flows that one of the addresses is an end of; more may be given. */
  list(addresses: readonly AddressRange[]): Promise<readonly F[]>;
  /** Success for those that are gone. */
  delete(flows: DoomedFlows<F>): Promise<void>;
}

/** The answer to a list of what flows at these addresses, in two parts. */
export interface DoomedFlows<F extends Flow = Flow> {
  readonly doomed: readonly F[];
  readonly kept: readonly F[];
  readonly addresses: readonly AddressRange[];
}

/** Whether anything has ever come from the guest at an interface of this host. */
export type HasSpoken = (deviceName: string) => Promise<boolean>;

export class TrackedFlowCutter<F extends Flow> implements FlowCutter {
  readonly #tracked: TrackedFlows<F>;
  readonly #hasSpoken: HasSpoken;
  /** Ports that had said nothing when they were first filtered, and are shut since: they have no flows that could be too many. */
  readonly #silent = new Set<string>();

  constructor(tracked: TrackedFlows<F>, hasSpoken: HasSpoken = deviceHasSpoken) {
    this.#tracked = tracked;
    this.#hasSpoken = hasSpoken;
  }

  async cut(change: PolicyChange): Promise<void> {
    const { gone, judged } = affectedPorts(change, await this.#silentPorts(change));
    const addresses = [...gone, ...judged].flatMap((port) => port.addresses);
    if (addresses.length === 0) return;
    const flows = await this.#tracked.list(addresses);
    const [doomed, kept]: [F[], F[]] = [[], []];
    for (const flow of flows) {
      const isDoomed =
        gone.some((port) => hasEnd(port, flow)) || judged.some((port) => !isPermitted(change, port, flow));
      (isDoomed ? doomed : kept).push(flow);
    }
    if (doomed.length > 0) await this.#tracked.delete({ doomed, kept, addresses });
  }

  /** Of the ports of instances that have changed: those that came without a flow and get their first groups now. */
  async #silentPorts({ before, after, instances }: PolicyChange): Promise<ReadonlySet<PortPolicy>> {
    const silent = new Set<PortPolicy>();
    for (const uuid of instances) {
      const was = before.instances.get(uuid)?.ports ?? [];
      const is = after.instances.get(uuid)?.ports ?? [];
      for (const { id } of was) if (!is.some((port) => port.id === id)) this.#silent.delete(`${uuid}/${id}`);
      for (const port of is) {
        const key = `${uuid}/${port.id}`;
        const previous = was.find(({ id }) => id === port.id);
        const isNew = previous === undefined && port.groups !== undefined && !(await this.#hasSpoken(port.deviceName));
        const isShut = this.#silent.has(key) && previous !== undefined && isSamePlace(previous, port);
        if (!isNew && !isShut) this.#silent.delete(key);
        else if (port.applied) this.#silent.delete(key);
        else this.#silent.add(key);
        if (isNew || isShut) silent.add(port);
      }
    }
    return silent;
  }
}

async function deviceHasSpoken(deviceName: string): Promise<boolean> {
  const received = await readFile(`/sys/class/net/${deviceName}/statistics/rx_packets`, "utf8").catch(() => "unknown");
  return received.trim() !== "0";
}

function isSamePlace(one: PortPolicy, other: PortPolicy): boolean {
  const places = [one, other].map(({ deviceName, addresses, groups }) =>
    [deviceName, groups === undefined, ...addresses.map(formatRange)].join(" "),
  );
  return places[0] === places[1];
}

/** `gone`: ports that were taken out, whose addresses may be another's tomorrow. `judged`: ports that may have lost a permission. */
export function affectedPorts(
  change: PolicyChange,
  silent: ReadonlySet<PortPolicy> = new Set(),
): {
  readonly gone: readonly PortPolicy[];
  readonly judged: readonly PortPolicy[];
} {
  const { before, after, instances } = change;
  const lost = groupsThatLost(change);
  const gained = change.providerRules && after.providerRules.length > 0;
  const gone: PortPolicy[] = [];
  const judged = new Set<PortPolicy>();
  for (const uuid of instances) {
    const present = after.instances.get(uuid);
    for (const port of before.instances.get(uuid)?.ports ?? []) {
      const now = present?.ports.find(({ id }) => id === port.id);
      if (now !== undefined) judged.add(now);
      // Ports of an instance that is still there are without filters now; their flows are not ours to judge.
      else if (present === undefined) gone.push(port);
    }
    for (const port of present?.ports ?? []) judged.add(port);
  }
  if (lost.size > 0 || gained) {
    for (const instance of after.instances.values())
      for (const port of instance.ports) if (gained || isInOneOf(port, lost)) judged.add(port);
  }
  const owned = (port: PortPolicy): boolean => port.groups !== undefined && port.applied && !silent.has(port);
  return { gone: withoutOwners(gone, after.instances.values()), judged: [...judged].filter(owned) };
}

/** Groups that permit less than they did. */
function groupsThatLost({ before, after, groups, members }: PolicyChange): ReadonlySet<string> {
  const lost = new Set<string>();
  for (const id of groups) {
    const [was, is] = [before.groups.get(id), after.groups.get(id)];
    if (was !== undefined && is !== undefined && permitsLess(was, is)) lost.add(id);
  }
  const shrunk = [...members].filter((id) => {
    const is = after.members.get(id) ?? [];
    return (before.members.get(id) ?? []).some((range) => !is.some((other) => rangeContains(other, range)));
  });
  for (const group of after.groups.values()) {
    const refers = shrunk.some((id) => group.remotes.has(id));
    if (refers) lost.add(group.id);
  }
  return lost;
}

function permitsLess(was: GroupPolicy, is: GroupPolicy): boolean {
  if (was.egressAny && !is.egressAny) return true;
  return (["ingress", "egress"] as const).some((direction) => {
    const kept = new Set(is[direction].map(ruleKey));
    return was[direction].some((rule) => !kept.has(ruleKey(rule)));
  });
}

function isPermitted({ after }: PolicyChange, port: PortPolicy, flow: Flow): boolean {
  if (isEnd(port, flow, flow.source) && !permitsEgress(after, port, flow)) return false;
  return !isEnd(port, flow, flow.destination) || permitsIngress(after, port, flow);
}

function hasEnd(port: PortPolicy, flow: Flow): boolean {
  return isEnd(port, flow, flow.source) || isEnd(port, flow, flow.destination);
}

function isEnd({ addresses }: PortPolicy, { version }: Flow, address: bigint): boolean {
  return addresses.some((range) => range.version === version && range.first <= address && address <= range.last);
}

function isInOneOf({ groups = [] }: PortPolicy, ids: ReadonlySet<string>): boolean {
  return groups.some((id) => ids.has(id));
}

/** Ports without the addresses that another port of the host has. */
function withoutOwners(ports: readonly PortPolicy[], instances: Iterable<InstancePolicy>): PortPolicy[] {
  const owned = new Set<AddressRange>();
  const gone = ports.flatMap(({ addresses }) => addresses);
  if (gone.length === 0) return [...ports];
  for (const instance of instances)
    for (const port of instance.ports)
      for (const other of port.addresses) for (const range of gone) if (overlaps(range, other)) owned.add(range);
  return ports.map((port) => ({ ...port, addresses: port.addresses.filter((range) => !owned.has(range)) }));
}

function overlaps(one: AddressRange, other: AddressRange): boolean {
  return one.version === other.version && one.first <= other.last && other.first <= one.last;
}
