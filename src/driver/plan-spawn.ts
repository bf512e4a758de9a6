/** What `spawn` is going to do, decided before anything is touched. Pure. */
import type { AttachedVolume, EmptyDrive, InstanceDisk, PluggedVif } from "./instance-record.js";
import type { BlockDevice, InstanceSpec } from "./instance-spec.js";
import type { GuestDefinition, GuestKernel } from "./guest-definition.js";
import { driveId, guestDefinitionOf, volumeDiskId } from "./guest-definition-of.js";
import { nextDeviceName } from "./device-names.js";
import type { StoredSpec } from "./validate-instance-spec.js";
import { tapNameOf } from "../network/index.js";
import type { Vif, VifBackend } from "../network/index.js";
import { withEncryption } from "../storage/index.js";
import type { DiskSource, DiskSourceFormat, GuestFormat, VolumeConnection } from "../storage/index.js";
import { planConfigDrive } from "./plan-config-drive.js";
import type { PlannedConfigDrive } from "./plan-config-drive.js";

const GIB = 1_073_741_824;
const MIB = 1_048_576;

/** Name of the disk that a guest swaps to. */
export const SWAP_DISK = "swap";

/** A disk of the instance's own that has to be made. */
export interface PlannedDisk extends Omit<InstanceDisk, "source"> {
  /** Content to start from. `sizeBytes` is then a lower bound: the disk is never smaller than the image's. */
  readonly imageId?: string;
  /** What a disk without an image is formatted with. */
  readonly guestFormat?: GuestFormat;
}

/** A volume that has to be connected. */
export type PlannedVolume = Omit<AttachedVolume, "source">;

export interface InstancePlan {
  readonly spec: StoredSpec;
  readonly disks: readonly PlannedDisk[];
  readonly configDrive?: PlannedConfigDrive;
  readonly volumes: readonly PlannedVolume[];
  readonly emptyDrives: readonly EmptyDrive[];
  readonly vifs: readonly Vif[];
}

/** Gives every disk its name and place. */
export function planSpawn(spec: StoredSpec): InstancePlan {
  const devices = spec.blockDevices ?? [];
  const named = [...devices.map(({ deviceName }) => deviceName), spec.configDrive?.deviceName];
  const taken = new Set(named.flatMap((name) => name ?? []));
  const disks = planOwnDisks(spec, taken);
  const placed = devices.map((device) => withPlace(device, taken));
  const volumes = placed.flatMap((device) =>
    device.connection === undefined ? [] : plannedVolumeOf({ ...device, connection: device.connection }),
  );
  const emptyDrives = placed.flatMap((device) => (device.connection === undefined ? emptyDriveFrom(device) : []));
  const configDrive = planConfigDrive(spec, taken);
  return {
    ...{
      spec: withConfigDriveName(withDriveNames(spec, placed), configDrive),
      disks,
      volumes,
      emptyDrives,
      vifs: spec.vifs ?? [],
    },
    ...(configDrive === undefined ? {} : { configDrive }),
  };
}

/** An empty drive is found again by its name: it stands in the spec. */
function withDriveNames(spec: StoredSpec, placed: readonly PlacedDevice[]): StoredSpec {
  const { blockDevices } = spec;
  if (blockDevices === undefined || blockDevices.every(({ connection }) => connection !== undefined)) return spec;
  const named = blockDevices.map((device, i) => (device.connection === undefined ? (placed[i] ?? device) : device));
  return { ...spec, blockDevices: named };
}

/** So is the config drive, wherever the instance goes. */
function withConfigDriveName(spec: StoredSpec, planned: PlannedConfigDrive | undefined): StoredSpec {
  const { configDrive } = spec;
  if (configDrive === undefined || planned === undefined) return spec;
  return { ...spec, configDrive: { ...configDrive, deviceName: planned.deviceName } };
}

/** The drives without a medium, as a record holds them. */
export function emptyDrivesOf({ emptyDrives }: InstancePlan): { readonly emptyDrives?: readonly EmptyDrive[] } {
  return emptyDrives.length === 0 ? {} : { emptyDrives };
}

/** The instance's own disks: root if there is an image, one ephemeral, one swap. Adds their names to `taken`. */
export function planOwnDisks(
  spec: Pick<InstanceSpec, "imageId" | "flavor" | "blockDevices" | "vifs" | "ephemeralFormat">,
  taken: Set<string>,
): readonly PlannedDisk[] {
  const { flavor, imageId } = spec;
  const disks: PlannedDisk[] = [];
  const add = (name: string, sizeBytes: number, rest: Partial<PlannedDisk> = {}): void => {
    const deviceName = nextDeviceName("virtio", taken);
    taken.add(deviceName);
    disks.push({ name, sizeBytes, deviceName, bus: "virtio", ...rest });
  };
  if (imageId !== undefined)
    add("root", flavor.rootGiB * GIB, {
      imageId,
      bootIndex: freeBootIndex([...(spec.blockDevices ?? []), ...(spec.vifs ?? [])]),
    });
  if (flavor.ephemeralGiB !== undefined && flavor.ephemeralGiB > 0)
    add("ephemeral0", flavor.ephemeralGiB * GIB, guestFormatOf("ephemeral0", spec));
  if (flavor.swapMiB !== undefined && flavor.swapMiB > 0)
    add(SWAP_DISK, flavor.swapMiB * MIB, guestFormatOf(SWAP_DISK, spec));
  return disks;
}

/** What a disk of the name is formatted with when it is made. */
export function guestFormatOf(
  name: string,
  { ephemeralFormat = "ext4" }: Pick<InstanceSpec, "ephemeralFormat">,
): Pick<PlannedDisk, "guestFormat"> {
  if (name === SWAP_DISK) return { guestFormat: { type: "swap", label: name } };
  if (name !== "ephemeral0" || ephemeralFormat === "none") return {};
  return { guestFormat: { type: ephemeralFormat, label: name } };
}

/** The disk's place and size, without what it is made from. */
export function placeOfDisk({
  imageId: _imageId,
  guestFormat: _format,
  ...place
}: PlannedDisk): Omit<InstanceDisk, "source"> {
  return place;
}

/** A block device with a volume in it. */
export type VolumeDevice = BlockDevice & { readonly connection: VolumeConnection };
type PlacedDevice = BlockDevice & { readonly deviceName: string };

function withPlace(device: BlockDevice, taken: Set<string>): PlacedDevice {
  const deviceName = device.deviceName ?? nextDeviceName(device.bus ?? "virtio", taken);
  taken.add(deviceName);
  return { ...device, deviceName };
}

/** A volume's place in the guest. Adds its name to `taken`. */
export function planVolume(device: VolumeDevice, taken: Set<string>): PlannedVolume {
  return plannedVolumeOf({ ...withPlace(device, taken), connection: device.connection });
}

function plannedVolumeOf(device: PlacedDevice & VolumeDevice): PlannedVolume {
  const { connection } = device;
  const place = placeOf(device);
  return { ...place, diskId: volumeDiskId(connection.volumeId, place.deviceType, place.deviceName), connection };
}

function emptyDriveFrom(device: PlacedDevice): EmptyDrive {
  return { diskId: driveId(device.deviceName), ...placeOf(device) };
}

function placeOf({ deviceName, bus, deviceType, bootIndex, tag, tuning }: PlacedDevice): Omit<EmptyDrive, "diskId"> {
  return {
    deviceName,
    bus: bus ?? "virtio",
    deviceType: deviceType ?? "disk",
    ...(bootIndex === undefined ? {} : { bootIndex }),
    ...(tag === undefined ? {} : { tag }),
    ...(tuning === undefined ? {} : { tuning }),
  };
}

/** The names of the host effects of `spawn`, in their order. */
export function spawnSteps(plan: InstancePlan, powerOn: boolean): readonly string[] {
  const { kernel } = plan.spec;
  const images = [plan.spec.imageId, kernel?.kernelImageId, kernel?.ramdiskImageId].flatMap((id) => id ?? []);
  return [
    "write the instance's record",
    ...images.map((id) => `fetch image ${id}`),
    ...plan.disks.map(({ name }) => `create disk ${name}`),
    ...(plan.configDrive === undefined ? [] : ["build the config drive"]),
    ...plan.volumes.map(({ connection }) => `connect volume ${connection.volumeId}`),
    ...plan.vifs.map(({ id }) => `plug port ${id}`),
    "set up filters",
    "define the guest",
    "apply filters",
    ...(powerOn ? ["start the guest"] : []),
  ];
}

/**
 * The definition with stand-ins for what does not exist yet: paths below `/planned`, and the TAP names that ports ask for.
 * For checking and for showing; it can't be run.
 */
export function plannedDefinition(plan: InstancePlan): GuestDefinition {
  const { spec, disks, configDrive, volumes, emptyDrives, vifs } = plan;
  const file = (name: string, format: DiskSourceFormat): DiskSource => ({
    type: "file",
    path: `/planned/${name}`,
    format,
  });
  return guestDefinitionOf({
    uuid: spec.uuid,
    name: spec.name,
    spec,
    disks: [
      ...disks.map((disk) => ({ ...placeOfDisk(disk), source: file(disk.name, "qcow2") })),
      ...(configDrive === undefined ? [] : [{ ...configDrive, sizeBytes: 0, source: file(configDrive.name, "raw") }]),
    ],
    // Raw is what every volume may be, those that several guests share too.
    volumes: volumes.map((volume) => ({
      ...volume,
      source: withEncryption(file(volume.diskId, "raw"), volume.connection),
    })),
    emptyDrives,
    vifs: vifs.map((vif): PluggedVif => ({ vif, backend: plannedBackend(vif) })),
    ...plannedKernel(spec),
  });
}

function plannedKernel({ kernel }: StoredSpec): { readonly kernel?: GuestKernel } {
  if (kernel === undefined) return {};
  const { ramdiskImageId, commandLine } = kernel;
  return {
    kernel: {
      kernelPath: "/planned/kernel",
      ...(ramdiskImageId === undefined ? {} : { ramdiskPath: "/planned/ramdisk" }),
      ...(commandLine === undefined ? {} : { commandLine }),
    },
  };
}

function plannedBackend(vif: Vif): VifBackend {
  const { queues = 1 } = vif;
  switch (vif.type) {
    case "user":
      return { type: "user" };
    case "bridge":
      return { type: "tap", deviceName: vif.deviceName ?? tapNameOf(vif.id), bridge: vif.bridge, queues };
    case "ovs":
      return { type: "tap", deviceName: vif.deviceName ?? tapNameOf(vif.id), queues };
    case "tap":
      return { type: "tap", deviceName: vif.deviceName, queues };
    case "macvtap":
      return { type: "macvtap", deviceName: vif.deviceName ?? tapNameOf(vif.id), queues };
    case "vhostUser":
      return { type: "vhostUser", socketPath: vif.socketPath, server: vif.server ?? "switch", queues };
  }
}

function freeBootIndex(devices: readonly (BlockDevice | Vif)[]): number {
  const taken = new Set(devices.map((device) => device.bootIndex));
  let index = 0;
  while (taken.has(index)) index += 1;
  return index;
}
