/** The kinds of documents: which schema describes each, and what its root element and its types are called. */

export interface DocumentKind {
  readonly kind: string;
  readonly schema: string;
  readonly element: string;
  /** First part of the names of its types. */
  readonly type: string;
}

export const KINDS: readonly DocumentKind[] = [
  { kind: "domain", schema: "domain.rng", element: "domain", type: "Domain" },
  { kind: "capabilities", schema: "capability.rng", element: "capabilities", type: "Capabilities" },
  { kind: "domainCapabilities", schema: "domaincaps.rng", element: "domainCapabilities", type: "DomainCapabilities" },
  { kind: "cpu", schema: "cpu.rng", element: "cpu", type: "Cpu" },
  { kind: "network", schema: "network.rng", element: "network", type: "Network" },
  { kind: "networkPort", schema: "networkport.rng", element: "networkport", type: "NetworkPort" },
  { kind: "nwFilter", schema: "nwfilter.rng", element: "filter", type: "NwFilter" },
  { kind: "nwFilterBinding", schema: "nwfilterbinding.rng", element: "filterbinding", type: "NwFilterBinding" },
  { kind: "secret", schema: "secret.rng", element: "secret", type: "Secret" },
  { kind: "storagePool", schema: "storagepool.rng", element: "pool", type: "StoragePool" },
  {
    kind: "storagePoolCapabilities",
    schema: "storagepoolcaps.rng",
    element: "storagepoolCapabilities",
    type: "StoragePoolCapabilities",
  },
  { kind: "storageVolume", schema: "storagevol.rng", element: "volume", type: "StorageVolume" },
  { kind: "domainSnapshot", schema: "domainsnapshot.rng", element: "domainsnapshot", type: "DomainSnapshot" },
  { kind: "domainCheckpoint", schema: "domaincheckpoint.rng", element: "domaincheckpoint", type: "DomainCheckpoint" },
  { kind: "domainBackup", schema: "domainbackup.rng", element: "domainbackup", type: "DomainBackup" },
  { kind: "nodeDevice", schema: "nodedev.rng", element: "device", type: "NodeDevice" },
  { kind: "interface", schema: "interface.rng", element: "interface", type: "Interface" },
];
