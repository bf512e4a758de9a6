/** What a network host keeps of what it has set up, so that another process finds it. */
import { StateCorruptError } from "../../core/index.js";
import type { JsonValue, StateStore } from "../../core/index.js";
import { checkFloatingForward, checkHostNetwork } from "./check-host-network.js";
import type { FloatingForward, HostNetwork } from "./network-host.js";
import type { NetworkEffects } from "./plan-host-network.js";

export interface NetworkRecord {
  readonly network: HostNetwork;
  readonly effects: NetworkEffects;
  /** A change is under way: what to go back to, or null for nothing. Absent: the record is what the host has. */
  readonly before?: HostNetwork | null;
}

export interface FloatingRecord {
  readonly forward: FloatingForward;
  readonly device: string;
  /** Grows from one to the next: of several floating addresses of one fixed one, the first leads outwards. */
  readonly order: number;
  readonly before?: FloatingForward | null;
}

/** Records under `network/` and `floating/` of a store. */
export class NetworkRecords {
  readonly #store: StateStore;

  constructor(store: StateStore) {
    this.#store = store;
  }

  /** @throws StateCorruptError */
  async networks(): Promise<readonly NetworkRecord[]> {
    return Promise.all((await this.#store.list("network/")).map((key) => this.#read(key, asNetworkRecord)));
  }

  /** In the order in which they were given. @throws StateCorruptError */
  async floating(): Promise<readonly FloatingRecord[]> {
    const found = await Promise.all(
      (await this.#store.list("floating/")).map((key) => this.#read(key, asFloatingRecord)),
    );
    return found.sort((one, other) => one.order - other.order);
  }

  async putNetwork(record: NetworkRecord): Promise<void> {
    await this.#store.put(networkKey(record.network.id), record as unknown as JsonValue);
  }

  async putFloating(record: FloatingRecord): Promise<void> {
    await this.#store.put(floatingKey(record.forward.floatingAddress), record as unknown as JsonValue);
  }

  async deleteNetwork(id: string): Promise<void> {
    await this.#store.delete(networkKey(id));
  }

  async deleteFloating(address: string): Promise<void> {
    await this.#store.delete(floatingKey(address));
  }

  async #read<T>(key: string, parse: (value: Readonly<Record<string, unknown>>) => T): Promise<T> {
    const value = await this.#store.get(key);
    try {
      return parse(value as unknown as Readonly<Record<string, unknown>>);
    } catch (error) {
      throw new StateCorruptError("a network host's record can't be read", { detail: key, cause: error });
    }
  }
}

function asNetworkRecord(value: Readonly<Record<string, unknown>>): NetworkRecord {
  const network = checkHostNetwork(value.network as HostNetwork);
  const before =
    value.before === undefined ? {} : { before: value.before && checkHostNetwork(value.before as HostNetwork) };
  return { network, effects: value.effects as NetworkEffects, ...(before as Pick<NetworkRecord, "before">) };
}

function asFloatingRecord(value: Readonly<Record<string, unknown>>): FloatingRecord {
  const forward = checkFloatingForward(value.forward as FloatingForward);
  const before =
    value.before === undefined ? {} : { before: value.before && checkFloatingForward(value.before as FloatingForward) };
  return {
    forward,
    device: String(value.device),
    order: Number(value.order),
    ...(before as Pick<FloatingRecord, "before">),
  };
}

function networkKey(id: string): string {
  // An id may end in what keys may not end in.
  return `network/${id}-`;
}

function floatingKey(address: string): string {
  return `floating/${address.replaceAll(":", "_")}-`;
}
