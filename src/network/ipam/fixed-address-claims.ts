/** Which fixed address comes next: a guess in memory, made sure of by the commit that takes it. */
import { contains, formatAddress, parseAddress, parseCidr, sizeOf } from "./address.js";
import type { Cidr } from "./address.js";
import { AddressPool } from "./address-pool.js";
import { AddressInUseError, AddressNotFoundError, NoFreeAddressError } from "./errors.js";
import { isFree } from "./network-records.js";
import type { NetworkRecords } from "./network-records.js";
import type { FixedIpRecord, Network } from "./network.js";
import { PlaceChooser } from "./place-chooser.js";
import { ABSENT } from "./records.js";
import type { NetworkStoreOptions } from "../store/network-store.js";

/** What became of a claim: committed; found taken by another; not needed; or nobody knows. */
export type ClaimOutcome = "taken" | "conflict" | "unused" | "unknown";

/** An address that no other caller in this process will be offered before it is settled. */
export interface AddressClaim {
  readonly address: string;
  /** The version of its record, to put it with. */
  readonly expected: number;
  settle(outcome: ClaimOutcome): void;
}

interface NetworkPool {
  readonly pool: AddressPool;
  readonly chooser: PlaceChooser;
  readonly range: Cidr;
  readonly first: bigint;
  /** Released addresses that callers of this process are about to take. */
  readonly claimed: Set<string>;
  /** The latest change that is known. */
  seen: number;
}

/** By how much the clocks of hosts may differ. What comes from farther off is found out by losing claims. */
const CLOCK_SKEW_MS = 5_000;
/** Among how many of the longest released ones a process chooses, alone and beside others. */
const RELEASED_ALONE = 4;
const RELEASED_APART = 64;

/**
 * Addresses that nobody has had come first, from the lowest on; then the one that was released longest ago. So an address
 * that was given back yesterday is the last to be given out.
 */
export class FixedAddressClaims {
  readonly #records: NetworkRecords;
  readonly #pools = new Map<string, Promise<NetworkPool>>();

  constructor(records: NetworkRecords) {
    this.#records = records;
  }

  /** Any free address of the network. @throws NoFreeAddressError */
  async next(network: Network, options: NetworkStoreOptions = {}): Promise<AddressClaim> {
    const pool = await this.#poolOf(network, options);
    if (pool.chooser.isBehind) await this.#catchUp(network, pool, options);
    const place = pool.chooser.take();
    if (place !== undefined) return this.#untouched(network, pool, place, ABSENT);
    const window = pool.claimed.size + (pool.chooser.isApart ? RELEASED_APART : RELEASED_ALONE);
    const released = await this.#records.fixedIps.first(`free:${network.id}`, window, options);
    const open = released.filter(({ value }) => value.version === 4 && !pool.claimed.has(value.address));
    if (open.length === 0) throw new NoFreeAddressError(network.id);
    const chosen = open[pool.chooser.chooseAmong(open.length)];
    if (chosen === undefined) throw new NoFreeAddressError(network.id);
    return this.#released(network, pool, chosen.value.address, chosen.version);
  }

  /**
   * This address of the network, also a reserved one when `evenReserved`.
   * @throws AddressNotFoundError when it is none of the network; AddressInUseError when it is reserved or taken
   */
  async specific(
    network: Network,
    address: string,
    options: NetworkStoreOptions & { readonly evenReserved?: boolean } = {},
  ): Promise<AddressClaim> {
    const parsed = parseAddress(address, "address");
    const cidr = parsed.version === 4 ? network.cidr : network.cidrV6;
    if (cidr === undefined || !contains(parseCidr(cidr, "cidr"), parsed))
      throw new AddressNotFoundError(address, "is none of the network");
    if (options.evenReserved !== true && isReserved(network, parsed.value, parsed.version))
      throw new AddressInUseError(address, "is reserved");
    const canonical = formatAddress(parsed);
    const record = await this.#records.fixedIps.get(canonical, options);
    if (record !== undefined && record.value.networkId === network.id) {
      const { reserved, ...rest } = record.value;
      const open = isFree({ ...rest, reserved: options.evenReserved === true ? false : reserved });
      if (!open) throw new AddressInUseError(address, reserved ? "is reserved" : "is taken");
    } else if (record?.value.allocated === true) throw new AddressInUseError(address, "is taken");
    if (parsed.version === 6)
      return { address: canonical, expected: record?.version ?? ABSENT, settle: () => undefined };
    const pool = await this.#poolOf(network, options);
    const place = Number(parsed.value - pool.first);
    const isNew = record === undefined && pool.pool.touch(place);
    return isNew
      ? this.#untouched(network, pool, place, ABSENT)
      : this.#released(network, pool, canonical, record?.version ?? ABSENT);
  }

  /** Forgets what is known of a network; it is read anew when it is needed. */
  forget(networkId: string): void {
    this.#pools.delete(networkId);
  }

  #untouched(network: Network, pool: NetworkPool, place: number, expected: number): AddressClaim {
    const address = formatAddress({ version: 4, value: pool.first + BigInt(place) });
    return {
      address,
      expected,
      settle: (outcome) => {
        if (outcome === "conflict") pool.chooser.lost();
        else if (outcome === "taken") pool.chooser.caughtUp();
        else if (outcome === "unused") pool.pool.untouch(place);
        else if (outcome === "unknown") this.forget(network.id);
      },
    };
  }

  #released(network: Network, pool: NetworkPool, address: string, expected: number): AddressClaim {
    pool.claimed.add(address);
    return {
      address,
      expected,
      settle: (outcome) => {
        pool.claimed.delete(address);
        if (outcome === "conflict") pool.chooser.lost();
        else if (outcome === "taken") pool.chooser.caughtUp();
        else if (outcome === "unknown") this.forget(network.id);
      },
    };
  }

  #poolOf(network: Network, options: NetworkStoreOptions): Promise<NetworkPool> {
    const known = this.#pools.get(network.id);
    if (known !== undefined) return known;
    const loading = this.#load(network, options);
    this.#pools.set(network.id, loading);
    loading.catch(() => {
      if (this.#pools.get(network.id) === loading) this.#pools.delete(network.id);
    });
    return loading;
  }

  async #load(network: Network, options: NetworkStoreOptions): Promise<NetworkPool> {
    if (network.cidr === undefined) throw new NoFreeAddressError(network.id);
    const range = poolRange(network);
    const pool = new AddressPool(Number(sizeOf(range)));
    for (const { first, last } of network.reserved ?? []) {
      const place = (address: string): number => Number(parseAddress(address, "reserved").value - range.first);
      pool.touchRange(place(first), place(last));
    }
    const chooser = new PlaceChooser(pool);
    const loaded = { pool, chooser, range, first: range.first, claimed: new Set<string>(), seen: 0 };
    for (const { value } of await this.#records.fixedIps.all(`network:${network.id}`, options)) note(loaded, value);
    return loaded;
  }

  /** Reads what has changed since the last look. */
  async #catchUp(network: Network, pool: NetworkPool, options: NetworkStoreOptions): Promise<void> {
    pool.chooser.caughtUp();
    const since = pool.seen - CLOCK_SKEW_MS;
    for (const { value } of await this.#records.fixedIps.all(`network:${network.id}`, options, since))
      note(pool, value);
  }
}

function note(pool: NetworkPool, ip: FixedIpRecord): void {
  pool.seen = Math.max(pool.seen, ip.updatedAt);
  if (ip.version === 4) pool.pool.touch(Number(parseAddress(ip.address, "address").value - pool.first));
}

/** The IPv4 addresses that a network may give out. */
function poolRange(network: Network): Cidr {
  const cidr = parseCidr(network.cidr, "cidr", 4);
  if (network.pool === undefined) return cidr;
  const first = parseAddress(network.pool.first, "pool").value;
  return { ...cidr, first, last: parseAddress(network.pool.last, "pool").value };
}

function isReserved(network: Network, value: bigint, version: 4 | 6): boolean {
  if (version === 6)
    return network.gatewayV6 !== undefined && parseAddress(network.gatewayV6, "gateway").value === value;
  const range = poolRange(network);
  if (value < range.first || value > range.last) return true;
  return (network.reserved ?? []).some(
    ({ first, last }) =>
      value >= parseAddress(first, "reserved").value && value <= parseAddress(last, "reserved").value,
  );
}
