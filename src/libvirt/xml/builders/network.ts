/** Virtual networks, in the words of who wants one. */
import { check } from "../../../core/index.js";
import type { Network, NetworkBridge, NetworkIp, NetworkIpDhcpHost } from "../generated/types.gen.js";
import type { Editable } from "../xml-object.js";
import { defined, onOff } from "./defined.js";

/** An address of the network's bridge, and what DHCP gives out around it. */
export interface NetworkAddress {
  /** The bridge's own address with the prefix of its subnet: `192.0.2.1/24`. */
  readonly cidr: string;
  readonly ranges?: readonly { readonly start: string; readonly end: string }[] | undefined;
  readonly hosts?:
    readonly { readonly mac: string; readonly ip: string; readonly name?: string | undefined }[] | undefined;
}

/** A virtual network. */
export interface NetworkOptions {
  readonly name: string;
  readonly uuid?: string | undefined;
  /** The name of the bridge; default: libvirt chooses. */
  readonly bridge?: string | undefined;
  /** Spanning tree on the bridge. Default: libvirt's, which is on. */
  readonly stp?: boolean | undefined;
  /** How traffic leaves; default: not at all. `bridge` is a bridge of the host that libvirt leaves alone. */
  readonly forward?: "nat" | "route" | "open" | "bridge" | undefined;
  /** The host's device that traffic may leave by. */
  readonly forwardDevice?: string | undefined;
  readonly addresses?: readonly NetworkAddress[] | undefined;
  readonly dnsDomain?: string | undefined;
  readonly mtu?: number | undefined;
}

/** The document `<network>`. Throws `InvalidArgumentError` for an address that is not `ADDRESS/PREFIX`. */
export function networkXml(options: NetworkOptions): Editable<Network> {
  const { name, uuid, bridge, stp, forward, forwardDevice, addresses, dnsDomain, mtu } = options;
  const hasBridge = bridge !== undefined || stp !== undefined;
  return defined<Network>({
    name,
    uuid,
    forward: forward === undefined ? undefined : defined({ mode: forward, dev: forwardDevice }),
    bridge: hasBridge ? defined<NetworkBridge>({ name: bridge, stp: onOff(stp) }) : undefined,
    mtu: mtu === undefined ? undefined : { size: mtu },
    domain: dnsDomain === undefined ? undefined : { name: dnsDomain },
    ip: addresses?.map((address, index) => ipOf(address, `addresses[${index}].cidr`)),
  });
}

function ipOf({ cidr, ranges, hosts }: NetworkAddress, field: string): NetworkIp {
  const [address = "", prefix = ""] = check.cidr()(cidr, field).split("/");
  const hasDhcp = ranges !== undefined || hosts !== undefined;
  return defined<NetworkIp>({
    family: address.includes(":") ? "ipv6" : undefined,
    address,
    prefix: Number(prefix),
    dhcp: hasDhcp
      ? defined({
          range: ranges?.map((range) => ({ ...range })),
          host: hosts?.map((host) => defined<NetworkIpDhcpHost>(host)),
        })
      : undefined,
  });
}
