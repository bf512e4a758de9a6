/** Floating addresses: ranges in pools, and whom each address is given to. What hosts do with them is the managers' affair. */
import { InvalidArgumentError, check, systemClock } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import type { NetworkStoreOptions, StoreChange } from "../store/network-store.js";
import { StoreConflictError, StoreUnavailableError } from "../store/store-errors.js";
import {
  canonicalAddress,
  contains,
  formatAddress,
  formatCidr,
  overlaps,
  parseAddress,
  parseCidr,
  sizeOf,
} from "./address.js";
import { AddressPool, MAX_POOL } from "./address-pool.js";
import {
  AddressInUseError,
  AddressNotFoundError,
  FloatingPoolNotFoundError,
  NetworkConflictError,
  NetworkInUseError,
  NoFreeAddressError,
  QuotaExceededError,
} from "./errors.js";
import type { FloatingIp, FloatingRange } from "./network.js";
import type { NetworkRecords } from "./network-records.js";
import { PlaceChooser } from "./place-chooser.js";
import { ABSENT } from "./records.js";
import type { Versioned } from "./records.js";
import { retryOnConflict } from "./retry.js";

export interface FloatingBookOptions {
  readonly records: NetworkRecords;
  readonly clock?: Clock | undefined;
  /** Floating addresses that a project may have, without those that came with instances; -1: as many as there are. Default 10. */
  readonly quota?: number | undefined;
  /** The pool of ranges and requests that name none. Default `nova`. */
  readonly defaultPool?: string | undefined;
}

export interface FloatingRangeRequest {
  /** All of its addresses but the first and the last of an IPv4 range of more than two. */
  readonly cidr: string;
  readonly pool?: string;
  readonly interface?: string;
}

const requestShape = check.object({
  cidr: check.cidr(),
  pool: check.optional(check.string({ max: 64, charset: "name" })),
  interface: check.optional(
    check.string({ max: 15, pattern: /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,15}$/, expected: "a device name" }),
  ),
});

interface RangePool {
  readonly range: FloatingRange;
  readonly first: bigint;
  readonly version: 4 | 6;
  readonly places: AddressPool;
  readonly chooser: PlaceChooser;
}

interface ChosenAddress {
  readonly address: string;
  readonly expected: number;
  readonly range: Versioned<FloatingRange>;
  /** Of the range. */
  readonly chooser: PlaceChooser;
}

const RELEASED_WINDOW = 64;

export class FloatingBook {
  readonly defaultPool: string;
  readonly #records: NetworkRecords;
  readonly #clock: Clock;
  readonly #quota: number;
  /** By pool, with the version of the registry that they were read at. */
  readonly #pools = new Map<string, { readonly registry: number; readonly ranges: readonly RangePool[] }>();

  constructor(options: FloatingBookOptions) {
    this.#records = options.records;
    this.#clock = options.clock ?? systemClock;
    this.#quota = check.integer({ min: -1 })(options.quota ?? 10, "quotas.floatingIps");
    this.defaultPool = check.string({ max: 64, charset: "name" })(options.defaultPool ?? "nova", "defaultFloatingPool");
  }

  /** @throws InvalidArgumentError; NetworkConflictError when it overlaps another */
  async createRange(request: FloatingRangeRequest, options: NetworkStoreOptions = {}): Promise<FloatingRange> {
    const checked = requestShape(request, "request");
    const cidr = parseCidr(checked.cidr, "request.cidr");
    if (sizeOf(cidr) > BigInt(MAX_POOL))
      throw new InvalidArgumentError({
        field: "request.cidr",
        value: checked.cidr,
        expected: `at most ${MAX_POOL} addresses`,
      });
    const inner = cidr.version === 4 && sizeOf(cidr) > 2n ? 1n : 0n;
    const range: FloatingRange = {
      cidr: formatCidr(cidr),
      pool: checked.pool ?? this.defaultPool,
      ...(checked.interface === undefined ? {} : { interface: checked.interface }),
      first: formatAddress({ version: cidr.version, value: cidr.first + inner }),
      last: formatAddress({ version: cidr.version, value: cidr.last - inner }),
    };
    return retryOnConflict(
      async () => {
        const others = await this.#records.floatingRanges.all(undefined, options);
        const other = others.find(({ value }) => overlaps(parseCidr(value.cidr, "cidr"), cidr));
        if (other !== undefined)
          throw new NetworkConflictError({ field: "request.cidr", wanted: range.cidr, other: other.value.cidr });
        const changes = [await this.#registryPut(options), this.#records.floatingRanges.put(range, ABSENT)];
        await this.#records.store.commit(changes, options);
        return range;
      },
      undefined,
      { clock: this.#clock, signal: options.signal },
    );
  }

  /** @throws AddressNotFoundError; NetworkInUseError while a project has one of its addresses */
  async deleteRange(cidr: string, options: NetworkStoreOptions = {}): Promise<void> {
    const id = formatCidr(parseCidr(cidr, "cidr")).replace("/", "_");
    const { floatingRanges, floatingIps, store } = this.#records;
    await retryOnConflict(
      async () => {
        const range = await floatingRanges.get(id, options);
        if (range === undefined) throw new AddressNotFoundError(cidr);
        const bounds = parseCidr(range.value.cidr, "cidr");
        const all = await floatingIps.all(`pool:${range.value.pool}`, options);
        const own = all.filter(({ value }) => contains(bounds, parseAddress(value.address, "address")));
        if (own.some(({ value }) => value.projectId !== undefined))
          throw new NetworkInUseError("projects have addresses of the range");
        // Those who allocate expect the range: none comes in between.
        const doomed = own.map((ip) => floatingIps.delete(ip));
        const rest = doomed.splice(15_000);
        await store.commit(
          rest.length > 0
            ? [floatingRanges.expect(range), ...doomed]
            : [await this.#registryPut(options), floatingRanges.delete(range), ...doomed],
          options,
        );
        if (rest.length > 0) await this.deleteRange(cidr, options);
      },
      undefined,
      { clock: this.#clock, signal: options.signal },
    );
  }

  async ranges(options: NetworkStoreOptions = {}): Promise<readonly FloatingRange[]> {
    return (await this.#records.floatingRanges.all(undefined, options)).map(({ value }) => value);
  }

  /** Names of pools, sorted. */
  async pools(options: NetworkStoreOptions = {}): Promise<readonly string[]> {
    return [...new Set((await this.ranges(options)).map(({ pool }) => pool))].sort();
  }

  /**
   * Gives an address of a pool to a project: one that nobody has had, else the one that was released longest ago.
   * @throws FloatingPoolNotFoundError, NoFreeAddressError, QuotaExceededError
   */
  async allocate(
    request: { readonly projectId: string; readonly pool?: string | undefined; readonly autoAssigned?: boolean },
    options: NetworkStoreOptions = {},
  ): Promise<FloatingIp> {
    const projectId = check.string({ max: 64, charset: "name" })(request.projectId, "projectId");
    const { pool = this.defaultPool, autoAssigned = false } = request;
    return retryOnConflict(
      async () => {
        const chosen = await this.#choose(pool, options);
        const ip: FloatingIp = {
          address: chosen.address,
          pool,
          ...(chosen.range.value.interface === undefined ? {} : { interface: chosen.range.value.interface }),
          projectId,
          autoAssigned,
          updatedAt: this.#clock.now(),
        };
        const changes: StoreChange[] = [
          this.#records.floatingRanges.expect(chosen.range),
          this.#records.floatingIps.put(ip, chosen.expected),
        ];
        if (!autoAssigned && this.#quota >= 0)
          changes.push({
            op: "limit",
            kind: this.#records.floatingIps.kind,
            index: `quota:${projectId}`,
            atMost: this.#quota,
          });
        try {
          await this.#records.store.commit(changes, options);
          chosen.chooser.caughtUp();
        } catch (error) {
          // An address that somebody has stays touched; one that was not taken after all must not be lost to this process.
          const lost =
            error instanceof StoreConflictError && error.kind === "floating-ip" && error.reason === "version";
          if (lost) chosen.chooser.lost();
          if (!lost || chosen.chooser.isBehind) this.#pools.delete(pool);
          const isUnknown = error instanceof StoreUnavailableError && error.outcomeUnknown;
          const present = isUnknown ? await this.#records.floatingIps.get(ip.address, options) : undefined;
          const happened = present?.value.projectId === projectId && present.value.updatedAt === ip.updatedAt;
          if (!happened) throw error;
        }
        return ip;
      },
      (conflict) => {
        if (conflict.reason === "limit") throw new QuotaExceededError("floatingIps", this.#quota, { cause: conflict });
      },
      { clock: this.#clock, signal: options.signal, repeatUnknown: false },
    );
  }

  /** @throws AddressNotFoundError when it is none that a project has */
  async get(address: string, options: NetworkStoreOptions = {}): Promise<Versioned<FloatingIp>> {
    const canonical = canonicalAddress(address, "address");
    const ip = await this.#records.floatingIps.get(canonical, options);
    if (ip?.value.projectId === undefined) throw new AddressNotFoundError(canonical, "is given to no project");
    return ip;
  }

  async ofProject(projectId: string, options: NetworkStoreOptions = {}): Promise<readonly FloatingIp[]> {
    return (await this.#records.floatingIps.all(`project:${projectId}`, options)).map(({ value }) => value);
  }

  async ofFixedAddress(address: string, options: NetworkStoreOptions = {}): Promise<readonly FloatingIp[]> {
    const index = `fixed:${canonicalAddress(address, "address")}`;
    return (await this.#records.floatingIps.all(index, options)).map(({ value }) => value);
  }

  async ofHost(host: string, options: NetworkStoreOptions = {}): Promise<readonly FloatingIp[]> {
    return (await this.#records.floatingIps.all(`host:${host}`, options)).map(({ value }) => value);
  }

  /** Changes an address that a project has. `change` looks at what is there and may throw; the same value writes nothing. */
  async change(
    address: string,
    change: (ip: FloatingIp) => FloatingIp,
    options: NetworkStoreOptions = {},
    also: () => Promise<readonly StoreChange[]> = async () => [],
  ): Promise<FloatingIp> {
    return retryOnConflict(
      async () => {
        const present = await this.get(address, options);
        const changed = change(present.value);
        if (changed === present.value) return changed;
        const next = { ...changed, updatedAt: this.#clock.now() };
        const changes = [...(await also()), this.#records.floatingIps.put(next, present.version)];
        await this.#records.store.commit(changes, options);
        return next;
      },
      undefined,
      { clock: this.#clock, signal: options.signal },
    );
  }

  /** Back to the pool. @throws AddressNotFoundError; AddressInUseError while it stands for a fixed address */
  async release(address: string, options: NetworkStoreOptions = {}): Promise<void> {
    await this.change(
      address,
      (ip) => {
        if (ip.fixedAddress !== undefined) throw new AddressInUseError(ip.address, "stands for a fixed address");
        const { pool, interface: device } = ip;
        const rest = device === undefined ? {} : { interface: device };
        return { address: ip.address, pool, ...rest, autoAssigned: false, updatedAt: ip.updatedAt };
      },
      options,
    );
  }

  async #choose(pool: string, options: NetworkStoreOptions): Promise<ChosenAddress> {
    const ranges = await this.#rangesOf(pool, options);
    const versions = await this.#records.floatingRanges.all(`pool:${pool}`, options);
    const ofRange = (cidr: string): Versioned<FloatingRange> | undefined =>
      versions.find(({ value }) => value.cidr === cidr);
    for (const { range, chooser, first, version } of ranges) {
      const current = ofRange(range.cidr);
      const place = current === undefined ? undefined : chooser.take();
      if (current === undefined || place === undefined) continue;
      const address = formatAddress({ version, value: first + BigInt(place) });
      return { address, expected: ABSENT, range: current, chooser };
    }
    const released = await this.#records.floatingIps.first(`free:${pool}`, RELEASED_WINDOW, options);
    const open = released.flatMap(({ value, version }): readonly ChosenAddress[] => {
      const address = parseAddress(value.address, "address");
      const range = versions.find((one) => contains(parseCidr(one.value.cidr, "cidr"), address));
      const chooser = ranges.find((one) => one.range.cidr === range?.value.cidr)?.chooser;
      if (range === undefined || chooser === undefined) return [];
      return [{ address: value.address, expected: version, range, chooser }];
    });
    const [first] = open;
    const chosen = first === undefined ? undefined : open[first.chooser.chooseAmong(open.length)];
    if (chosen === undefined) throw new NoFreeAddressError(pool);
    return chosen;
  }

  async #rangesOf(name: string, options: NetworkStoreOptions): Promise<readonly RangePool[]> {
    const registry = (await this.#records.registries.get("floating-ranges", options))?.version ?? 0;
    const known = this.#pools.get(name);
    if (known?.registry === registry) return known.ranges;
    const ranges = (await this.#records.floatingRanges.all(`pool:${name}`, options)).map(({ value: range }) => {
      const { version, value: first } = parseAddress(range.first, "first");
      const size = Number(parseAddress(range.last, "last").value - first + 1n);
      const places = new AddressPool(size);
      return { range, first, version, places, chooser: new PlaceChooser(places) };
    });
    if (ranges.length === 0) throw new FloatingPoolNotFoundError(name);
    for (const { value } of await this.#records.floatingIps.all(`pool:${name}`, options)) {
      const { version, value: number } = parseAddress(value.address, "address");
      for (const range of ranges) if (range.version === version) range.places.touch(Number(number - range.first));
    }
    this.#pools.set(name, { registry, ranges });
    return ranges;
  }

  async #registryPut(options: NetworkStoreOptions): Promise<StoreChange> {
    const present = await this.#records.registries.get("floating-ranges", options);
    return this.#records.registries.put({ name: "floating-ranges" }, present?.version ?? ABSENT);
  }
}
