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
  /** Ways beside the gateway: `destination` is a CIDR. */
  readonly hostRoutes?: readonly { readonly destination: string; readonly nextHop: string }[];
}

/** The network that a VIF is on. */
export interface VifNetwork {
  readonly id: string;
  readonly label?: string;
  /** Bytes; 68 to 65535. */
  readonly mtu?: number;
  readonly subnets?: readonly Subnet[];
}

/** A limit of one direction, in libvirt's units. */
export interface BandwidthLimit {
  /** What may be carried in the long run: kilobytes (1000) a second, 1 to 4,000,000. */
  readonly averageKBps: number;
  /** The fastest that a burst may go, in kilobytes a second; at least the average. Default: no limit. */
  readonly peakKBps?: number;
  /** How much may go faster than the average, in kilobytes (1024); 1 to 1,048,576. Default: what goes in a tenth of a second, at least 16. */
  readonly burstKiB?: number;
}

/** Limits as the guest sees the directions. */
export interface VifBandwidth {
  /** To the guest. */
  readonly inbound?: BandwidthLimit;
  /** From the guest. */
  readonly outbound?: BandwidthLimit;
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
  /** Limits of what the port may carry, on hosts whose plugger keeps such (see `BandwidthPlugger`). Absent: none. */
  readonly bandwidth?: VifBandwidth;
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

/** A VIF on a bridge of Open vSwitch, by a TAP. */
export interface OvsVif extends VifBase {
  readonly type: "ovs";
  /** Bridge of Open vSwitch that exists on the host, 1 to 15 characters. */
  readonly bridge: string;
  /** Name of the TAP, 1 to 15 characters; default: derived from the port's id. */
  readonly deviceName?: string;
  /** What controllers know the port by (`iface-id`); default: the port's id. */
  readonly interfaceId?: string;
  /** VLAN that the port is an access port of, 1 to 4094; absent: none. */
  readonly vlan?: number;
}

export const MACVTAP_MODES = ["bridge", "vepa", "private", "passthru"] as const;
export type MacvtapMode = (typeof MACVTAP_MODES)[number];

/** A VIF that shares an interface of the host by a macvtap device: no bridge, and no traffic between guest and host. */
export interface MacvtapVif extends VifBase {
  readonly type: "macvtap";
  /** Interface that the guest's frames go out by, 1 to 15 characters. */
  readonly parentInterface: string;
  /** Default `bridge`: guests of the same interface reach each other. */
  readonly mode?: MacvtapMode;
  /** Name of the macvtap device, 1 to 15 characters; default: derived from the port's id. */
  readonly deviceName?: string;
}

/** A VIF on a TAP that somebody else made and looks after. */
export interface TapVif extends VifBase {
  readonly type: "tap";
  /** Name of the TAP, 1 to 15 characters. */
  readonly deviceName: string;
}

/** A VIF on a switch in user space, by a socket. The guest's memory has to be shared (`hardware.memory.shared`). */
export interface VhostUserVif extends VifBase {
  readonly type: "vhostUser";
  /** Absolute path of the socket. */
  readonly socketPath: string;
  /** Who listens on the socket. Default `switch`: the hypervisor connects to it. */
  readonly server?: "switch" | "hypervisor";
}

export type Vif = BridgeVif | OvsVif | MacvtapVif | TapVif | VhostUserVif | UserVif;
export type VifType = Vif["type"];

/** The host's side of a plugged VIF: what a hypervisor connects the guest's NIC to. */
export type VifBackend =
  /** `bridge`: the Linux bridge that the TAP is a port of; absent where it is of none. */
  | { readonly type: "tap"; readonly deviceName: string; readonly bridge?: string; readonly queues: number }
  | { readonly type: "macvtap"; readonly deviceName: string; readonly queues: number }
  | {
      readonly type: "vhostUser";
      readonly socketPath: string;
      readonly server: "switch" | "hypervisor";
      readonly queues: number;
    }
  | { readonly type: "user"; readonly cidr?: string };

/** The host side of VIFs (Nova's `plug_vifs`/`unplug_vifs`). */
export interface VifPlugger {
  /** Checks a VIF without touching the host. Throws `InvalidArgumentError` naming the field below `path`, or `NotSupportedError`. */
  validate(vif: Vif, path: string): void;
  /** Plugs a VIF; a plugged one is left as it is. On failure nothing is left. Rejects with `VifPlugError`. */
  plug(vif: Vif, instanceUuid: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<VifBackend>;
  /** Unplugs a VIF; success when it is not plugged. */
  unplug(vif: Vif, instanceUuid: string): Promise<void>;
  /**
   * Resolves when traffic of a plugged VIF passes, at once where it does; called before its guest starts, which may be what it takes. Rejects with `VifPlugError` when it won't, and when
   * `signal` aborts. Absent: what is plugged is active.
   */
  waitUntilActive?(
    vif: Vif,
    instanceUuid: string,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<void>;
}
