/** Network interfaces, in the words of who wants one. */
import type {
  DomainBandwidth,
  DomainFilterref,
  DomainInterface,
  DomainInterfaceDriver,
  DomainInterfaceSource,
} from "../generated/types.gen.js";
import type { Editable } from "../xml-object.js";
import { defined, yesNo } from "./defined.js";
import { pciAddressXml } from "./pci-address.js";

/** What an interface is connected to. */
export type InterfaceSource =
  | { readonly network: string; readonly portGroup?: string | undefined }
  | { readonly bridge: string }
  /** A TAP device; `exists` says that somebody else made it and will remove it. */
  | { readonly tap: string; readonly exists?: boolean | undefined }
  | { readonly macvtap: string; readonly mode: "bridge" | "vepa" | "private" | "passthrough" }
  | { readonly vhostUser: string; readonly mode: "client" | "server" }
  | { readonly vdpa: string }
  /** A network card of the host, `0000:03:10.1`. */
  | { readonly pci: string; readonly managed?: boolean | undefined }
  /** QEMU's own network without privileges. */
  | { readonly user: true };

/** A network filter and the values of its variables; a variable may have several. */
export interface InterfaceFilter {
  readonly name: string;
  readonly parameters?: Readonly<Record<string, string | readonly string[]>> | undefined;
}

/** Rates in KiB per second, the burst in KiB. */
export interface InterfaceRate {
  readonly averageKiBs: number;
  readonly peakKiBs?: number | undefined;
  readonly burstKiB?: number | undefined;
}

/** An interface of a domain. */
export interface InterfaceOptions {
  readonly source: InterfaceSource;
  /** Default: libvirt makes one up. */
  readonly mac?: string | undefined;
  /** Default: `virtio`. */
  readonly model?: string | undefined;
  /** The name of the device on the host; default: libvirt chooses. */
  readonly target?: string | undefined;
  readonly queues?: number | undefined;
  readonly mtu?: number | undefined;
  readonly filter?: InterfaceFilter | undefined;
  /** One or more VLANs that the traffic is tagged with, where the connection can do so. */
  readonly vlans?: readonly number[] | undefined;
  /** The id of the port of Open vSwitch. */
  readonly openVSwitchInterfaceId?: string | undefined;
  readonly inbound?: InterfaceRate | undefined;
  readonly outbound?: InterfaceRate | undefined;
  readonly linkState?: "up" | "down" | undefined;
  readonly bootOrder?: number | undefined;
}

/** The element `<interface>` of a domain. */
export function interfaceXml(options: InterfaceOptions): Editable<DomainInterface> {
  const { source, mac, queues, mtu, filter, vlans, openVSwitchInterfaceId: portId, linkState, bootOrder } = options;
  const { target, ...connection } = connectionOf(source);
  const isCard = "pci" in source;
  const name = options.target ?? target?.dev;
  return defined<DomainInterface>({
    ...connection,
    mac: mac === undefined ? undefined : { address: mac },
    vlan:
      vlans === undefined
        ? undefined
        : { ...(vlans.length > 1 ? { trunk: "yes" } : {}), tag: vlans.map((id) => ({ id })) },
    virtualport: portId === undefined ? undefined : { type: "openvswitch", parameters: { interfaceid: portId } },
    target: name === undefined ? undefined : { ...target, dev: name },
    model: isCard ? undefined : { type: options.model ?? "virtio" },
    driver: queues === undefined ? undefined : defined<DomainInterfaceDriver>({ name: "vhost", queues }),
    filterref: filter === undefined ? undefined : filterReferenceXml(filter),
    bandwidth: bandwidthOf(options),
    link: linkState === undefined ? undefined : { state: linkState },
    mtu: mtu === undefined ? undefined : { size: mtu },
    boot: bootOrder === undefined ? undefined : { order: bootOrder },
  });
}

/** The element `<filterref>` of an interface, a filter or a binding. */
export function filterReferenceXml({ name, parameters }: InterfaceFilter): Editable<DomainFilterref> {
  const entries = Object.entries(parameters ?? {});
  const list = entries.flatMap(([key, values]) => [values].flat().map((value) => ({ name: key, value })));
  return list.length === 0 ? { filter: name } : { filter: name, parameter: list };
}

type Connection = Pick<DomainInterface, "type" | "managed" | "source" | "target">;

function connectionOf(source: InterfaceSource): Connection {
  if ("network" in source) {
    return {
      type: "network",
      source: defined<DomainInterfaceSource>({ network: source.network, portgroup: source.portGroup }),
    };
  }
  if ("bridge" in source) return { type: "bridge", source: { bridge: source.bridge } };
  if ("tap" in source) {
    return { type: "ethernet", target: { dev: source.tap, ...(source.exists === true ? { managed: "no" } : {}) } };
  }
  if ("macvtap" in source) return { type: "direct", source: { dev: source.macvtap, mode: source.mode } };
  if ("vhostUser" in source) {
    return { type: "vhostuser", source: { type: "unix", path: source.vhostUser, mode: source.mode } };
  }
  if ("vdpa" in source) return { type: "vdpa", source: { dev: source.vdpa } };
  if ("pci" in source) {
    return defined<Connection>({
      type: "hostdev",
      managed: yesNo(source.managed),
      source: { $address: { type: "pci", ...pciAddressXml(source.pci, "source.pci") } },
    });
  }
  return { type: "user" };
}

function bandwidthOf({ inbound, outbound }: InterfaceOptions): DomainBandwidth | undefined {
  if (inbound === undefined && outbound === undefined) return undefined;
  const rate = (given: InterfaceRate | undefined) =>
    given && defined({ average: given.averageKiBs, peak: given.peakKiBs, burst: given.burstKiB });
  return defined<DomainBandwidth>({ inbound: rate(inbound), outbound: rate(outbound) });
}
