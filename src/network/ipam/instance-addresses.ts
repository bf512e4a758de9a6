/** VIFs and fixed addresses of instances: each change is one commit, so that it is there as a whole or not at all. */
import { randomUUID } from "node:crypto";
import { check, systemClock } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import { createMacGenerator } from "../mac-address.js";
import type { NetworkStoreOptions, StoreChange } from "../store/network-store.js";
import { StoreConflictError, StoreUnavailableError } from "../store/store-errors.js";
import { parseCidr } from "./address.js";
import { AddressInUseError, AddressNotFoundError, NoFreeMacAddressError, QuotaExceededError } from "./errors.js";
import { FixedAddressClaims } from "./fixed-address-claims.js";
import type { AddressClaim } from "./fixed-address-claims.js";
import { eui64Address, randomAddress } from "./ipv6-address.js";
import type { FixedIpRecord, Network, VirtualInterface } from "./network.js";
import { isWaiting } from "./network-records.js";
import type { NetworkRecords } from "./network-records.js";
import { ABSENT } from "./records.js";
import type { Versioned } from "./records.js";
import { retryOnConflict } from "./retry.js";

export interface InstanceAddressesOptions {
  readonly records: NetworkRecords;
  readonly clock?: Clock | undefined;
  readonly newId?: (() => string) | undefined;
  readonly newMac?: (() => string) | undefined;
  /** How often a MAC address is drawn before `NoFreeMacAddressError`. Default 5. */
  readonly macAttempts?: number | undefined;
  /** Fixed addresses that a project may have; -1: as many as there are. Default -1. */
  readonly quota?: number | undefined;
}

/** A VIF that is asked for. */
export interface WantedVif {
  readonly network: Versioned<Network>;
  /** Default: the next free one. */
  readonly fixedIp?: string | undefined;
  /** `fixedIp` may be a reserved one. */
  readonly evenReserved?: boolean | undefined;
  readonly macAddress?: string | undefined;
  readonly tag?: string | undefined;
}

export interface InstanceOwner {
  readonly instanceUuid: string;
  readonly projectId: string;
  readonly host: string;
  readonly hostname?: string | undefined;
  readonly securityGroups?: readonly string[] | undefined;
}

export interface AllocatedVif {
  readonly vif: VirtualInterface;
  readonly addresses: readonly FixedIpRecord[];
}

export class InstanceAddresses {
  readonly claims: FixedAddressClaims;
  readonly #records: NetworkRecords;
  readonly #clock: Clock;
  readonly #newId: () => string;
  readonly #newMac: () => string;
  readonly #macAttempts: number;
  readonly #quota: number;

  constructor(options: InstanceAddressesOptions) {
    this.#records = options.records;
    this.claims = new FixedAddressClaims(options.records);
    this.#clock = options.clock ?? systemClock;
    this.#newId = options.newId ?? randomUUID;
    this.#newMac = options.newMac ?? createMacGenerator();
    this.#macAttempts = check.integer({ min: 1, max: 1_000 })(options.macAttempts ?? 5, "macAttempts");
    this.#quota = check.integer({ min: -1 })(options.quota ?? -1, "quotas.fixedIps");
  }

  /**
   * A VIF with its addresses on each network, in one commit. `start` is the place of the first among the instance's VIFs.
   * @throws NoFreeAddressError, AddressInUseError, AddressNotFoundError, NoFreeMacAddressError, QuotaExceededError
   */
  async allocate(
    owner: InstanceOwner,
    wanted: readonly WantedVif[],
    start = 0,
    options: NetworkStoreOptions = {},
  ): Promise<readonly AllocatedVif[]> {
    let macConflicts = 0;
    const { hostname, securityGroups, ...rest } = owner;
    const of = {
      ...rest,
      ...(hostname === undefined ? {} : { hostname }),
      ...(securityGroups === undefined ? {} : { securityGroups }),
    };
    return this.#repeat(options, async () => {
      const claims: AddressClaim[] = [];
      const changes: StoreChange[] = [];
      let planned = false;
      try {
        const result: AllocatedVif[] = [];
        const ordinals = new Map<string, number>();
        for (const [at, one] of wanted.entries()) {
          const network = one.network.value;
          const ordinal = ordinals.get(network.id) ?? 0;
          ordinals.set(network.id, ordinal + 1);
          if (ordinal === 0) changes.push(this.#records.networks.expect(one.network));
          const vif: VirtualInterface = {
            id: this.#newId(),
            address: one.macAddress ?? this.#newMac(),
            networkId: network.id,
            ...of,
            position: start + at,
            ordinal,
            ...(one.tag === undefined ? {} : { tag: one.tag }),
            createdAt: this.#clock.now(),
          };
          changes.push(this.#records.vifs.put(vif, ABSENT));
          result.push({ vif, addresses: await this.#addresses(vif, one, { claims, changes }, options) });
        }
        planned = true;
        // Whoever knows whether the instance had VIFs before is to find out what an unknown outcome means.
        await this.#commit(owner.projectId, claims, changes, options);
        return result;
      } catch (error) {
        if (!planned) for (const claim of claims) claim.settle("unused");
        const conflict = error instanceof StoreConflictError ? error : undefined;
        if (conflict?.key?.startsWith("mac:") === true) {
          const chosen = wanted.find(({ macAddress }) => `mac:${macAddress ?? ""}` === conflict.key);
          if (chosen !== undefined) throw new AddressInUseError(chosen.macAddress ?? "", "is taken", { cause: error });
          if (++macConflicts >= this.#macAttempts) throw new NoFreeMacAddressError(macConflicts, { cause: error });
        }
        throw error;
      }
    });
  }

  /** Another address for a VIF that is there. Throws as `allocate` does. */
  async add(
    vif: VirtualInterface,
    network: Versioned<Network>,
    wanted: Pick<WantedVif, "fixedIp" | "evenReserved"> = {},
    options: NetworkStoreOptions = {},
  ): Promise<FixedIpRecord> {
    return this.#repeat(options, async () => {
      const present = await this.#records.vifs.get(vif.id, options);
      if (present === undefined) throw new AddressNotFoundError(vif.address, "is of no VIF any more");
      const claim = await this.#claim(network.value, wanted, options);
      const ip = this.#allocated(claim.address, vif);
      const changes = [
        this.#records.networks.expect(network),
        this.#records.vifs.expect(present),
        this.#records.fixedIps.put(ip, claim.expected),
      ];
      await this.#commit(vif.projectId, [claim], changes, options).catch(async (error: unknown) => {
        const isUnknown = error instanceof StoreUnavailableError && error.outcomeUnknown;
        const present = isUnknown ? await this.#records.fixedIps.get(ip.address, options) : undefined;
        if (present?.value.vifId !== vif.id || !present.value.allocated) throw error;
      });
      return ip;
    });
  }

  /**
   * Changes the addresses with these ids in one commit; `change` returns what is to stand, undefined to delete, or the same
   * to leave it.
   */
  async change(
    addresses: readonly string[],
    change: (ip: FixedIpRecord) => FixedIpRecord | undefined,
    options: NetworkStoreOptions = {},
    vifsToDelete: readonly string[] = [],
  ): Promise<readonly FixedIpRecord[]> {
    return retryOnConflict(
      async () => {
        const changes: StoreChange[] = [];
        const result: FixedIpRecord[] = [];
        for (const address of new Set(addresses)) {
          const present = await this.#records.fixedIps.get(address, options);
          if (present === undefined) continue;
          const changed = change(present.value);
          if (changed !== undefined) result.push(changed);
          if (changed === undefined) changes.push(this.#records.fixedIps.delete(present));
          else if (changed !== present.value) changes.push(this.#records.fixedIps.put(changed, present.version));
        }
        for (const id of vifsToDelete) {
          const vif = await this.#records.vifs.get(id, options);
          if (vif !== undefined) changes.push(this.#records.vifs.delete(vif));
        }
        if (changes.length > 0) await this.#records.store.commit(changes, options);
        return result;
      },
      undefined,
      { clock: this.#clock, signal: options.signal },
    );
  }

  /** Given back by its instance; still bound to the VIF, so that nobody else gets it before the guest has let go. */
  readonly released = (ip: FixedIpRecord): FixedIpRecord =>
    ip.allocated ? { ...ip, allocated: false, updatedAt: this.#clock.now() } : ip;

  /** Free: for the pool. Of IPv6 addresses nothing is kept, they are too many to come again. */
  readonly disassociated = (ip: FixedIpRecord): FixedIpRecord | undefined => {
    if (ip.version === 6) return undefined;
    const { address, networkId, version, reserved } = ip;
    return { address, networkId, version, reserved, allocated: false, leased: false, updatedAt: this.#clock.now() };
  };

  /** Addresses that were given back before a moment and whose leases never ended, freed. Returns how many. */
  async disassociateTimedOut(networkId: string, before: number, options: NetworkStoreOptions = {}): Promise<number> {
    let freed = 0;
    for (;;) {
      const waiting = await this.#records.fixedIps.first(`waiting:${networkId}`, 1_000, options);
      const due = waiting.filter(({ value }) => value.updatedAt < before).map(({ value }) => value.address);
      if (due.length === 0) return freed;
      const isDue = (ip: FixedIpRecord): boolean => isWaiting(ip) && ip.updatedAt < before;
      await this.change(due, (ip) => (isDue(ip) ? this.disassociated(ip) : ip), options);
      freed += due.length;
    }
  }

  /** The address of a host in a network that each host serves; made at the first call. */
  async hostAddress(network: Versioned<Network>, host: string, options: NetworkStoreOptions = {}): Promise<string> {
    const retry = { clock: this.#clock, signal: options.signal };
    return retryOnConflict(
      async () => {
        const present = await this.#records.fixedIps.getByUnique(`dhcp:${network.value.id}:${host}`, options);
        if (present !== undefined) return present.value.address;
        const claim = await this.claims.next(network.value, options);
        const { id: networkId } = network.value;
        const ip: FixedIpRecord = {
          address: claim.address,
          networkId,
          version: 4,
          allocated: false,
          leased: false,
          reserved: false,
          host,
          updatedAt: this.#clock.now(),
        };
        const changes = [this.#records.networks.expect(network), this.#records.fixedIps.put(ip, claim.expected)];
        await this.#commit(undefined, [claim], changes, options);
        return claim.address;
      },
      undefined,
      retry,
    );
  }

  async #addresses(
    vif: VirtualInterface,
    wanted: WantedVif,
    out: { readonly claims: AddressClaim[]; readonly changes: StoreChange[] },
    options: NetworkStoreOptions,
  ): Promise<readonly FixedIpRecord[]> {
    const network = wanted.network.value;
    const addresses: FixedIpRecord[] = [];
    const isV6 = wanted.fixedIp?.includes(":") === true;
    if (network.cidr !== undefined) {
      const claim = await this.#claim(network, isV6 ? {} : wanted, options);
      out.claims.push(claim);
      addresses.push(this.#allocated(claim.address, vif));
      out.changes.push(this.#records.fixedIps.put(this.#allocated(claim.address, vif), claim.expected));
    }
    if (network.cidrV6 !== undefined) {
      const cidr = parseCidr(network.cidrV6, "cidrV6", 6);
      const own = network.ipv6Mode === "random" ? randomAddress(cidr) : eui64Address(cidr, vif.address);
      const claim = await this.claims.specific(
        network,
        isV6 && wanted.fixedIp !== undefined ? wanted.fixedIp : own,
        options,
      );
      out.claims.push(claim);
      addresses.push(this.#allocated(claim.address, vif));
      out.changes.push(this.#records.fixedIps.put(this.#allocated(claim.address, vif), claim.expected));
    }
    return addresses;
  }

  #claim(
    network: Network,
    wanted: Pick<WantedVif, "fixedIp" | "evenReserved">,
    options: NetworkStoreOptions,
  ): Promise<AddressClaim> {
    if (wanted.fixedIp === undefined) return this.claims.next(network, options);
    return this.claims.specific(network, wanted.fixedIp, { ...options, evenReserved: wanted.evenReserved === true });
  }

  #allocated(address: string, vif: VirtualInterface): FixedIpRecord {
    return {
      address,
      networkId: vif.networkId,
      version: address.includes(":") ? 6 : 4,
      vifId: vif.id,
      instanceUuid: vif.instanceUuid,
      projectId: vif.projectId,
      allocated: true,
      leased: false,
      reserved: false,
      updatedAt: this.#clock.now(),
    };
  }

  /** Settles the claims by what becomes of the commit. */
  async #commit(
    projectId: string | undefined,
    claims: readonly AddressClaim[],
    changes: readonly StoreChange[],
    options: NetworkStoreOptions,
  ): Promise<void> {
    const index = `project:${projectId ?? ""}`;
    const limited: readonly StoreChange[] =
      projectId === undefined || this.#quota < 0
        ? changes
        : [...changes, { op: "limit", kind: this.#records.fixedIps.kind, index, atMost: this.#quota }];
    try {
      await this.#records.store.commit(limited, options);
    } catch (error) {
      const conflict = error instanceof StoreConflictError ? error : undefined;
      for (const claim of claims) {
        const lost = conflict?.kind === this.#records.fixedIps.kind && conflict.id === claim.address;
        claim.settle(conflict === undefined ? "unknown" : lost ? "conflict" : "unused");
      }
      if (conflict?.reason === "limit") throw new QuotaExceededError("fixedIps", this.#quota, { cause: conflict });
      throw error;
    }
    for (const claim of claims) claim.settle("taken");
  }

  #repeat<T>(options: NetworkStoreOptions, change: () => Promise<T>): Promise<T> {
    // The network's version is what the caller read: a change of it is for the caller to see.
    const networkChanged = (conflict: StoreConflictError): void => {
      if (conflict.kind === this.#records.networks.kind || conflict.key?.startsWith("slot:") === true) throw conflict;
    };
    return retryOnConflict(change, networkChanged, {
      clock: this.#clock,
      signal: options.signal,
      repeatUnknown: false,
    });
  }
}
