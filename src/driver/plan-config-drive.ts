/** Which place a config drive has in the guest, and what it tells. Pure. */
import { BlockList, isIPv6 } from "node:net";
import type { Secret } from "../core/index.js";
import { tapNameOf } from "../network/index.js";
import type { Subnet, Vif } from "../network/index.js";
import type { ConfigDriveContent, LinkNetwork, NetworkLink, TaggedDevice } from "../storage/index.js";
import type { ConfigDrive } from "./config-drive.js";
import { checkDeviceName, nextDeviceName } from "./device-names.js";
import type { DeviceType, DiskBus, InjectedFile } from "./instance-spec.js";
import type { AttachedVolume, InstanceDisk, InstanceRecord } from "./instance-record.js";
import type { StoredSpec } from "./validate-instance-spec.js";
import { userDataOf } from "./validate-config-drive.js";

/** Name of the disk that an instance's config drive is. */
export const CONFIG_DISK = "config";
/** That of the drive that a rescued instance has in its place. */
export const RESCUE_CONFIG_DISK = "config.rescue";

export function isConfigDisk({ name }: Pick<InstanceDisk, "name">): boolean {
  return name === CONFIG_DISK || name === RESCUE_CONFIG_DISK;
}

/** A drive that has to be built; its size is known when it is. */
export type PlannedConfigDrive = Pick<InstanceDisk, "name" | "bus" | "deviceName"> & {
  readonly deviceType: DeviceType;
  readonly readOnly: true;
};

/** Adds the drive's name to `taken`. @throws InvalidArgumentError when its name is none of its bus */
export function planConfigDrive(
  { configDrive, machine }: Pick<StoredSpec, "configDrive" | "machine">,
  taken: Set<string>,
): PlannedConfigDrive | undefined {
  if (configDrive === undefined) return undefined;
  const bus = configDrive.bus ?? defaultBus(configDrive, machine);
  const isCd = (configDrive.format ?? "iso") === "iso" && (bus === "sata" || bus === "ide" || bus === "scsi");
  const deviceName =
    configDrive.deviceName === undefined
      ? nextDeviceName(bus, taken)
      : checkDeviceName(configDrive.deviceName, bus, "spec.configDrive.deviceName");
  taken.add(deviceName);
  return { name: CONFIG_DISK, bus, deviceName, deviceType: isCd ? "cdrom" : "disk", readOnly: true };
}

function defaultBus({ format }: ConfigDrive, machine: StoredSpec["machine"]): DiskBus {
  if (format === "vfat" || machine === "microvm") return "virtio";
  if (machine === "virt") return "scsi";
  return machine === "pc" ? "ide" : "sata";
}

/** What is told once and kept in no record. */
export interface Injection {
  readonly adminPassword?: Secret;
  readonly files?: readonly InjectedFile[];
  /** Entropy for the guest. */
  readonly randomSeed: Uint8Array;
}

type Told = Pick<InstanceRecord, "uuid" | "name" | "spec"> & {
  readonly volumes: readonly Pick<AttachedVolume, "connection" | "deviceName" | "bus" | "deviceType" | "tag">[];
  readonly vifs: readonly Vif[];
};

/** What the config drive of an instance tells. */
export function configDriveContentOf(
  { uuid, name, spec, volumes, vifs }: Told,
  drive: ConfigDrive,
  { adminPassword, files, randomSeed }: Injection,
): ConfigDriveContent {
  const { layout = "openstack", hostname, networkConfig = 1, userData, format: _format, bus: _bus, ...rest } = drive;
  const { userDataEncoding: _encoding, deviceName: _deviceName, ...told } = rest;
  const links = networkConfig === "none" ? undefined : linksOf(vifs);
  return {
    ...told,
    layout,
    uuid,
    name,
    hostname: hostname ?? hostnameOf(name),
    ...(userData === undefined ? {} : { userData: userDataOf(drive) }),
    ...(adminPassword === undefined ? {} : { adminPassword }),
    ...(files === undefined || files.length === 0 ? {} : { files }),
    ...(links === undefined ? {} : { links }),
    ...(networkConfig === "none" ? {} : { networkConfigVersion: networkConfig }),
    randomSeed,
    devices: [...vifs.flatMap(taggedNic), ...volumes.flatMap(taggedVolume)],
    ...(spec.imageId === undefined ? {} : { imageId: spec.imageId }),
    ...(spec.flavor.name === undefined ? {} : { instanceType: spec.flavor.name }),
  };
}

/** A host name of the letters, digits and hyphens of a name. */
export function hostnameOf(name: string): string {
  const labels = name
    .toLowerCase()
    .split(".")
    .map((label) => label.replace(/[^a-z0-9-]/g, "-").replace(/^-+|-+$/g, ""))
    .filter((label) => label !== "");
  return labels.length === 0 ? "guest" : labels.join(".");
}

const LINK_TYPES: { readonly [T in Vif["type"]]?: NetworkLink["type"] } = {
  bridge: "bridge",
  ovs: "ovs",
  tap: "tap",
  vhostUser: "vhostuser",
};

/** Undefined when nothing is known of any network: a guest then does what it does by itself. */
function linksOf(vifs: readonly Vif[]): readonly NetworkLink[] | undefined {
  const links = vifs.map((vif): NetworkLink => {
    const { id, macAddress, network, type } = vif;
    return {
      id: ("deviceName" in vif ? vif.deviceName : undefined) ?? tapNameOf(id),
      type: LINK_TYPES[type] ?? "phy",
      vifId: id,
      macAddress,
      ...(network.mtu === undefined ? {} : { mtu: network.mtu }),
      networks: networksOf(vif),
    };
  });
  return links.some(({ networks }) => networks.length > 0) ? links : undefined;
}

/** A subnet with a DHCP server is asked for its address; of one without, the port's fixed addresses are set. */
function networksOf({ network, fixedIps = [] }: Vif): readonly LinkNetwork[] {
  return (network.subnets ?? []).flatMap((subnet): readonly LinkNetwork[] => {
    const version = subnet.cidr.includes(":") ? 6 : 4;
    const own = fixedIps.filter(({ address }) => contains(subnet, address));
    const common = {
      networkId: network.id,
      version,
      dnsServers: subnet.dnsServers ?? [],
      ...(subnet.gateway === undefined ? {} : { gateway: subnet.gateway }),
      routes: subnet.hostRoutes ?? [],
    } as const;
    const prefixLength = Number(subnet.cidr.split("/")[1]);
    if (subnet.dhcpServer !== undefined) {
      const [first] = own;
      return [{ ...common, method: "dhcp", ...(first === undefined ? {} : { address: first.address, prefixLength }) }];
    }
    return own.map(({ address }, i): LinkNetwork => {
      const { gateway: _gateway, routes: _routes, ...further } = common;
      // Routes belong to the subnet, and are set once.
      return { ...(i === 0 ? common : { ...further, routes: [] }), method: "static", address, prefixLength };
    });
  });
}

function contains({ cidr }: Subnet, address: string): boolean {
  const [network = "", length] = cidr.split("/");
  if (isIPv6(network) !== isIPv6(address)) return false;
  const family = isIPv6(network) ? "ipv6" : "ipv4";
  const list = new BlockList();
  list.addSubnet(network, Number(length), family);
  return list.check(address, family);
}

function taggedNic({ macAddress, tag }: Vif): readonly TaggedDevice[] {
  return tag === undefined ? [] : [{ type: "nic", mac: macAddress, tags: [tag] }];
}

function taggedVolume({
  connection,
  deviceName,
  bus,
  deviceType,
  tag,
}: Told["volumes"][number]): readonly TaggedDevice[] {
  if (tag === undefined) return [];
  const serial = deviceType === "disk" ? { serial: connection.volumeId.slice(0, 20) } : {};
  return [{ type: "disk", bus, path: `/dev/${deviceName}`, ...serial, tags: [tag] }];
}
