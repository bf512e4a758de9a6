/** What `spawn` is going to do, decided before anything is touched. Pure. */
import type { AttachedVolume, EmptyDrive, InstanceDisk, PluggedVif } from "./instance-record.js";
import type { BlockDevice, InstanceSpec } from "./instance-spec.js";
import type { GuestDefinition, GuestKernel } from "./guest-definition.js";
import { driveId, guestDefinitionOf, volumeDiskId } from "./guest-definition-of.js";
import { nextDeviceName } from "./device-names.js";
import type { StoredSpec } from "./validate-instance-spec.js";
import { tapNameOf } from "../network/index.js";
import type { Vif, VifBackend } from "../network/index.js";
import type { VolumeConnection } from "../storage/index.js";

const GIB = 1_073_741_824;
const MIB = 1_048_576;

/** A disk of the instance's own that has to be made. */
export interface PlannedDisk extends Omit<InstanceDisk, "source"> {
  /** Content to start from. `sizeBytes` is then a lower bound: the disk is never smaller than the image's. */
  readonly imageId?: string;
}

/** A volume that has to be connected. */
export type PlannedVolume = Omit<AttachedVolume, "source">;

export interface InstancePlan {
  readonly spec: StoredSpec;
  readonly disks: readonly PlannedDisk[];
  readonly volumes: readonly PlannedVolume[];
  readonly emptyDrives: readonly EmptyDrive[];
  readonly vifs: readonly Vif[];
}

/** Gives every disk its name and place. */
export function planSpawn(spec: StoredSpec): InstancePlan {
  const devices = spec.blockDevices ?? [];
  const taken = new Set(devices.flatMap((device) => device.deviceName ?? []));
  const disks = planOwnDisks(spec, taken);
  const placed = devices.map((device) => withPlace(device, taken));
  const volumes = placed.flatMap((device) =>
    device.connection === undefined ? [] : plannedVolumeOf({ ...device, connection: device.connection }),
  );
  const emptyDrives = placed.flatMap((device) => (device.connection === undefined ? emptyDriveFrom(device) : []));
  return { spec: withDriveNames(spec, placed), disks, volumes, emptyDrives, vifs: spec.vifs ?? [] };
}

/** An empty drive is found again by its name: it stands in the spec. */
function withDriveNames(spec: StoredSpec, placed: readonly PlacedDevice[]): StoredSpec {
  const { blockDevices } = spec;
  if (blockDevices === undefined || blockDevices.every(({ connection }) => connection !== undefined)) return spec;
  const named = blockDevices.map((device, i) => (device.connection === undefined ? (placed[i] ?? device) : device));
  return { ...spec, blockDevices: named };
}

/** The drives without a medium, as a record holds them. */
export function emptyDrivesOf({ emptyDrives }: InstancePlan): { readonly emptyDrives?: readonly EmptyDrive[] } {
  return emptyDrives.length === 0 ? {} : { emptyDrives };
}

/** The instance's own disks: root if there is an image, one ephemeral, one swap. Adds their names to `taken`. */
export function planOwnDisks(
  spec: Pick<InstanceSpec, "imageId" | "flavor" | "blockDevices" | "vifs">,
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
  if (flavor.ephemeralGiB !== undefined && flavor.ephemeralGiB > 0) add("ephemeral0", flavor.ephemeralGiB * GIB);
  if (flavor.swapMiB !== undefined && flavor.swapMiB > 0) add("swap", flavor.swapMiB * MIB);
  return disks;
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
  const { spec, disks, volumes, emptyDrives, vifs } = plan;
  const file = (name: string): { type: "file"; path: string; format: "qcow2" } => ({
    type: "file",
    path: `/planned/${name}`,
    format: "qcow2",
  });
  return guestDefinitionOf({
    uuid: spec.uuid,
    name: spec.name,
    spec,
    disks: disks.map(({ imageId: _imageId, ...disk }) => ({ ...disk, source: file(disk.name) })),
    volumes: volumes.map((volume) => ({ ...volume, source: file(volume.diskId) })),
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
  if (vif.type === "user") return { type: "user" };
  return { type: "tap", deviceName: vif.deviceName ?? tapNameOf(vif.id), bridge: vif.bridge, queues: vif.queues ?? 1 };
}

function freeBootIndex(devices: readonly (BlockDevice | Vif)[]): number {
  const taken = new Set(devices.map((device) => device.bootIndex));
  let index = 0;
  while (taken.has(index)) index += 1;
  return index;
}
