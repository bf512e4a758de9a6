/** What the parts of a manager share. */
import { asError, systemClock } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import { NetworkHostUnreachableError } from "../ipam/errors.js";
import { FloatingBook } from "../ipam/floating-book.js";
import { InstanceAddresses } from "../ipam/instance-addresses.js";
import type { Network, VirtualInterface } from "../ipam/network.js";
import { NetworkBook } from "../ipam/network-book.js";
import { NetworkRecords } from "../ipam/network-records.js";
import type { NetworkTopology } from "../ipam/network-request.js";
import { HostAgent } from "./host-agent.js";
import type { NetworkManagerOptions } from "./manager-options.js";
import type { NetworkPeer } from "./network-peer.js";

/** What distinguishes the managers. */
export interface ManagerProfile {
  readonly topology: NetworkTopology;
  /** The hosts make bridges, gateways and DHCP servers. */
  readonly managesNetworks: boolean;
  /** Networks belong to projects. */
  readonly byProject: boolean;
}

export class ManagerContext {
  readonly options: NetworkManagerOptions;
  readonly profile: ManagerProfile;
  readonly records: NetworkRecords;
  readonly networks: NetworkBook;
  readonly addresses: InstanceAddresses;
  readonly floating: FloatingBook;
  readonly agent: HostAgent;
  readonly clock: Clock;

  constructor(options: NetworkManagerOptions, profile: ManagerProfile) {
    this.options = options;
    this.profile = profile;
    this.clock = options.clock ?? systemClock;
    const { clock } = this;
    const records = new NetworkRecords(options.store);
    this.records = records;
    this.networks = new NetworkBook({ records, clock });
    this.addresses = new InstanceAddresses({
      records,
      clock,
      newMac: options.newMacAddress,
      macAttempts: options.createUniqueMacAddressAttempts,
      quota: options.quotas?.fixedIps,
    });
    this.floating = new FloatingBook({
      records,
      clock,
      quota: options.quotas?.floatingIps,
      defaultPool: options.defaultFloatingPool,
    });
    this.agent = new HostAgent({
      host: options.host,
      records,
      addresses: this.addresses,
      managesNetworks: profile.managesNetworks,
      teardownUnusedNetworks: options.teardownUnusedNetworks ?? false,
      singleDefaultGateway: options.useSingleDefaultGateway ?? false,
      vpnAddress: options.vpnIp,
    });
  }

  /** Name of the host that this manager runs on. */
  get hostName(): string {
    return this.options.host.name;
  }

  /** @throws NetworkHostUnreachableError */
  async peer(name: string): Promise<NetworkPeer> {
    const peer = await this.peerIfAlive(name);
    if (peer === undefined) throw new NetworkHostUnreachableError(name);
    return peer;
  }

  /** Undefined for a host that is gone: with it went what it had of networks. */
  async peerIfAlive(name: string | undefined): Promise<NetworkPeer | undefined> {
    if (name === undefined) return undefined;
    return name === this.hostName ? this.agent : this.options.directory?.remoteHost(name);
  }

  /** The host that is gateway and DHCP server for the guest. */
  servingHost(network: Network, vif: Pick<VirtualInterface, "host">): string | undefined {
    return network.multiHost ? vif.host : network.host;
  }

  async membersChanged(instanceUuid: string, vifs: readonly VirtualInterface[]): Promise<void> {
    const securityGroups = [...new Set(vifs.flatMap((vif) => vif.securityGroups ?? []))];
    await this.options.onMembersChanged?.({ instanceUuid, securityGroups });
  }

  background(error: unknown): void {
    this.options.onBackgroundError?.(asError(error));
  }
}
