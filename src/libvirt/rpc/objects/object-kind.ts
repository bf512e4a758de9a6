/** The kinds of objects that a daemon holds, and how the protocol refers to them. */

/** By the structure that refers to an object: what its procedures begin with, and what its handle is called. */
export const OBJECT_KINDS = {
  Domain: { prefix: "domain", handle: "Domain" },
  DomainSnapshot: { prefix: "domainSnapshot", handle: "DomainSnapshot" },
  DomainCheckpoint: { prefix: "domainCheckpoint", handle: "DomainCheckpoint" },
  Network: { prefix: "network", handle: "Network" },
  NetworkPort: { prefix: "networkPort", handle: "NetworkPort" },
  StoragePool: { prefix: "storagePool", handle: "StoragePool" },
  StorageVol: { prefix: "storageVol", handle: "StorageVolume" },
  Secret: { prefix: "secret", handle: "Secret" },
  NwFilter: { prefix: "nwFilter", handle: "NwFilter" },
  NwFilterBinding: { prefix: "nwFilterBinding", handle: "NwFilterBinding" },
  NodeDevice: { prefix: "nodeDevice", handle: "NodeDevice" },
  Interface: { prefix: "interface", handle: "Interface" },
} as const;

export type ObjectKind = keyof typeof OBJECT_KINDS;

export const OBJECT_KIND_NAMES = Object.keys(OBJECT_KINDS) as readonly ObjectKind[];

export function isObjectKind(name: string | undefined): name is ObjectKind {
  return name !== undefined && Object.hasOwn(OBJECT_KINDS, name);
}
