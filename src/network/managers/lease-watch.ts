/** Leases given and ended on this host, written into the state. */
import { isHyperviseError } from "../../core/index.js";
import type { FixedIpRecord } from "../ipam/network.js";
import type { NetworkStoreOptions } from "../store/network-store.js";
import type { DhcpLeaseEvent } from "../host/network-host.js";
import type { ManagerContext } from "./manager-context.js";

export class LeaseWatch {
  readonly #context: ManagerContext;
  #stop: (() => Promise<void>) | undefined;

  constructor(context: ManagerContext) {
    this.#context = context;
  }

  /** From here on the state follows the leases; what was missed before is caught up with. */
  async start(options: NetworkStoreOptions): Promise<void> {
    if (this.#stop !== undefined || !this.#context.profile.managesNetworks) return;
    const stopping = new AbortController();
    const events = this.#context.options.host.leaseEvents({ signal: stopping.signal });
    const following = this.#follow(events).catch((error: unknown) => {
      if (!isHyperviseError(error, "ABORTED")) this.#context.background(error);
    });
    this.#stop = async () => {
      stopping.abort();
      await events.return?.();
      await following;
    };
    await this.#catchUp(options);
  }

  async stop(): Promise<void> {
    const stop = this.#stop;
    this.#stop = undefined;
    await stop?.();
  }

  /** @see NetworkManager.leaseFixedIp */
  async leased(address: string, macAddress: string | undefined, options: NetworkStoreOptions): Promise<void> {
    await this.#change(address, macAddress, (ip) => (ip.leased ? ip : { ...ip, leased: true }), options);
  }

  /** @see NetworkManager.releaseFixedIp */
  async released(address: string, macAddress: string | undefined, options: NetworkStoreOptions): Promise<void> {
    const { addresses } = this.#context;
    const change = (ip: FixedIpRecord): FixedIpRecord | undefined => {
      if (!ip.allocated) return addresses.disassociated(ip);
      return ip.leased ? { ...ip, leased: false } : ip;
    };
    await this.#change(address, macAddress, change, options);
  }

  /** Only of the instance that has the MAC address: a late word of an earlier guest must not touch the next one's. */
  async #change(
    address: string,
    macAddress: string | undefined,
    change: (ip: FixedIpRecord) => FixedIpRecord | undefined,
    options: NetworkStoreOptions,
  ): Promise<void> {
    const { records, addresses } = this.#context;
    const holder = macAddress === undefined ? undefined : await records.vifs.getByUnique(`mac:${macAddress}`, options);
    await addresses.change(
      [address],
      (ip) => {
        const isForeign = holder !== undefined && holder.value.instanceUuid !== ip.instanceUuid;
        return ip.vifId === undefined || isForeign ? ip : change(ip);
      },
      options,
    );
  }

  async #follow(events: AsyncIterable<DhcpLeaseEvent>): Promise<void> {
    for await (const event of events) {
      try {
        if (event.type === "overflow") await this.#catchUp({});
        else if (event.type === "leased") await this.leased(event.lease.address, event.lease.macAddress, {});
        else await this.released(event.lease.address, event.lease.macAddress, {});
      } catch (error) {
        this.#context.background(error);
      }
    }
  }

  /** Sets the state of each address of this host's networks by the leases that there are. */
  async #catchUp(options: NetworkStoreOptions): Promise<void> {
    const { records, agent } = this.#context;
    const host = this.#context.options.host;
    for (const networkId of await host.listNetworks()) {
      const network = (await records.networks.get(networkId, options))?.value;
      // Where each host serves its own guests this one does not know the leases of the others.
      if (network === undefined || (!network.multiHost && network.host !== this.#context.hostName)) continue;
      const leases = new Map((await agent.leases(networkId, options)).map((lease) => [lease.address, lease] as const));
      for (const { address, macAddress } of leases.values()) await this.leased(address, macAddress, options);
      if (network.multiHost) continue;
      for (const { value } of await records.fixedIps.all(`network:${networkId}`, options))
        if (value.leased && !leases.has(value.address)) await this.released(value.address, undefined, options);
    }
  }
}
