/** The floating addresses of one host: forwarded first and bound then, so that nothing reaches the host itself by them. */
import { InvalidArgumentError } from "../../core/index.js";
import type { RollbackStack } from "../../core/index.js";
import type { NetworkExecutor } from "../linux/network-executor.js";
import { NetworkPlan } from "../linux/network-plan.js";
import { normalAddress } from "../linux/addresses.js";
import type { FloatingRule } from "../linux/packet-rules.js";
import type { PacketTables } from "../linux/packet-tables.js";
import { planNoPublicAddress, planPublicAddress } from "../linux/plan-addresses.js";
import { cutFlows } from "./flow-table.js";
import type { LinuxNetworkHostSettings } from "./linux-network-host-options.js";
import { NeighbourAnnouncer } from "./neighbour-announcer.js";
import type { FloatingRecord, NetworkRecords } from "./network-records.js";
import type { FloatingForward, NetworkHostOptions } from "./network-host.js";
import { undoing } from "./undoing.js";

export interface FloatingAddressesOptions {
  readonly settings: LinuxNetworkHostSettings;
  readonly records: NetworkRecords;
  readonly executor: NetworkExecutor;
  readonly tables: PacketTables;
}

/** Not for concurrent calls. */
export class FloatingAddresses {
  readonly #options: FloatingAddressesOptions;
  readonly #announcer: NeighbourAnnouncer;
  readonly #records = new Map<string, FloatingRecord>();
  #unsettled: readonly FloatingRecord[] = [];

  constructor(options: FloatingAddressesOptions) {
    this.#options = options;
    const { commands, gratuitousArps } = options.settings;
    this.#announcer = new NeighbourAnnouncer(commands, gratuitousArps);
  }

  list(): readonly FloatingForward[] {
    return [...this.#records.values()].map(({ forward }) => forward);
  }

  rules(): readonly FloatingRule[] {
    return [...this.#records.values()]
      .sort((one, other) => one.order - other.order)
      .map(({ forward: { floatingAddress, fixedAddress } }) => ({ floatingAddress, fixedAddress }));
  }

  /** Reads the records, and adds to a plan what binds their addresses; a change that was under way is taken back. */
  async takeUp(plan: NetworkPlan): Promise<void> {
    this.#records.clear();
    const found = await this.#options.records.floating();
    this.#unsettled = found.filter(({ before }) => before !== undefined);
    for (const { forward, device, order, before } of found) {
      if (before !== undefined) planNoPublicAddress(plan, device, forward.floatingAddress);
      if (before === null) continue;
      const target = before ?? forward;
      const place = { forward: target, device: this.#deviceOf(target), order };
      this.#records.set(target.floatingAddress, place);
      if (plan.link(place.device) !== undefined) planPublicAddress(plan, place.device, target.floatingAddress);
    }
  }

  /** Once the host is as `takeUp` planned it: the records say so. */
  async settle(): Promise<void> {
    const { records } = this.#options;
    for (const { forward } of this.#unsettled) {
      const record = this.#records.get(forward.floatingAddress);
      if (record === undefined) await records.deleteFloating(forward.floatingAddress);
      else await records.putFloating(record);
    }
    this.#unsettled = [];
  }

  async close(): Promise<void> {
    await this.#announcer.close();
    this.#records.clear();
  }

  async add(forward: FloatingForward, { signal }: NetworkHostOptions): Promise<void> {
    const { floatingAddress: address } = forward;
    const device = this.#deviceOf(forward);
    const old = this.#records.get(address);
    const order = old?.order ?? Math.max(0, ...[...this.#records.values()].map((record) => record.order)) + 1;
    const record: FloatingRecord = { forward, device, order };
    await this.#change(address, old, async (undo) => {
      await this.#options.records.putFloating({ ...record, before: old?.forward ?? null });
      await this.#translate(address, record, old, undo, signal);
      const plan = new NetworkPlan(await this.#options.executor.observe({ signal }));
      if (old !== undefined && old.device !== device) planNoPublicAddress(plan, old.device, address);
      planPublicAddress(plan, device, address);
      await this.#apply(plan, undo, signal);
      if (old !== undefined && old.forward.fixedAddress !== forward.fixedAddress) await this.#cut(address);
      await this.#options.records.putFloating(record);
    });
    this.#announcer.announce(device, address);
  }

  async remove(floatingAddress: string, { signal }: NetworkHostOptions): Promise<void> {
    const address = normalAddress(floatingAddress);
    const old = this.#records.get(address);
    if (old === undefined) return;
    await this.#change(address, old, async (undo) => {
      await this.#options.records.putFloating({ ...old, before: old.forward });
      const plan = new NetworkPlan(await this.#options.executor.observe({ signal }));
      planNoPublicAddress(plan, old.device, address);
      await this.#apply(plan, undo, signal);
      await this.#translate(address, undefined, old, undo, signal);
      await this.#cut(address);
      await this.#options.records.deleteFloating(address);
    });
  }

  /** Noted before anything changes, for a process that takes over. */
  #change(
    address: string,
    old: FloatingRecord | undefined,
    work: (undo: RollbackStack) => Promise<void>,
  ): Promise<void> {
    const { records } = this.#options;
    return undoing(work, () => (old === undefined ? records.deleteFloating(address) : records.putFloating(old)));
  }

  async #translate(
    address: string,
    now: FloatingRecord | undefined,
    old: FloatingRecord | undefined,
    undo: RollbackStack,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { tables } = this.#options;
    const set = (record: FloatingRecord | undefined): void => {
      if (record === undefined) this.#records.delete(address);
      else this.#records.set(address, record);
    };
    undo.defer("translation", () => {
      set(old);
      return tables.setFloating(this.rules());
    });
    set(now);
    await tables.setFloating(this.rules(), { signal });
  }

  async #apply(plan: NetworkPlan, undo: RollbackStack, signal: AbortSignal | undefined): Promise<void> {
    const { executor } = this.#options;
    await executor.apply(plan.steps, { signal });
    undo.defer("address", () => executor.undo(plan.steps));
  }

  #cut(address: string): Promise<void> {
    const { commands, commandTimeoutMs } = this.#options.settings;
    return cutFlows(commands, address, commandTimeoutMs);
  }

  #deviceOf({ publicInterface }: FloatingForward): string {
    const device = publicInterface ?? this.#options.settings.publicInterface;
    if (device !== undefined) return device;
    throw new InvalidArgumentError({
      field: "forward.publicInterface",
      value: publicInterface,
      expected: "a device, where the host has no publicInterface",
    });
  }
}
