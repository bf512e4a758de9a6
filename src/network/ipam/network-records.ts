/** All kinds of records that IPAM keeps in a store, and what each can be found by. */
import type { NetworkStore } from "../store/network-store.js";
import type { FixedIpRecord, FloatingIp, FloatingRange, Network, VirtualInterface } from "./network.js";
import { Records } from "./records.js";

/** A record whose version changes whenever the networks or floating ranges do: those who add one go one by one. */
export interface Registry {
  readonly name: "networks" | "floating-ranges";
}

export class NetworkRecords {
  readonly store: NetworkStore;
  readonly networks: Records<Network>;
  readonly vifs: Records<VirtualInterface>;
  readonly fixedIps: Records<FixedIpRecord>;
  readonly floatingRanges: Records<FloatingRange>;
  readonly floatingIps: Records<FloatingIp>;
  readonly registries: Records<Registry>;

  constructor(store: NetworkStore) {
    this.store = store;
    this.registries = new Records(store, { kind: "registry", idOf: ({ name }) => name });
    this.networks = new Records(store, {
      kind: "network",
      idOf: ({ id }) => id,
      uniqueOf: ({ vlan, vpnPublicAddress, vpnPublicPort }) => [
        ...(vlan === undefined ? [] : [`vlan:${vlan}`]),
        ...(vpnPublicPort === undefined ? [] : [`vpn:${vpnPublicAddress ?? ""}:${vpnPublicPort}`]),
      ],
      indexOf: ({ projectId, host }) => [
        projectId === undefined ? "free" : `project:${projectId}`,
        ...(host === undefined ? [] : [`host:${host}`]),
      ],
      orderOf: ({ priority = 0 }) => priority,
    });
    this.vifs = new Records(store, {
      kind: "vif",
      idOf: ({ id }) => id,
      uniqueOf: (vif) => [`mac:${vif.address}`, `slot:${vif.instanceUuid}:${vif.networkId}:${vif.ordinal}`],
      indexOf: ({ instanceUuid, networkId, host }) => [
        `instance:${instanceUuid}`,
        `network:${networkId}`,
        `network-host:${networkId}:${host}`,
      ],
      orderOf: ({ position }) => position,
    });
    this.fixedIps = new Records(store, {
      kind: "fixed-ip",
      idOf: ({ address }) => address,
      uniqueOf: ({ networkId, host }) => (host === undefined ? [] : [`dhcp:${networkId}:${host}`]),
      indexOf: (ip) => [
        `network:${ip.networkId}`,
        ...(isFree(ip) ? [`free:${ip.networkId}`] : []),
        ...(isWaiting(ip) ? [`waiting:${ip.networkId}`] : []),
        ...(ip.allocated ? [`allocated:${ip.networkId}`] : []),
        ...(ip.vifId === undefined ? [] : [`vif:${ip.vifId}`]),
        ...(ip.instanceUuid === undefined ? [] : [`instance:${ip.instanceUuid}`]),
        ...(ip.projectId === undefined || !ip.allocated ? [] : [`project:${ip.projectId}`]),
      ],
      orderOf: ({ updatedAt }) => Math.trunc(updatedAt),
    });
    this.floatingRanges = new Records(store, {
      kind: "floating-range",
      // A slash does not go well with ids of some stores' tools.
      idOf: ({ cidr }) => cidr.replace("/", "_"),
      indexOf: ({ pool }) => [`pool:${pool}`],
    });
    this.floatingIps = new Records(store, {
      kind: "floating-ip",
      idOf: ({ address }) => address,
      indexOf: (ip) => [
        `pool:${ip.pool}`,
        ...(ip.projectId === undefined ? [`free:${ip.pool}`] : [`taken:${ip.pool}`, `project:${ip.projectId}`]),
        ...(ip.projectId === undefined || ip.autoAssigned ? [] : [`quota:${ip.projectId}`]),
        ...(ip.fixedAddress === undefined ? [] : [`fixed:${ip.fixedAddress}`]),
        ...(ip.host === undefined ? [] : [`host:${ip.host}`]),
      ],
      orderOf: ({ updatedAt }) => Math.trunc(updatedAt),
    });
  }
}

/** Whether the pool may give the address out. */
export function isFree(ip: FixedIpRecord): boolean {
  return ip.vifId === undefined && !ip.allocated && !ip.leased && !ip.reserved && ip.host === undefined;
}

/** Whether the address was given back and is still bound to its last VIF. */
export function isWaiting(ip: FixedIpRecord): boolean {
  return ip.vifId !== undefined && !ip.allocated;
}
