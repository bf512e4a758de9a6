/** Floating addresses with what hosts do for them. */
import { ConflictError, withRollback } from "../../core/index.js";
import type { RollbackStack } from "../../core/index.js";
import { canonicalAddress } from "../ipam/address.js";
import { AddressInUseError, AddressNotFoundError, ForbiddenError } from "../ipam/errors.js";
import type { FixedIpRecord, FloatingIp } from "../ipam/network.js";
import type { NetworkStoreOptions, StoreChange } from "../store/network-store.js";
import type { ManagerContext } from "./manager-context.js";

/** On whose behalf a call is made; without a project it is an operator's, who may do all. */
export interface CallerOptions extends NetworkStoreOptions {
  readonly projectId?: string | undefined;
}

export class FloatingAddresses {
  readonly #context: ManagerContext;

  constructor(context: ManagerContext) {
    this.#context = context;
  }

  /** Gives a project's address to a fixed one. The same again does nothing; one that stands for another moves. */
  async associate(floatingAddress: string, fixedAddress: string, options: CallerOptions): Promise<void> {
    const fixed = canonicalAddress(fixedAddress, "fixedAddress");
    const before = (await this.#context.floating.get(floatingAddress, options)).value;
    requireOwner(before, options);
    const target = await this.#target(fixed, before, options);
    if (before.fixedAddress === fixed && before.releasing !== true && before.host === target.host) return;
    if (before.fixedAddress !== undefined) await this.disassociate(before.address, options);
    await withRollback(async (undo) => {
      undo.defer("the floating address", () => this.#forget(before.address, fixed, target.host));
      await this.#context.floating.change(
        before.address,
        (ip) => {
          requireOwner(ip, options);
          if (ip.fixedAddress !== undefined)
            throw new AddressInUseError(ip.address, "stands for another fixed address");
          return { ...ip, fixedAddress: fixed, host: target.host };
        },
        options,
        // The fixed address must still be the instance's when this one is bound to it.
        async () => [await this.#expectAllocated(fixed, options)],
      );
      await (await this.#context.peer(target.host)).applyFloating(before.address, options);
    });
    await this.#tellMembers(target.ip, options);
  }

  /** Success when it stands for nothing. */
  async disassociate(floatingAddress: string, options: CallerOptions): Promise<void> {
    const { value } = await this.#context.floating.get(floatingAddress, options);
    requireOwner(value, options);
    if (value.fixedAddress === undefined) return;
    await this.#detach(value.address, value.fixedAddress, options);
    const fixed = await this.#context.records.fixedIps.get(value.fixedAddress, options);
    if (fixed !== undefined) await this.#tellMembers(fixed.value, options);
  }

  /** Back to its pool, with all of its names. @throws AddressInUseError while it stands for a fixed address */
  async deallocate(floatingAddress: string, options: CallerOptions): Promise<void> {
    const { value } = await this.#context.floating.get(floatingAddress, options);
    requireOwner(value, options);
    if (value.fixedAddress !== undefined) throw new AddressInUseError(value.address, "stands for a fixed address");
    const dns = this.#context.options.dns?.floating;
    for (const { domain } of (await dns?.getDomains(options)) ?? []) {
      for (const name of (await dns?.getEntriesByAddress(value.address, domain, options)) ?? [])
        await dns?.deleteEntry(name, domain, options);
    }
    await this.#context.floating.release(value.address, options);
  }

  /** Whatever stands for the fixed address is taken from it; what came with the instance goes back to its pool. */
  async releaseOfFixedAddress(fixedAddress: string, options: NetworkStoreOptions): Promise<void> {
    for (const ip of await this.#context.floating.ofFixedAddress(fixedAddress, options)) {
      await this.#detach(ip.address, fixedAddress, options);
      if (ip.autoAssigned) await this.deallocate(ip.address, options);
    }
  }

  /** An address of the default pool for a new instance, unless it has one. */
  async autoAssign(
    projectId: string,
    fixedAddress: string,
    undo: RollbackStack,
    options: NetworkStoreOptions,
  ): Promise<void> {
    const { floating } = this.#context;
    if ((await floating.ofFixedAddress(fixedAddress, options)).length > 0) return;
    const ip = await floating.allocate({ projectId, autoAssigned: true }, options);
    undo.defer("the floating address of the instance", async () => {
      await this.#detach(ip.address, fixedAddress, {});
      await floating.release(ip.address);
    });
    await this.associate(ip.address, fixedAddress, options);
  }

  /** The instance is about to leave a host: what that host forwards for it stops. */
  async migrateStart(fixedAddresses: readonly string[], source: string, options: NetworkStoreOptions): Promise<void> {
    for (const ip of await this.#movable(fixedAddresses, options)) {
      if (ip.host === source) await this.#replace(ip, (now) => ({ ...now, releasing: true }), [source], options);
    }
  }

  /** The instance has come to a host, which forwards for it from now on. */
  async migrateFinish(fixedAddresses: readonly string[], host: string, options: NetworkStoreOptions): Promise<void> {
    for (const ip of await this.#movable(fixedAddresses, options)) {
      await this.#context.peer(host);
      const hosts = ip.host === undefined || ip.host === host ? [host] : [ip.host, host];
      await this.#replace(ip, (now) => ({ ...without(now, "releasing"), host }), hosts, options);
    }
  }

  /** Takes up what an earlier process left half-way on this host. */
  async recover(options: NetworkStoreOptions): Promise<void> {
    for (const ip of await this.#context.floating.ofHost(this.#context.hostName, options)) {
      if (ip.releasing !== true || ip.fixedAddress === undefined) continue;
      const moving = await this.#movable([ip.fixedAddress], options);
      // Between the two halves of a migration it stays as it is: the second half comes.
      if (!moving.some(({ address }) => address === ip.address))
        await this.#detach(ip.address, ip.fixedAddress, options);
    }
  }

  /** Changes where an address is forwarded, and the hosts with it; all as before when one of them fails. */
  async #replace(
    ip: FloatingIp,
    change: (now: FloatingIp) => FloatingIp,
    hosts: readonly string[],
    options: NetworkStoreOptions,
  ): Promise<void> {
    const { floating } = this.#context;
    const apply = async (applyOptions: NetworkStoreOptions): Promise<void> => {
      for (const host of hosts) await (await this.#context.peerIfAlive(host))?.applyFloating(ip.address, applyOptions);
    };
    await withRollback(async (undo) => {
      undo.defer("moving the floating address", async () => {
        const { host, releasing } = ip;
        const back = { ...(host === undefined ? {} : { host }), ...(releasing === undefined ? {} : { releasing }) };
        await floating.change(ip.address, (now) =>
          now.fixedAddress === ip.fixedAddress ? { ...without(now, "host", "releasing"), ...back } : now,
        );
        await apply({});
      });
      await floating.change(ip.address, (now) => (now.fixedAddress === ip.fixedAddress ? change(now) : now), options);
      await apply(options);
    });
  }

  /** The state first says that it is being taken down, so that nobody else gets it; then the host; then it is free. */
  async #detach(floatingAddress: string, fixedAddress: string, options: NetworkStoreOptions): Promise<void> {
    const { floating } = this.#context;
    const isOurs = (ip: FloatingIp): boolean => ip.fixedAddress === fixedAddress;
    await withRollback(async (undo) => {
      undo.defer("taking the floating address down", async () => {
        const ip = await floating.change(floatingAddress, (now) => (isOurs(now) ? without(now, "releasing") : now));
        await (await this.#context.peerIfAlive(ip.host))?.applyFloating(floatingAddress);
      });
      const ip = await floating.change(
        floatingAddress,
        (now) => (isOurs(now) ? { ...now, releasing: true } : now),
        options,
      );
      if (isOurs(ip)) await (await this.#context.peerIfAlive(ip.host))?.applyFloating(floatingAddress, options);
      await floating.change(
        floatingAddress,
        (now) => (isOurs(now) ? without(now, "releasing", "fixedAddress", "host") : now),
        options,
      );
    });
  }

  /** After a host has refused it there is nothing to take down: the state goes first. */
  async #forget(floatingAddress: string, fixedAddress: string, host: string): Promise<void> {
    await this.#context.floating.change(floatingAddress, (ip) =>
      ip.fixedAddress === fixedAddress ? without(ip, "releasing", "fixedAddress", "host") : ip,
    );
    await (await this.#context.peerIfAlive(host))?.applyFloating(floatingAddress);
  }

  async #target(
    fixedAddress: string,
    floating: FloatingIp,
    options: CallerOptions,
  ): Promise<{ readonly host: string; readonly ip: FixedIpRecord }> {
    const { records } = this.#context;
    const ip = (await records.fixedIps.get(fixedAddress, options))?.value;
    if (ip?.allocated !== true || ip.vifId === undefined)
      throw new AddressNotFoundError(fixedAddress, "is no instance's");
    if (options.projectId !== undefined && ip.projectId !== options.projectId)
      throw new ForbiddenError("the fixed address belongs to another project");
    if (floating.address.includes(":") !== fixedAddress.includes(":"))
      throw new ConflictError("a floating and a fixed address must be of the same version of IP");
    const network = await this.#context.networks.get(ip.networkId, options);
    const vif = (await records.vifs.get(ip.vifId, options))?.value;
    const host = vif === undefined ? undefined : this.#context.servingHost(network.value, vif);
    if (host === undefined) throw new ConflictError("the network of the fixed address has no host");
    return { host, ip };
  }

  async #expectAllocated(fixedAddress: string, options: NetworkStoreOptions): Promise<StoreChange> {
    const present = await this.#context.records.fixedIps.get(fixedAddress, options);
    if (present?.value.allocated !== true) throw new AddressNotFoundError(fixedAddress, "is no instance's");
    return this.#context.records.fixedIps.expect(present);
  }

  /** Those on networks that each host serves: the others stay with their network's host. */
  async #movable(fixedAddresses: readonly string[], options: NetworkStoreOptions): Promise<readonly FloatingIp[]> {
    const movable: FloatingIp[] = [];
    for (const address of fixedAddresses) {
      const fixed = await this.#context.records.fixedIps.get(address, options);
      const network =
        fixed === undefined ? undefined : await this.#context.networks.get(fixed.value.networkId, options);
      if (network?.value.multiHost === true)
        movable.push(...(await this.#context.floating.ofFixedAddress(address, options)));
    }
    return movable;
  }

  async #tellMembers(ip: FixedIpRecord, options: NetworkStoreOptions): Promise<void> {
    if (ip.instanceUuid === undefined) return;
    const vifs = await this.#context.records.vifs.all(`instance:${ip.instanceUuid}`, options);
    await this.#context.membersChanged(
      ip.instanceUuid,
      vifs.map(({ value }) => value),
    );
  }
}

function requireOwner(ip: FloatingIp, { projectId }: CallerOptions): void {
  if (projectId !== undefined && ip.projectId !== projectId)
    throw new ForbiddenError("the floating address belongs to another project");
}

/** The record without some of its optional properties; the same record when it has none of them. */
function without(ip: FloatingIp, ...names: readonly ("releasing" | "fixedAddress" | "host")[]): FloatingIp {
  if (names.every((name) => ip[name] === undefined)) return ip;
  return Object.fromEntries(
    Object.entries(ip).filter(([name]) => !(names as readonly string[]).includes(name)),
  ) as unknown as FloatingIp;
}
