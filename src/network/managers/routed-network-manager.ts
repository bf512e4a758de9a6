/** What managers have whose hosts are gateways: floating addresses, and guests that move between hosts. */
import { check } from "../../core/index.js";
import { canonicalAddress } from "../ipam/address.js";
import type { FloatingRangeRequest } from "../ipam/floating-book.js";
import type { FloatingIp, FloatingRange } from "../ipam/network.js";
import type { NetworkStoreOptions } from "../store/network-store.js";
import { FloatingAddresses } from "./floating-addresses.js";
import type { CallerOptions } from "./floating-addresses.js";
import { NetworkManager } from "./network-manager.js";

/** Nova's `FloatingIP` and `RPCAllocateFixedIP`: what concerns another host goes there through the `HostDirectory`. */
export abstract class RoutedNetworkManager extends NetworkManager {
  /** Adds addresses to a pool. @throws InvalidArgumentError, NetworkConflictError */
  async createFloatingRange(request: FloatingRangeRequest, options: NetworkStoreOptions = {}): Promise<FloatingRange> {
    this.mustBeOpen();
    return this.context.floating.createRange(request, options);
  }

  /** @throws NetworkInUseError while a project has one of its addresses; AddressNotFoundError */
  async deleteFloatingRange(cidr: string, options: NetworkStoreOptions = {}): Promise<void> {
    this.mustBeOpen();
    await this.context.floating.deleteRange(cidr, options);
  }

  async getFloatingRanges(options: NetworkStoreOptions = {}): Promise<readonly FloatingRange[]> {
    return this.context.floating.ranges(options);
  }

  async getFloatingPools(options: NetworkStoreOptions = {}): Promise<readonly string[]> {
    return this.context.floating.pools(options);
  }

  /** Gives a project an address of a pool. Returns it. @throws FloatingPoolNotFoundError, NoFreeAddressError, QuotaExceededError */
  async allocateFloatingIp(projectId: string, pool?: string, options: NetworkStoreOptions = {}): Promise<string> {
    this.mustBeOpen();
    return (await this.context.floating.allocate({ projectId, pool }, options)).address;
  }

  /** Back to its pool, with all of its names. @throws AddressInUseError while it stands for a fixed one; ForbiddenError, AddressNotFoundError */
  async deallocateFloatingIp(address: string, options: CallerOptions = {}): Promise<void> {
    this.mustBeOpen();
    await this.#floating.deallocate(address, options);
  }

  /**
   * Lets a floating address stand for a fixed one, on the host that serves it. One that stands for another moves; the same
   * again does nothing. On failure it stands for nothing.
   * @throws ForbiddenError when either is another project's; AddressNotFoundError, NetworkHostUnreachableError
   */
  async associateFloatingIp(floatingAddress: string, fixedAddress: string, options: CallerOptions = {}): Promise<void> {
    this.mustBeOpen();
    await this.#floating.associate(floatingAddress, fixedAddress, options);
  }

  /** Success when it stands for nothing. Of a host that is gone only the state changes. @throws ForbiddenError, AddressNotFoundError */
  async disassociateFloatingIp(floatingAddress: string, options: CallerOptions = {}): Promise<void> {
    this.mustBeOpen();
    await this.#floating.disassociate(floatingAddress, options);
  }

  /** @throws AddressNotFoundError when no project has it */
  async getFloatingIpByAddress(address: string, options: NetworkStoreOptions = {}): Promise<FloatingIp> {
    return (await this.context.floating.get(address, options)).value;
  }

  /** As `getFloatingIpByAddress`; Nova's name. */
  async getFloatingIp(address: string, options: NetworkStoreOptions = {}): Promise<FloatingIp> {
    return this.getFloatingIpByAddress(address, options);
  }

  async getFloatingIpsByProject(projectId: string, options: NetworkStoreOptions = {}): Promise<readonly FloatingIp[]> {
    return this.context.floating.ofProject(projectId, options);
  }

  async getFloatingIpsByFixedAddress(
    fixedAddress: string,
    options: NetworkStoreOptions = {},
  ): Promise<readonly string[]> {
    return (await this.context.floating.ofFixedAddress(fixedAddress, options)).map(({ address }) => address).sort();
  }

  /** The instance that a floating address leads to; undefined when to none. */
  async getInstanceIdByFloatingAddress(
    address: string,
    options: NetworkStoreOptions = {},
  ): Promise<string | undefined> {
    const { fixedAddress } = (await this.context.floating.get(address, options)).value;
    if (fixedAddress === undefined) return undefined;
    return (await this.context.records.fixedIps.get(fixedAddress, options))?.value.instanceUuid;
  }

  /** The instance is about to leave a host, which stops forwarding for it. Addresses stay the instance's. */
  async migrateInstanceStart(
    move: { readonly instanceUuid: string; readonly sourceHost: string },
    options: NetworkStoreOptions = {},
  ): Promise<void> {
    this.mustBeOpen();
    await this.#floating.migrateStart(await this.#fixedAddresses(move.instanceUuid, options), move.sourceHost, options);
  }

  /** The instance has come to a host: it serves and forwards from now on, and the one before no longer. */
  async migrateInstanceFinish(
    move: { readonly instanceUuid: string; readonly destinationHost: string },
    options: NetworkStoreOptions = {},
  ): Promise<void> {
    this.mustBeOpen();
    const host = check.string({ max: 255, charset: "name" })(move.destinationHost, "destinationHost");
    const uuid = check.uuid()(move.instanceUuid, "instanceUuid");
    await this.moveInstance(uuid, host, options);
    await this.#floating.migrateFinish(await this.#fixedAddresses(uuid, options), host, options);
  }

  get #floating(): FloatingAddresses {
    return this.floatingAddresses ?? new FloatingAddresses(this.context);
  }

  async #fixedAddresses(instanceUuid: string, options: NetworkStoreOptions): Promise<readonly string[]> {
    const index = `instance:${check.uuid()(instanceUuid, "instanceUuid")}`;
    const ips = await this.context.records.fixedIps.all(index, options);
    return ips.map(({ value }) => canonicalAddress(value.address, "address"));
  }
}
