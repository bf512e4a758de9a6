/** What `spawn` is going to do, decided before anything is touched. Pure. */
import type { AttachedVolume, InstanceDisk, PluggedVif } from "./instance-record.js";
import type { BlockDevice, InstanceSpec } from "./instance-spec.js";
import type { GuestDefinition, GuestKernel } from "./guest-definition.js";
import { guestDefinitionOf, volumeDiskId } from "./guest-definition-of.js";
import { nextDeviceName } from "./device-names.js";
import type { StoredSpec } from "./validate-instance-spec.js";
import { tapNameOf } from "../network/index.js";
import type { Vif, VifBackend } from "../network/index.js";

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
  readonly vifs: readonly Vif[];
}

/** Gives every disk its name and place. */
export function planSpawn(spec: StoredSpec): InstancePlan {
  const devices = spec.blockDevices ?? [];
  const taken = new Set(devices.flatMap((device) => device.deviceName ?? []));
  const disks = planOwnDisks(spec, taken);
  const volumes = devices.map((device) => planVolume(device, taken));
  return { spec, disks, volumes, vifs: spec.vifs ?? [] };
}

/** The instance's own disks: root if there is an image, one ephemeral, one swap. Adds their names to `taken`. */
export function planOwnDisks(
  spec: Pick<InstanceSpec, "imageId" | "flavor" | "blockDevices">,
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
    add("root", flavor.rootGiB * GIB, { imageId, bootIndex: freeBootIndex(spec.blockDevices ?? []) });
  if (flavor.ephemeralGiB !== undefined && flavor.ephemeralGiB > 0) add("ephemeral0", flavor.ephemeralGiB * GIB);
  if (flavor.swapMiB !== undefined && flavor.swapMiB > 0) add("swap", flavor.swapMiB * MIB);
  return disks;
}

/** A volume's place in the guest. Adds its name to `taken`. */
export function planVolume(device: BlockDevice, taken: Set<string>): PlannedVolume {
  const { connection, bootIndex, tag } = device;
  const bus = device.bus ?? "virtio";
  const deviceName = device.deviceName ?? nextDeviceName(bus, taken);
  taken.add(deviceName);
  return {
    diskId: volumeDiskId(connection.volumeId),
    connection,
    deviceName,
    bus,
    deviceType: device.deviceType ?? "disk",
    ...(bootIndex === undefined ? {} : { bootIndex }),
    ...(tag === undefined ? {} : { tag }),
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
  const { spec, disks, volumes, vifs } = plan;
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

function freeBootIndex(devices: readonly BlockDevice[]): number {
  const taken = new Set(devices.map((device) => device.bootIndex));
  let index = 0;
  while (taken.has(index)) index += 1;
  return index;
}
