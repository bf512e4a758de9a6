/** Virtual interfaces: a guest's NIC as the network layer describes it, and how a host plugs it. */

export const NIC_MODELS = ["virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"] as const;
export type NicModel = (typeof NIC_MODELS)[number];

export interface FixedIp {
  /** IPv4 or IPv6 address without prefix. */
  readonly address: string;
  readonly subnetId?: string;
}

export interface Subnet {
  /** CIDR, for example `192.0.2.0/24`. */
  readonly cidr: string;
  readonly gateway?: string;
  readonly dnsServers?: readonly string[];
  readonly dhcpServer?: string;
}

/** The network that a VIF is on. */
export interface VifNetwork {
  readonly id: string;
  readonly label?: string;
  /** Bytes; 68 to 65535. */
  readonly mtu?: number;
  readonly subnets?: readonly Subnet[];
}

interface VifBase {
  /** Uuid of the port. */
  readonly id: string;
  /** Unicast MAC address, lower case with colons. */
  readonly macAddress: string;
  readonly network: VifNetwork;
  readonly model?: NicModel;
  readonly fixedIps?: readonly FixedIp[];
  /** Addresses beside the fixed ones that the port may send from: an address or CIDR, and a MAC address where it is not the port's. */
  readonly allowedAddressPairs?: readonly { readonly address: string; readonly macAddress?: string }[];
  /** Ids of the security groups of the port. Absent: none apply. Empty: nothing is permitted. */
  readonly securityGroups?: readonly string[];
  /** False switches off anti-spoofing and security groups for the port. Default true. */
  readonly portSecurityEnabled?: boolean;
  /** Device role tag that the guest can read, 1 to 60 characters without `,` and `/`. */
  readonly tag?: string;
  /** Transmit and receive queue pairs, 1 to 256. Default 1. */
  readonly queues?: number;
  /** Place in the boot order, which disks and ports share: 0 boots first; absent: not booted from. */
  readonly bootIndex?: number;
}

/** A VIF on a Linux bridge of the host, by a TAP. */
export interface BridgeVif extends VifBase {
  readonly type: "bridge";
  /** Bridge that exists on the host, 1 to 15 characters. */
  readonly bridge: string;
  /** Name of the TAP, 1 to 15 characters; default: derived from the port's id. */
  readonly deviceName?: string;
}

/** A VIF on the hypervisor's own user-mode network: no privileges, outgoing connections only. */
export interface UserVif extends VifBase {
  readonly type: "user";
}

export type Vif = BridgeVif | UserVif;

/** The host's side of a plugged VIF: what a hypervisor connects the guest's NIC to. */
export type VifBackend =
  | { readonly type: "tap"; readonly deviceName: string; readonly bridge: string; readonly queues: number }
  | { readonly type: "user"; readonly cidr?: string };

/** The host side of VIFs (Nova's `plug_vifs`/`unplug_vifs`). */
export interface VifPlugger {
  /** Checks a VIF without touching the host. Throws `InvalidArgumentError` naming the field below `path`, or `NotSupportedError`. */
  validate(vif: Vif, path: string): void;
  /** Plugs a VIF; a plugged one is left as it is. On failure nothing is left. Rejects with `VifPlugError`. */
  plug(vif: Vif, instanceUuid: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<VifBackend>;
  /** Unplugs a VIF; success when it is not plugged. */
  unplug(vif: Vif, instanceUuid: string): Promise<void>;
}
