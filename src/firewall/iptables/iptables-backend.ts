/** Policies in iptables: chains of an owner in `filter`, sets of addresses in ipset, and anti-spoofing in a bridge table of nftables, which alone sees every frame. */
import { randomBytes } from "node:crypto";
import { asError, HyperviseError } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { FirewallError } from "../errors.js";
import { AntiSpoofingTable } from "../nftables/anti-spoofing-table.js";
import { BridgeNetfilter } from "../nftables/bridge-netfilter.js";
import { Nft } from "../nftables/nft.js";
import { isDecided, portsOf } from "../policy/address-places.js";
import { checkBridgedPorts } from "../policy/check-bridged-ports.js";
import type { FilterCounter, FirewallBackend, PortCounters } from "../policy/firewall-backend.js";
import type { PolicyChange, PolicyState } from "../policy/policy-state.js";
import type { InstancePolicy } from "../policy/port-policy.js";
import { markRule } from "./filter-rules.js";
import { FilterLayout } from "./filter-layout.js";
import type { LayoutChange } from "./filter-layout.js";
import { FilterCounters } from "./filter-counters.js";
import { IpSets } from "./ip-sets.js";
import type { IpSet } from "./ip-sets.js";
import { IptablesManager } from "./iptables-manager.js";
import { planText } from "./plan-text.js";
import type { IptablesVariant } from "./xtables.js";

export interface IptablesBackendOptions {
  readonly commands: CommandRunner;
  readonly owner: string;
  readonly variant?: IptablesVariant;
  readonly lockWaitSeconds: number;
  readonly timeoutMs: number;
}

interface InForce {
  readonly layout: FilterLayout;
  /** What only this process has written into `local`. */
  readonly mark: string;
}

type Undo = () => Promise<void>;

export class IptablesBackend implements FirewallBackend {
  readonly #owner: string;
  readonly #manager: IptablesManager;
  readonly #sets: IpSets;
  readonly #antiSpoofing: AntiSpoofingTable;
  readonly #bridges: BridgeNetfilter;
  #inForce: InForce | undefined;

  constructor(options: IptablesBackendOptions) {
    const { commands, owner, timeoutMs } = options;
    this.#owner = owner;
    this.#manager = new IptablesManager({ ...options, tables: ["filter"] });
    this.#sets = new IpSets(commands, owner, timeoutMs);
    this.#antiSpoofing = new AntiSpoofingTable(new Nft(commands, timeoutMs), owner);
    this.#bridges = new BridgeNetfilter(commands);
  }

  /** Sets first, which nothing refers to yet; then the rules; then the bridge's table. What fails takes back what came before it. */
  async replace(state: PolicyState): Promise<void> {
    const owned = [...state.instances.values()].flatMap(portsOf);
    const { filter: four } = this.#manager.ipv4;
    const { filter: six } = this.#manager.ipv6;
    const [was4, was6] = [four.content(), six.content()];
    const layout = new FilterLayout(this.#owner, { 4: four, 6: six });
    const mark = randomBytes(8).toString("hex");
    await this.#inOrder(async (undo) => {
      undo.push(() => {
        four.reset(was4);
        six.reset(was6);
        return Promise.resolve();
      });
      four.clear();
      six.clear();
      layout.begin(mark, state);
      const wanted = layout.change(wholeChange(state));
      const sets = new Map(
        [...wanted].flatMap(([name, set]): [string, IpSet][] => (set === undefined ? [] : [[name, set]])),
      );
      await this.#bridges.switchOnFor(owned);
      const changed = await this.#sets.replace(sets);
      undo.push(() => changed.undo());
      this.#manager.forget();
      undo.push(await this.#manager.applyRevocably());
      await this.#antiSpoofing.replace(owned);
      return changed.finish;
    });
    this.#inForce = { layout, mark };
  }

  async commit(change: PolicyChange): Promise<void> {
    if (this.#inForce === undefined) return this.replace(change.after);
    const { layout } = this.#inForce;
    const was = [...change.instances].flatMap((uuid) => portsOf(change.before.instances.get(uuid)));
    const is = [...change.instances].flatMap((uuid) => portsOf(change.after.instances.get(uuid)));
    const moved: LayoutChange = { ...change, out: was.filter(isDecided), come: is.filter(isDecided) };
    await this.#inOrder(async (undo) => {
      undo.push(() => {
        layout.forget(moved);
        this.#manager.revert();
        return Promise.resolve();
      });
      const sets = layout.change(moved);
      await this.#bridges.switchOnFor(is);
      const changed = await this.#sets.change(sets);
      undo.push(() => changed.undo());
      undo.push(await this.#manager.applyRevocably());
      await this.#antiSpoofing.move(was, is);
      return changed.finish;
    });
    await this.#bridges.switchOffUnused(was, change.after);
  }

  async intact(): Promise<boolean> {
    if (this.#inForce === undefined) return false;
    const rule = markRule(this.#inForce.mark);
    const has = (version: 4 | 6): Promise<boolean> =>
      this.#manager.hasRule(version, "filter", `${this.#owner}-local`, rule);
    const found = await Promise.all([has(4), has(6), this.#antiSpoofing.intact()]);
    return found.every(Boolean);
  }

  async remove(): Promise<void> {
    await this.#manager.remove();
    await (await this.#sets.replace(new Map())).finish();
    await this.#antiSpoofing.remove();
    this.#inForce = undefined;
    await this.#bridges.switchAllOff();
  }

  check(instance: InstancePolicy): void {
    checkBridgedPorts(instance, true);
  }

  plan(state: PolicyState, instance: InstancePolicy): string {
    const { owner, shared } = this.#manager;
    return planText({ owner, shared, antiSpoofing: this.#antiSpoofing, sets: this.#sets }, state, instance);
  }

  portCounters(instance: InstancePolicy): Promise<readonly PortCounters[]> {
    return this.#counters().ofPorts(portsOf(instance).filter(isDecided));
  }

  groupCounter(groupId: string): Promise<FilterCounter> {
    return this.#counters().ofGroup(groupId);
  }

  #counters(): FilterCounters {
    if (this.#inForce === undefined) throw new FirewallError("no filters are in force");
    return new FilterCounters(this.#owner, this.#manager, this.#inForce.layout);
  }

  /** Runs steps that each say how they are taken back; returns when the last is in force. */
  async #inOrder(steps: (undo: Undo[]) => Promise<() => Promise<void>>): Promise<void> {
    const undo: Undo[] = [];
    let finish: () => Promise<void>;
    try {
      finish = await steps(undo);
    } catch (error) {
      const undoErrors: Error[] = [];
      for (const takeBack of undo.reverse())
        await takeBack().catch((failure: unknown) => undoErrors.push(asError(failure)));
      if (error instanceof HyperviseError) error.attachUndoErrors(undoErrors);
      throw error;
    }
    await finish();
  }
}

/** From nothing. */
function wholeChange(state: PolicyState): LayoutChange {
  return {
    after: state,
    out: [],
    come: [...state.instances.values()].flatMap(portsOf).filter(isDecided),
    groups: state.groups.keys(),
    members: state.members.keys(),
    providerRules: true,
  };
}
