/** VIFs of instances from their beginning to their end: the state in one commit each time, then the hosts. */
import { withRollback } from "../../core/index.js";

import { AddressNotFoundError, NetworkNotFoundError, VifNotFoundError } from "../ipam/errors.js";
import type { FixedIpRecord, Network, VirtualInterface } from "../ipam/network.js";
import { retryOnConflict } from "../ipam/retry.js";
import type { Versioned } from "../ipam/records.js";
import type { NetworkStoreOptions } from "../store/network-store.js";
import { StoreUnavailableError } from "../store/store-errors.js";
import type { Vif } from "../vif.js";
import type { FloatingAddresses } from "./floating-addresses.js";
import { InstanceDns } from "./instance-dns.js";
import { checkInstanceRequest } from "./instance-request.js";
import type { InstanceNetworkRequest } from "./instance-request.js";
import type { ManagerContext } from "./manager-context.js";
import { chooseNetworks } from "./network-choice.js";
import { vifOf } from "./network-info.js";

interface InstanceState {
  readonly vifs: readonly VirtualInterface[];
  readonly ips: readonly FixedIpRecord[];
  readonly networks: ReadonlyMap<string, Network>;
}

export class InstanceNetworks {
  readonly #context: ManagerContext;
  readonly #dns: InstanceDns;
  readonly #floating: FloatingAddresses | undefined;

  constructor(context: ManagerContext, floating: FloatingAddresses | undefined) {
    this.#context = context;
    this.#dns = new InstanceDns(context.options.dns);
    this.#floating = floating;
  }

  async allocate(input: InstanceNetworkRequest, options: NetworkStoreOptions): Promise<readonly Vif[]> {
    const request = checkInstanceRequest(input, "request");
    const context = this.#context;
    const { instanceUuid, projectId, host, hostname, securityGroups } = request;
    const owner = { instanceUuid, projectId, host, hostname, securityGroups };
    return withRollback(async (undo) => {
      let maybeMade = false;
      let made: InstanceState | undefined;
      const isNew = await retryOnConflict(
        async () => {
          // A call that was cut off, or comes a second time, finds what the first one made.
          if ((await this.#vifsOf(instanceUuid, options)).length > 0) return maybeMade;
          const wanted = await chooseNetworks(context, request, options);
          const allocated = await context.addresses.allocate(owner, wanted, 0, options).catch((error: unknown) => {
            maybeMade ||= error instanceof StoreUnavailableError && error.outcomeUnknown;
            throw error;
          });
          made = {
            vifs: allocated.map(({ vif }) => vif),
            ips: allocated.flatMap(({ addresses }) => addresses),
            networks: new Map(wanted.map(({ network }) => [network.value.id, network.value])),
          };
          return true;
        },
        undefined,
        { clock: context.clock, signal: options.signal },
      );
      if (isNew) undo.defer("the addresses of the instance", () => this.#takeBack(instanceUuid));
      const state = made ?? (await this.#stateOf(instanceUuid, options));
      await this.#applyVifs(state, options);
      const addresses = state.ips.filter(({ allocated }) => allocated).map(({ address }) => address);
      await this.#dns.register([hostname, instanceUuid], addresses, undo, options);
      const first = addresses.find((address) => !address.includes(":"));
      if (context.options.autoAssignFloatingIp === true && first !== undefined)
        await this.#floating?.autoAssign(projectId, first, undo, options);
      await context.membersChanged(instanceUuid, state.vifs);
      return this.#infoOf(state, options);
    });
  }

  async deallocate(instanceUuid: string, options: NetworkStoreOptions): Promise<void> {
    const context = this.#context;
    const state = await this.#stateOf(instanceUuid, options);
    if (state.vifs.length === 0 && state.ips.length === 0) return;
    for (const ip of state.ips) await this.#floating?.releaseOfFixedAddress(ip.address, options);
    await this.#giveBack(state, state.ips, options);
    const names = [state.vifs[0]?.hostname, instanceUuid];
    const addresses = state.ips.map(({ address }) => address);
    await this.#dns.unregister(names, addresses, options);
    const vifIds = state.vifs.map(({ id }) => id);
    await context.addresses.change(addresses, this.#ended(instanceUuid), options, vifIds);
    if (context.options.teardownUnusedNetworks === true) await this.#applyNetworks(state, options);
    await context.membersChanged(instanceUuid, state.vifs);
  }

  async addFixedIp(
    instanceUuid: string,
    networkId: string,
    wanted: { readonly fixedIp?: string | undefined },
    options: NetworkStoreOptions,
  ): Promise<FixedIpRecord> {
    const context = this.#context;
    const vifs = await this.#vifsOf(instanceUuid, options);
    const first = vifs[0];
    if (first === undefined) throw new VifNotFoundError(instanceUuid);
    const vif = vifs.find((one) => one.networkId === networkId);
    return withRollback(async (undo) => {
      let added: VirtualInterface | undefined = vif;
      const ip = await retryOnConflict(async () => {
        const network = await context.networks.get(networkId, options);
        if (vif !== undefined) return context.addresses.add(vif, network, wanted, options);
        const request = checkInstanceRequest(
          { instanceUuid, projectId: first.projectId, host: first.host, networks: [{ networkId }] },
          "request",
        );
        const [choice] = await chooseNetworks(context, request, options);
        if (choice === undefined) throw new NetworkNotFoundError(networkId);
        const { projectId, host, hostname, securityGroups } = first;
        const owner = { instanceUuid, projectId, host, hostname, securityGroups };
        const start = Math.max(...vifs.map(({ position }) => position)) + 1;
        const [made] = await context.addresses.allocate(
          owner,
          [{ ...choice, fixedIp: wanted.fixedIp }],
          start,
          options,
        );
        added = made?.vif;
        return made?.addresses[0] as FixedIpRecord;
      });
      undo.defer("the address", async () => {
        const gone = vif === undefined && added !== undefined ? [added.id] : [];
        await context.addresses.change([ip.address], this.#own(instanceUuid), {}, gone);
        if (added !== undefined) await this.#applyVif(added, {}, true);
      });
      if (added !== undefined) await this.#applyVif(added, options, false);
      await context.membersChanged(instanceUuid, vifs);
      return ip;
    });
  }

  /** @throws AddressNotFoundError when the instance does not have it */
  async removeFixedIp(instanceUuid: string, address: string, options: NetworkStoreOptions): Promise<void> {
    const state = await this.#stateOf(instanceUuid, options);
    const ip = state.ips.find((one) => one.address === address);
    if (ip === undefined) throw new AddressNotFoundError(address, "is none of the instance");
    await this.#floating?.releaseOfFixedAddress(address, options);
    await this.#giveBack(state, [ip], options);
    await this.#context.addresses.change([address], this.#ended(instanceUuid), options);
    await this.#context.membersChanged(instanceUuid, state.vifs);
  }

  async networkInfo(instanceUuid: string, options: NetworkStoreOptions): Promise<readonly Vif[]> {
    return this.#infoOf(await this.#stateOf(instanceUuid, options), options);
  }

  async #infoOf({ vifs, ips, networks }: InstanceState, options: NetworkStoreOptions): Promise<readonly Vif[]> {
    const result: Vif[] = [];
    for (const vif of vifs) {
      const network = networks.get(vif.networkId);
      if (network === undefined) continue;
      const own = network.multiHost
        ? await this.#context.records.fixedIps.getByUnique(`dhcp:${network.id}:${vif.host}`, options)
        : undefined;
      const info = vifOf(vif, network, ips, own?.value.address);
      if (info !== undefined) result.push(info);
    }
    return result;
  }

  /** Brings a host in line with the networks of the instance: bridges, and what its guests need of it. */
  async setUpOnHost(instanceUuid: string, host: string, options: NetworkStoreOptions): Promise<void> {
    const peer = await this.#context.peer(host);
    const ids = new Set((await this.#vifsOf(instanceUuid, options)).map(({ networkId }) => networkId));
    for (const id of ids) await peer.applyNetwork(id, options);
  }

  /** The instance's VIFs are on another host from now on; both hosts follow. */
  async move(instanceUuid: string, host: string, options: NetworkStoreOptions): Promise<void> {
    const before = await this.#vifsOf(instanceUuid, options);
    await withRollback(async (undo) => {
      undo.defer("moving the VIFs", async () => {
        const hosts = new Map(before.map((vif) => [vif.id, vif.host] as const));
        await this.#setHosts(instanceUuid, (vif) => hosts.get(vif.id) ?? vif.host, {});
        await this.#applyNetworksOf(before, host, {});
      });
      await this.#setHosts(instanceUuid, () => host, options);
      await this.#context.peer(host);
      await this.#applyNetworksOf(before, host, options);
    });
  }

  async #setHosts(
    instanceUuid: string,
    hostOf: (vif: VirtualInterface) => string,
    options: NetworkStoreOptions,
  ): Promise<void> {
    const { records, clock } = this.#context;
    await retryOnConflict(
      async () => {
        const vifs = await records.vifs.all(`instance:${instanceUuid}`, options);
        const moving = vifs.filter(({ value }) => value.host !== hostOf(value));
        const puts = moving.map(({ value, version }) => records.vifs.put({ ...value, host: hostOf(value) }, version));
        if (puts.length > 0) await records.store.commit(puts, options);
      },
      undefined,
      { clock, signal: options.signal },
    );
  }

  /** At the hosts that the VIFs were on, and at this one. */
  async #applyNetworksOf(vifs: readonly VirtualInterface[], host: string, options: NetworkStoreOptions): Promise<void> {
    for (const { networkId, host: previous } of vifs)
      for (const name of new Set([host, previous]))
        await (await this.#context.peerIfAlive(name))?.applyNetwork(networkId, options);
  }

  /** Back in the pool, if the instance still has it: never given to a guest, or by a guest that is gone. */
  #own(instanceUuid: string): (ip: FixedIpRecord) => FixedIpRecord | undefined {
    return (ip) => (ip.instanceUuid === instanceUuid ? this.#context.addresses.disassociated(ip) : ip);
  }

  /** As `#own`; but an address whose lease goes on waits for the end of it. */
  #ended(instanceUuid: string): (ip: FixedIpRecord) => FixedIpRecord | undefined {
    const { forceDhcpRelease = true } = this.#context.options;
    const waits = this.#context.profile.managesNetworks && !forceDhcpRelease;
    const own = this.#own(instanceUuid);
    return (ip) => (waits && ip.leased ? ip : own(ip));
  }

  /** The state first says that the addresses are given back, which nobody else can have yet; then hosts forget them. */
  async #giveBack(state: InstanceState, ips: readonly FixedIpRecord[], options: NetworkStoreOptions): Promise<void> {
    const { addresses } = this.#context;
    const names = ips.filter(({ allocated }) => allocated).map(({ address }) => address);
    await withRollback(async (undo) => {
      undo.defer("giving the addresses back", async () => {
        const bound = new Set(ips.map(({ vifId }) => vifId));
        const isOurs = (ip: FixedIpRecord): boolean => !ip.allocated && bound.has(ip.vifId);
        await addresses.change(names, (ip) => (isOurs(ip) ? { ...ip, allocated: true } : ip));
        await this.#applyVifs(state, {}, true);
      });
      await addresses.change(names, addresses.released, options);
      await this.#applyVifs(state, options, true);
      const { forceDhcpRelease = true } = this.#context.options;
      if (!forceDhcpRelease) return;
      for (const ip of ips) {
        const vif = state.vifs.find(({ id }) => id === ip.vifId);
        const network = state.networks.get(ip.networkId);
        if (vif === undefined || network === undefined) continue;
        const peer = await this.#context.peerIfAlive(this.#context.servingHost(network, vif));
        await peer?.releaseLease(network.id, { macAddress: vif.address, address: ip.address }, options);
      }
    });
  }

  /** As if they had never been. */
  async #takeBack(instanceUuid: string): Promise<void> {
    const state = await this.#stateOf(instanceUuid, {});
    const vifIds = state.vifs.map(({ id }) => id);
    const addresses = state.ips.map(({ address }) => address);
    await this.#context.addresses.change(addresses, this.#own(instanceUuid), {}, vifIds);
    await this.#applyVifs(state, {}, true);
  }

  /** At all hosts at once; waits for all, and throws the first failure. */
  async #applyVifs(state: InstanceState, options: NetworkStoreOptions, gone = false): Promise<void> {
    const done = await Promise.allSettled(state.vifs.map((vif) => this.#applyVif(vif, options, gone)));
    const failed = done.find((one) => one.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  /** `gone`: where the host is dead there is nothing to take away. */
  async #applyVif(vif: VirtualInterface, options: NetworkStoreOptions, gone: boolean): Promise<void> {
    const context = this.#context;
    if (!context.profile.managesNetworks) return;
    const network = (await context.records.networks.get(vif.networkId, options))?.value;
    const host = network === undefined ? undefined : context.servingHost(network, vif);
    if (host === undefined) return;
    const peer = gone ? await context.peerIfAlive(host) : await context.peer(host);
    await peer?.applyVif(vif.networkId, vif.address, options);
  }

  async #applyNetworks(state: InstanceState, options: NetworkStoreOptions): Promise<void> {
    for (const vif of state.vifs) {
      const network = state.networks.get(vif.networkId);
      const hosts = new Set([vif.host, network === undefined ? undefined : this.#context.servingHost(network, vif)]);
      for (const host of hosts) await (await this.#context.peerIfAlive(host))?.applyNetwork(vif.networkId, options);
    }
  }

  async #vifsOf(instanceUuid: string, options: NetworkStoreOptions): Promise<readonly VirtualInterface[]> {
    return (await this.#context.records.vifs.all(`instance:${instanceUuid}`, options)).map(({ value }) => value);
  }

  async #stateOf(instanceUuid: string, options: NetworkStoreOptions): Promise<InstanceState> {
    const { records } = this.#context;
    const vifs = await this.#vifsOf(instanceUuid, options);
    const ips = (await records.fixedIps.all(`instance:${instanceUuid}`, options)).map(({ value }) => value);
    const ids = [...new Set([...vifs, ...ips].map(({ networkId }) => networkId))];
    const found: (Versioned<Network> | undefined)[] = await Promise.all(
      ids.map((id) => records.networks.get(id, options)),
    );
    const networks = new Map(found.flatMap((one) => (one === undefined ? [] : [[one.value.id, one.value] as const])));
    // In the order of the VIFs, IPv4 first, then as they came.
    const place = (ip: FixedIpRecord): number => vifs.findIndex(({ id }) => id === ip.vifId);
    const sorted = [...ips].sort((a, b) => place(a) - place(b) || a.version - b.version || a.updatedAt - b.updatedAt);
    return { vifs, ips: sorted, networks };
  }
}
