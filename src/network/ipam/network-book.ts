/** The networks of a cloud: made, given to projects and hosts, and deleted. */
import { randomUUID } from "node:crypto";
import { InvalidArgumentError, check, systemClock } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import type { NetworkStoreOptions } from "../store/network-store.js";
import type { StoreConflictError } from "../store/store-errors.js";
import { NetworkConflictError, NetworkInUseError, NetworkNotFoundError, NoNetworkError } from "./errors.js";
import type { Network } from "./network.js";
import type { NetworkRecords, Registry } from "./network-records.js";
import type { NetworkRequest, NetworkTopology } from "./network-request.js";
import { planNetworks } from "./plan-networks.js";
import { ABSENT } from "./records.js";
import type { Versioned } from "./records.js";
import { retryOnConflict } from "./retry.js";

export interface NetworkBookOptions {
  readonly records: NetworkRecords;
  readonly clock?: Clock | undefined;
  readonly newId?: (() => string) | undefined;
}

/** What can be changed of a network once it is there; null takes it away. */
export interface NetworkChanges {
  readonly dnsServers?: readonly string[];
  readonly domain?: string | null;
  readonly vpnPublicAddress?: string | null;
  readonly mtu?: number | null;
}

/** Records that a deletion takes with it in one go. */
const DELETED_AT_ONCE = 10_000;

const changesShape = check.object({
  dnsServers: check.optional(check.array(check.ipAddress(), { max: 8 })),
  domain: check.optional(check.nullable(check.hostname())),
  vpnPublicAddress: check.optional(check.nullable(check.ipAddress({ version: 4 }))),
  mtu: check.optional(check.nullable(check.integer({ min: 68, max: 65_535 }))),
});

export class NetworkBook {
  readonly #records: NetworkRecords;
  readonly #clock: Clock;
  readonly #newId: () => string;

  constructor(options: NetworkBookOptions) {
    this.#records = options.records;
    this.#clock = options.clock ?? systemClock;
    this.#newId = options.newId ?? randomUUID;
  }

  /** @throws NetworkNotFoundError */
  async get(id: string, options?: NetworkStoreOptions): Promise<Versioned<Network>> {
    const network = await this.#records.networks.get(id, options);
    if (network === undefined) throw new NetworkNotFoundError(id);
    return network;
  }

  /** In the order of their priorities, then of their ids. */
  async all(options?: NetworkStoreOptions): Promise<readonly Versioned<Network>[]> {
    const all = await this.#records.networks.all(undefined, options);
    return [...all].sort((a, b) => (a.value.priority ?? 0) - (b.value.priority ?? 0));
  }

  /** All or none. @throws InvalidArgumentError, NetworkConflictError */
  async create(
    request: NetworkRequest,
    topology: NetworkTopology,
    options?: NetworkStoreOptions,
  ): Promise<readonly Network[]> {
    return retryOnConflict(
      async () => {
        const registry = await this.#registry(options);
        const existing = (await this.all(options)).map(({ value }) => value);
        const planned = planNetworks(request, { topology, existing, newId: this.#newId, now: this.#clock.now() });
        const known = planned.find(({ id }) => existing.some((other) => other.id === id));
        if (known !== undefined)
          throw new NetworkConflictError({ field: "request.id", wanted: known.id, other: `network ${known.label}` });
        const puts = planned.map((network) => this.#records.networks.put(network, ABSENT));
        await this.#records.store.commit([registry, ...puts], options);
        return planned;
      },
      uniqueConflict,
      { clock: this.#clock, signal: options?.signal },
    );
  }

  /**
   * @throws NetworkNotFoundError; NetworkInUseError while it belongs to a project, or guests have VIFs or addresses on it
   */
  async delete(id: string, options?: NetworkStoreOptions): Promise<void> {
    const { fixedIps, vifs, networks, store } = this.#records;
    await retryOnConflict(
      async () => {
        const network = await this.get(id, options);
        if (network.value.projectId !== undefined) throw new NetworkInUseError("the network belongs to a project");
        const used = (await store.count(vifs.kind, `network:${id}`, options)) > 0;
        if (used || (await store.count(fixedIps.kind, `allocated:${id}`, options)) > 0)
          throw new NetworkInUseError("the network has addresses that guests use");
        // What is left are addresses that were in use once. The last of them go with the network.
        for (;;) {
          const page = await fixedIps.first(`network:${id}`, DELETED_AT_ONCE, options);
          const deletions = page.filter(({ value }) => !value.allocated).map((ip) => fixedIps.delete(ip));
          if (page.length === DELETED_AT_ONCE) {
            await store.commit([networks.expect(network), ...deletions], options);
            continue;
          }
          await store.commit(
            [
              await this.#registry(options),
              networks.delete(network),
              ...deletions,
              { op: "limit", kind: vifs.kind, index: `network:${id}`, atMost: 0 },
              { op: "limit", kind: fixedIps.kind, index: `network:${id}`, atMost: 0 },
            ],
            options,
          );
          return;
        }
      },
      undefined,
      { clock: this.#clock, signal: options?.signal },
    );
  }

  /** Changes a network. Nothing is written when `change` returns what was there. */
  async change(
    id: string,
    change: (network: Network) => Network,
    options?: NetworkStoreOptions,
  ): Promise<Versioned<Network>> {
    return retryOnConflict(
      async () => {
        const network = await this.get(id, options);
        const changed = change(network.value);
        if (changed === network.value) return network;
        const [version = 0] = await this.#records.store.commit(
          [this.#records.networks.put(changed, network.version)],
          options,
        );
        return { value: changed, version };
      },
      uniqueConflict,
      { clock: this.#clock, signal: options?.signal },
    );
  }

  /** @throws InvalidArgumentError, NetworkNotFoundError */
  async modify(id: string, changes: NetworkChanges, options?: NetworkStoreOptions): Promise<Network> {
    const checked = changesShape(changes, "changes");
    const given = Object.entries(checked).filter(([, value]) => value !== undefined);
    const { value } = await this.change(
      id,
      (network) =>
        Object.fromEntries(
          Object.entries({ ...network, ...Object.fromEntries(given) }).filter(([, item]) => item !== null),
        ) as unknown as Network,
      options,
    );
    return value;
  }

  /**
   * Sets the host of a network that has none; one that it has stays. Whoever comes first wins.
   * @returns the network, with its host
   */
  async setHost(id: string, host: string, options?: NetworkStoreOptions): Promise<Versioned<Network>> {
    return this.change(id, (network) => (network.host === undefined ? { ...network, host } : network), options);
  }

  /** Takes the network from whatever project and host it has, as far as asked. @throws NetworkInUseError when guests use it */
  async disassociate(
    id: string,
    what: { readonly host: boolean; readonly project: boolean },
    options?: NetworkStoreOptions,
  ): Promise<Network> {
    if (what.project && (await this.#records.store.count(this.#records.vifs.kind, `network:${id}`, options)) > 0)
      throw new NetworkInUseError("the network has VIFs of guests");
    const { value } = await this.change(
      id,
      ({ host, projectId, ...rest }) => ({
        ...rest,
        ...(what.host || host === undefined ? {} : { host }),
        ...(what.project || projectId === undefined ? {} : { projectId }),
      }),
      options,
    );
    return value;
  }

  async ofProject(projectId: string, options?: NetworkStoreOptions): Promise<readonly Versioned<Network>[]> {
    return this.#records.networks.all(`project:${projectId}`, options);
  }

  /** Gives this network, or one that nobody has, to a project. @throws NoNetworkError when none is left; NetworkInUseError when this one is another's */
  async addToProject(projectId: string, id?: string, options?: NetworkStoreOptions): Promise<Network> {
    check.string({ max: 64, charset: "name" })(projectId, "projectId");
    return retryOnConflict(
      async () => {
        const [free] =
          id === undefined ? await this.#records.networks.first("free", 1, options) : [await this.get(id, options)];
        if (free === undefined) throw new NoNetworkError("no network is left for the project");
        if (free.value.projectId === projectId) return free.value;
        if (free.value.projectId !== undefined) throw new NetworkInUseError("the network belongs to another project");
        const network: Network = { ...free.value, projectId };
        await this.#records.store.commit([this.#records.networks.put(network, free.version)], options);
        return network;
      },
      undefined,
      { clock: this.#clock, signal: options?.signal },
    );
  }

  /**
   * One that nobody has becomes the project's first.
   * @throws NoNetworkError when none is left; StoreConflictError with `limit` when the project has one by now
   */
  async addFirstToProject(projectId: string, options?: NetworkStoreOptions): Promise<Network> {
    return retryOnConflict(
      async () => {
        const [free] = await this.#records.networks.first("free", 1, options);
        if (free === undefined) throw new NoNetworkError("no network is left for the project");
        const network: Network = { ...free.value, projectId };
        const put = this.#records.networks.put(network, free.version);
        const index = `project:${projectId}`;
        await this.#records.store.commit([put, { op: "limit", kind: put.kind, index, atMost: 1 }], options);
        return network;
      },
      (conflict) => {
        if (conflict.reason === "limit") throw conflict;
      },
      { clock: this.#clock, signal: options?.signal },
    );
  }

  async #registry(options?: NetworkStoreOptions) {
    const name: Registry["name"] = "networks";
    const present = await this.#records.registries.get(name, options);
    return this.#records.registries.put({ name }, present?.version ?? ABSENT);
  }
}

/** A VLAN or VPN port that another has will still be another's next time. */
function uniqueConflict(conflict: StoreConflictError): void {
  if (conflict.reason !== "unique" || conflict.kind !== "network") return;
  const [what = "", ...value] = (conflict.key ?? "").split(":");
  if (what !== "vlan" && what !== "vpn")
    throw new InvalidArgumentError({ field: "request", value: conflict.key, expected: "what no other network has" });
  throw new NetworkConflictError({
    field: what === "vlan" ? "request.vlan" : "request.vpnStart",
    wanted: value.join(":"),
    other: "another network",
    cause: conflict,
  });
}
