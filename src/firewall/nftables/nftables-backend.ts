/** Policies in the kernel's nftables: two tables of ours, changed by one transaction of the size of the change. */
import { randomBytes } from "node:crypto";
import type { CommandRunner } from "../../host/index.js";
import { FirewallError } from "../errors.js";
import { isDecided, portKey, portsOf } from "../policy/address-places.js";
import type { OwnedPort } from "../policy/address-places.js";
import { checkBridgedPorts } from "../policy/check-bridged-ports.js";
import type { FilterCounter, FirewallBackend, PortCounters } from "../policy/firewall-backend.js";
import type { PolicyChange, PolicyState } from "../policy/policy-state.js";
import type { InstancePolicy } from "../policy/port-policy.js";
import { BridgeNetfilter } from "./bridge-netfilter.js";
import { Dispatch } from "./dispatch.js";
import { transition } from "./fragment.js";
import type { Fragment, TableKey } from "./fragment.js";
import { groupFragment, membersFragment, providerRules } from "./group-fragments.js";
import { FIXED, groupNames } from "./names.js";
import { Nft } from "./nft.js";
import { sourceFragment } from "./port-fragments.js";
import { permissionsTable, skeleton } from "./skeleton.js";
import { TableTurns } from "./table-turns.js";
import type { TrackingMode } from "./tracking-mode.js";

export interface NftablesBackendOptions {
  readonly commands: CommandRunner;
  /** Name of our tables. */
  readonly table: string;
  /** Default: `inet` where br_netfilter is loaded, else `bridge` where the kernel can. */
  readonly mode?: TrackingMode;
  readonly timeoutMs: number;
}

/** What is in force. */
interface InForce {
  readonly mode: TrackingMode;
  readonly table: TableKey;
  readonly fragments: Map<string, readonly Fragment[]>;
  readonly dispatch: Dispatch;
  /** A counter that only this process knows: where it is, our tables are. */
  readonly mark: string;
}

export class NftablesBackend implements FirewallBackend {
  readonly #nft: Nft;
  readonly #bridges: BridgeNetfilter;
  readonly #name: string;
  readonly #turns: TableTurns;
  #mode: TrackingMode | undefined;
  #inForce: InForce | undefined;

  constructor({ commands, table, mode, timeoutMs }: NftablesBackendOptions) {
    this.#nft = new Nft(commands, timeoutMs);
    this.#bridges = new BridgeNetfilter(commands);
    this.#name = table;
    this.#turns = new TableTurns(this.#nft, table);
    this.#mode = mode;
  }

  /** Where flows are tracked; undefined before the first change. */
  get mode(): TrackingMode | undefined {
    return this.#inForce?.mode;
  }

  async replace(state: PolicyState): Promise<void> {
    const mode = await this.#chooseMode();
    const table = permissionsTable(mode);
    const fragments = new Map<string, readonly Fragment[]>();
    const dispatch = new Dispatch(mode, table);
    const owned = [...state.instances.values()].flatMap(portsOf);
    for (const port of owned) fragments.set(portKey(port), [sourceFragment(port)]);
    for (const group of state.groups.values()) fragments.set(`group/${group.id}`, [groupFragment(group, table)]);
    for (const [id, ranges] of state.members) fragments.set(`members/${id}`, [membersFragment(id, ranges, table)]);
    for (const [name, fragment] of dispatch.move([], owned.filter(isDecided), state).fragments)
      fragments.set(name, [fragment]);
    const mark = `mark_${randomBytes(8).toString("hex")}`;
    if (mode === "inet") await this.#bridges.switchOnFor(owned);
    try {
      await this.#turns.replace((name) => {
        const lines = transition([], [...fragments.values()].flat(), name);
        const provider = providerLines(state, table, name);
        const marks = tablesOf(mode).map((key) => `add counter ${key} ${name} ${mark}`);
        return skeleton(mode, name) + [...lines, ...provider, ...marks].map((line) => `${line}\n`).join("");
      });
    } finally {
      if (this.#turns.current === undefined) this.#inForce = undefined;
    }
    this.#inForce = { mode, table, fragments, dispatch, mark };
  }

  async commit(change: PolicyChange): Promise<void> {
    const inForce = this.#inForce;
    if (inForce === undefined) return this.replace(change.after);
    const { before, after, instances } = change;
    const { table, fragments, dispatch, mode } = inForce;
    const was = [...instances].flatMap((uuid) => portsOf(before.instances.get(uuid)));
    const is = [...instances].flatMap((uuid) => portsOf(after.instances.get(uuid)));
    const next = new Map<string, readonly Fragment[]>();
    for (const port of was) next.set(portKey(port), []);
    for (const port of is) next.set(portKey(port), [sourceFragment(port)]);
    for (const id of change.groups) {
      const group = after.groups.get(id);
      next.set(`group/${id}`, group === undefined ? [] : [groupFragment(group, table)]);
    }
    for (const id of change.members) {
      const ranges = after.members.get(id);
      next.set(`members/${id}`, ranges === undefined ? [] : [membersFragment(id, ranges, table)]);
    }
    const others = portsThatSendDifferently(change);
    const [out, come] = [[...was, ...others].filter(isDecided), [...is, ...others].filter(isDecided)];
    const moved = dispatch.move(out, come, after);
    for (const name of moved.names) {
      const fragment = moved.fragments.get(name);
      next.set(name, fragment === undefined ? [] : [fragment]);
    }
    const old = [...next.keys()].flatMap((name) => fragments.get(name) ?? []);
    const lines = [
      ...transition(old, [...next.values()].flat(), this.#current),
      ...(change.providerRules ? providerLines(after, table, this.#current) : []),
    ];
    try {
      if (mode === "inet") await this.#bridges.switchOnFor(is);
      await this.#nft.apply(lines.map((line) => `${line}\n`).join(""));
    } catch (error) {
      dispatch.move(come, out, before);
      throw error;
    }
    for (const [name, list] of next) {
      if (list.length === 0) fragments.delete(name);
      else fragments.set(name, list);
    }
    await this.#bridges.switchOffUnused(was, after);
  }

  async intact(): Promise<boolean> {
    if (this.#inForce === undefined) return false;
    const { mark, mode } = this.#inForce;
    const found = await Promise.all(tablesOf(mode).map((key) => this.#nft.hasCounter(key, this.#current, mark)));
    return found.every(Boolean);
  }

  async remove(): Promise<void> {
    await this.#turns.remove();
    this.#inForce = undefined;
    await this.#bridges.switchAllOff();
  }

  check(instance: InstancePolicy): void {
    checkBridgedPorts(instance, this.#mode !== "bridge");
  }

  plan(state: PolicyState, instance: InstancePolicy): string {
    const mode = this.#inForce?.mode ?? this.#mode ?? "inet";
    const table = permissionsTable(mode);
    const owned = portsOf(instance);
    const moved = new Dispatch(mode, table).move([], owned.filter(isDecided), state);
    const groups = [...state.groups.values()].filter(({ id }) => owned.some(({ port }) => port.groups?.includes(id)));
    const fragments = [
      ...owned.map(sourceFragment),
      ...groups.map((group) => groupFragment(group, table)),
      ...[...state.members].map(([id, ranges]) => membersFragment(id, ranges, table)),
      ...moved.fragments.values(),
    ];
    return transition([], fragments, this.#current)
      .map((line) => `${line}\n`)
      .join("");
  }

  async portCounters(instance: InstancePolicy): Promise<readonly PortCounters[]> {
    const { table, dispatch } = this.#require();
    const ports = portsOf(instance).filter(isDecided);
    return Promise.all(
      ports.map(async (owned) => {
        const { to, refused } = dispatch.countersOf(owned);
        const [total, dropped] = await Promise.all(
          [to, refused].map((elements) => this.#nft.elementCounter(table, this.#current, elements)),
        );
        const none = { packets: 0n, bytes: 0n };
        const { packets, bytes } = total ?? none;
        const accepted = {
          packets: packets - (dropped ?? none).packets,
          bytes: bytes - (dropped ?? none).bytes,
        };
        return { portId: owned.port.id, accepted, dropped: dropped ?? none };
      }),
    );
  }

  async groupCounter(groupId: string): Promise<FilterCounter> {
    const { table } = this.#require();
    return this.#nft.counter(table, this.#current, groupNames(groupId).counter);
  }

  #require(): InForce {
    if (this.#inForce === undefined) throw new FirewallError("no filters are in force");
    return this.#inForce;
  }

  /** The name of our tables: of those in force, or else of the first. */
  get #current(): string {
    return this.#turns.current ?? this.#name;
  }

  async #chooseMode(): Promise<TrackingMode> {
    this.#mode ??= (await this.#bridges.isThere()) || !(await this.#nft.accepts(PROBE)) ? "inet" : "bridge";
    return this.#mode;
  }
}

function tablesOf(mode: TrackingMode): readonly TableKey[] {
  return mode === "inet" ? ["bridge", "inet"] : ["bridge"];
}

function providerLines(state: PolicyState, table: TableKey, name: string): readonly string[] {
  const chain = `${table} ${name} ${FIXED.provider}`;
  return [`flush chain ${chain}`, ...providerRules(state.providerRules).map((rule) => `add rule ${chain} ${rule}`)];
}

const PROBE = "table bridge hypervise_probe {\n chain c {\n  ct state established accept\n }\n}\n";

/** A group that begins or ceases to permit everything to be sent changes the chains of the ports in it. */
function portsThatSendDifferently({ before, after, groups }: PolicyChange): OwnedPort[] {
  const changed = [...groups].filter((id) => {
    const [was, is] = [before.groups.get(id), after.groups.get(id)];
    return was !== undefined && is !== undefined && was.egressAny !== is.egressAny;
  });
  if (changed.length === 0) return [];
  return [...after.instances.values()]
    .flatMap(portsOf)
    .filter(({ port }) => changed.some((id) => port.groups?.includes(id)));
}
