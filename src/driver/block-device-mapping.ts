/** Nova's block device mapping, version 2, in the terms of an instance spec. Pure. */
import { check, InvalidArgumentError, NotSupportedError } from "../core/index.js";
import type { Check, OptionalCheck } from "../core/index.js";
import { EPHEMERAL_FORMATS } from "../storage/index.js";
import type { VolumeConnection } from "../storage/index.js";
import { checkDeviceName, nextDeviceName } from "./device-names.js";
import { DISK_BUSES, DEVICE_TYPES } from "./instance-spec.js";
import type { BlockDevice, DeviceType, DiskBus, Flavor, InstanceSpec } from "./instance-spec.js";
import { tagCheck } from "./validate-volume.js";

/** One entry of `block_device_mapping_v2`, by the names of Nova's API. */
export interface BlockDeviceMapping {
  readonly source_type: "image" | "volume" | "snapshot" | "blank";
  /** Default: `local` for an image that is the root disk and for `blank`, else `volume`. */
  readonly destination_type?: "local" | "volume" | null;
  /** Id of the image, the volume or the snapshot; none for `blank`. */
  readonly uuid?: string | null;
  /** 0 boots first; negative or null: not booted from. */
  readonly boot_index?: number | null;
  /** `/dev/vdb` or `vdb`; default: the next free one of the bus. */
  readonly device_name?: string | null;
  readonly delete_on_termination?: boolean;
  readonly disk_bus?: DiskBus | null;
  readonly device_type?: DeviceType | "lun" | null;
  /** `swap`, or the file system of an ephemeral disk. */
  readonly guest_format?: string | null;
  /** GiB, of a swap disk MiB as flavors have it. */
  readonly volume_size?: number | null;
  readonly volume_type?: string | null;
  readonly tag?: string | null;
  /** True: this mapping, which an image brings, is not wanted. */
  readonly no_device?: boolean | string | null;
}

/** A volume that a mapping asks for, with its place in the guest. */
export interface MappedVolume {
  /** Place in the list that was given. */
  readonly index: number;
  readonly volume:
    | { readonly kind: "existing"; readonly volumeId: string }
    /** To be made by the volume service before the instance is spawned. `sizeGiB` absent: that of the snapshot. */
    | {
        readonly kind: "new";
        readonly from: { readonly type: "image" | "snapshot"; readonly id: string } | { readonly type: "blank" };
        readonly sizeGiB?: number;
        readonly volumeType?: string;
      };
  readonly deleteOnTermination: boolean;
  readonly device: Omit<BlockDevice, "connection" | "tuning"> &
    Required<Pick<BlockDevice, "deviceName" | "bus" | "deviceType">>;
}

export interface MappedBlockDevices {
  /** Members of a spec: its image and the flavor's disks, as the mapping has them. */
  readonly spec: Pick<InstanceSpec, "imageId" | "ephemeralFormat"> & {
    readonly flavor: Pick<Flavor, "rootGiB" | "ephemeralGiB" | "swapMiB">;
  };
  readonly volumes: readonly MappedVolume[];
  /** `vda`; absent for an instance that boots a kernel or from the network. */
  readonly rootDeviceName?: string;
}

export interface MapBlockDevicesRequest {
  /** The image that the instance is made from (Nova's `image_ref`). */
  readonly imageId?: string;
  readonly flavor: Pick<Flavor, "rootGiB" | "ephemeralGiB" | "swapMiB">;
}

const SOURCES = ["image", "volume", "snapshot", "blank"] as const;
const DESTINATIONS = ["local", "volume"] as const;
const MAX_GIB = 1_048_576;

/** Null is as good as nothing. */
function orNull<T>(item: Check<T>): OptionalCheck<T | undefined> {
  return check.optional(check.map(check.nullable(item), (value) => value ?? undefined));
}

const entryCheck = check.object({
  source_type: check.oneOf(SOURCES),
  destination_type: orNull(check.oneOf(DESTINATIONS)),
  uuid: orNull(check.string({ max: 128, charset: "name" })),
  boot_index: orNull(check.integer({ max: 255 })),
  device_name: orNull(check.string({ max: 16, charset: "ascii" })),
  delete_on_termination: check.optional(check.boolean()),
  disk_bus: orNull(check.oneOf(DISK_BUSES)),
  device_type: orNull(check.oneOf([...DEVICE_TYPES, "lun"])),
  guest_format: orNull(check.string({ max: 64, charset: "name" })),
  volume_size: orNull(check.integer({ min: 0, max: MAX_GIB })),
  volume_type: orNull(check.string({ max: 255 })),
  tag: orNull(tagCheck),
  no_device: orNull((value, path) => (typeof value === "string" ? value : check.boolean()(value, path))),
});

type Given = ReturnType<typeof entryCheck>;

/** An entry that was looked into, with its place in the list and no nulls. */
interface Entry {
  readonly index: number;
  readonly path: string;
  readonly source: (typeof SOURCES)[number];
  readonly destination: (typeof DESTINATIONS)[number];
  readonly id?: string;
  readonly bootIndex?: number;
  readonly name?: string;
  readonly bus: DiskBus;
  readonly deviceType: DeviceType;
  readonly given: Given;
}

/**
 * Gives every entry its place as Nova does: the root disk first, then ephemeral disks and swap, then volumes in their order, each with the next free name of its bus
 * unless it names one.
 * @throws InvalidArgumentError that names the field, as Nova's API refuses it: an image to a local disk that is not the root, a missing or surplus uuid, boot indexes
 * that are not 0, 1, 2, …, a size above the flavor's, two devices of one name or tag. NotSupportedError for `lun` and for more than one ephemeral disk.
 */
export function mapBlockDevices(
  mappings: readonly BlockDeviceMapping[],
  request: MapBlockDevicesRequest,
): MappedBlockDevices {
  const { imageId, flavor } = request;
  const entries = check
    .array(entryCheck, { max: 256 })(mappings, "mappings")
    .flatMap((given, index) => (isDropped(given) ? [] : [read(given, index, imageId)]));
  checkBootOrder(entries);
  checkUnique(entries, ({ name }) => name, "device_name");
  checkUnique(entries, ({ given }) => given.tag ?? undefined, "tag");
  const local = localDisks(entries, request);
  const taken = new Set(entries.flatMap(({ name }) => name ?? []));
  const root = entries.find(({ bootIndex }) => bootIndex === 0);
  const rootIsLocal = imageId !== undefined && (root === undefined || root.destination === "local");
  const place = (entry: Pick<Entry, "name" | "bus">): string => {
    const name = entry.name ?? nextDeviceName(entry.bus, taken);
    taken.add(name);
    return name;
  };
  const rootDeviceName = rootIsLocal ? place({ bus: "virtio" }) : root === undefined ? undefined : place(root);
  if ((local.ephemeralGiB ?? 0) > 0) place({ bus: "virtio" });
  if ((local.swapMiB ?? 0) > 0) place({ bus: "virtio" });
  const volumes = entries
    .filter(({ destination }) => destination === "volume")
    .map((entry) => volumeOf(entry, entry === root && rootDeviceName !== undefined ? rootDeviceName : place(entry)));
  const format = ephemeralFormat(entries);
  return {
    spec: {
      ...(rootIsLocal ? { imageId } : {}),
      flavor: { rootGiB: flavor.rootGiB, ...local },
      ...(format === undefined ? {} : { ephemeralFormat: format }),
    },
    volumes,
    ...(rootDeviceName === undefined ? {} : { rootDeviceName }),
  };
}

/** The spec's block devices, once the volume service has told how each volume is reached. @throws InvalidArgumentError for one that it has not told of */
export function blockDevicesOf(
  volumes: readonly MappedVolume[],
  connectionOf: (volume: MappedVolume) => VolumeConnection | undefined,
): readonly BlockDevice[] {
  return volumes.map((volume) => {
    const connection = connectionOf(volume);
    if (connection !== undefined) return { ...volume.device, connection };
    throw new InvalidArgumentError({
      field: `mappings[${volume.index}]`,
      value: volume.volume,
      expected: "a volume that can be reached",
    });
  });
}

/** `vdb` of `/dev/vdb`. */
export function stripDevice(name: string): string {
  return name.startsWith("/dev/") ? name.slice("/dev/".length) : name;
}

function isDropped({ no_device: noDevice }: Given): boolean {
  return noDevice === true || (typeof noDevice === "string" && noDevice !== "");
}

function read(given: Given, index: number, imageId: string | undefined): Entry {
  const path = `mappings[${index}]`;
  const invalid = (field: string, value: unknown, expected: string): InvalidArgumentError =>
    new InvalidArgumentError({ field: `${path}.${field}`, value, expected });
  const { source_type: source, uuid: id } = given;
  const bootIndex = (given.boot_index ?? -1) < 0 ? undefined : (given.boot_index ?? undefined);
  if (source === "blank" && id !== undefined) throw invalid("uuid", id, "nothing: a blank device is made of nothing");
  if (source !== "blank" && id === undefined) throw invalid("uuid", id, `the id of the ${source}`);
  const isRootImage = source === "image" && bootIndex === 0 && id === imageId;
  const destination = given.destination_type ?? (source === "blank" || isRootImage ? "local" : "volume");
  if (destination === "local" && source === "image" && !isRootImage)
    throw invalid(
      "destination_type",
      destination,
      "volume: only the image of the instance itself becomes a local disk",
    );
  if (destination === "local" && source !== "blank" && source !== "image")
    throw invalid("destination_type", destination, `volume for a ${source}`);
  const deviceType = given.device_type ?? "disk";
  if (deviceType === "lun") throw new NotSupportedError({ capability: `block devices of type lun (${path})` });
  const name = given.device_name === undefined ? undefined : stripDevice(given.device_name);
  const bus = given.disk_bus ?? busOf(name, deviceType);
  if ((deviceType === "floppy") !== (bus === "fdc"))
    throw invalid(
      "disk_bus",
      bus,
      deviceType === "floppy" ? "fdc for a floppy" : "another bus: on fdc there are only floppies",
    );
  if (name !== undefined) checkDeviceName(name, bus, `${path}.device_name`);
  if (destination === "local" && (bus !== "virtio" || deviceType !== "disk" || name !== undefined))
    throw invalid(
      name === undefined ? "disk_bus" : "device_name",
      name ?? bus,
      "nothing: the instance's own disks are virtio disks with the first names",
    );
  return {
    index,
    path,
    source,
    destination,
    bus,
    deviceType,
    given,
    ...(id === undefined ? {} : { id }),
    ...(bootIndex === undefined ? {} : { bootIndex }),
    ...(name === undefined ? {} : { name }),
  };
}

/** As Nova: the bus that a name speaks for, else the one that such a device is usually on. `sd` may be of several, and counts as SCSI. */
function busOf(name: string | undefined, deviceType: DeviceType): DiskBus {
  if (deviceType === "floppy") return "fdc";
  if (name?.startsWith("vd") === true) return "virtio";
  if (name?.startsWith("hd") === true) return "ide";
  if (name?.startsWith("nvme") === true) return "nvme";
  if (name?.startsWith("sd") === true) return deviceType === "cdrom" ? "sata" : "scsi";
  return deviceType === "cdrom" ? "sata" : "virtio";
}

/** Nova wants 0, 1, 2, … without gaps. */
function checkBootOrder(entries: readonly Entry[]): void {
  const booted = entries.filter(({ bootIndex }) => bootIndex !== undefined);
  const seen = new Set<number>();
  for (const { bootIndex = 0, path } of booted) {
    if (seen.has(bootIndex) || bootIndex >= booted.length)
      throw new InvalidArgumentError({
        field: `${path}.boot_index`,
        value: bootIndex,
        expected: "boot indexes of 0, 1, 2, … of which each is there once",
      });
    seen.add(bootIndex);
  }
}

function checkUnique(entries: readonly Entry[], key: (entry: Entry) => string | undefined, field: string): void {
  const seen = new Set<string>();
  for (const entry of entries) {
    const value = key(entry);
    if (value === undefined) continue;
    if (seen.has(value))
      throw new InvalidArgumentError({
        field: `${entry.path}.${field}`,
        value,
        expected: "one that no other entry has",
      });
    seen.add(value);
  }
}

/** The ephemeral disk and the swap disk: those of the mapping where it has some, within what the flavor grants. */
function localDisks(
  entries: readonly Entry[],
  { flavor }: MapBlockDevicesRequest,
): Pick<Flavor, "ephemeralGiB" | "swapMiB"> {
  const blank = entries.filter(({ source, destination }) => source === "blank" && destination === "local");
  const swaps = blank.filter(({ given }) => given.guest_format === "swap");
  const ephemerals = blank.filter(({ given }) => given.guest_format !== "swap");
  const [secondSwap, secondEphemeral] = [swaps[1], ephemerals[1]];
  if (secondSwap !== undefined)
    throw new InvalidArgumentError({
      field: `${secondSwap.path}.guest_format`,
      value: "swap",
      expected: "one swap disk at most",
    });
  if (secondEphemeral !== undefined)
    throw new NotSupportedError({ capability: `more than one ephemeral disk (${secondEphemeral.path})` });
  const ephemeralGiB = sizeWithin(ephemerals[0], flavor.ephemeralGiB);
  const swapMiB = sizeWithin(swaps[0], flavor.swapMiB);
  return {
    ...(ephemeralGiB === undefined ? {} : { ephemeralGiB }),
    ...(swapMiB === undefined ? {} : { swapMiB }),
  };
}

function sizeWithin(entry: Entry | undefined, granted: number | undefined): number | undefined {
  const size = entry?.given.volume_size ?? undefined;
  if (entry === undefined || size === undefined) return granted;
  if (size <= (granted ?? 0)) return size;
  throw new InvalidArgumentError({
    field: `${entry.path}.volume_size`,
    value: size,
    expected: `at most ${granted ?? 0}, as the flavor grants`,
  });
}

function ephemeralFormat(entries: readonly Entry[]): InstanceSpec["ephemeralFormat"] {
  const found = entries.find(
    ({ source, destination, given }) => source === "blank" && destination === "local" && given.guest_format !== "swap",
  );
  const format = found?.given.guest_format ?? undefined;
  if (format === undefined || found === undefined) return undefined;
  return check.oneOf([...EPHEMERAL_FORMATS, "none"])(format, `${found.path}.guest_format`);
}

function volumeOf(entry: Entry, deviceName: string): MappedVolume {
  const { index, path, source, id, bus, deviceType, bootIndex, given } = entry;
  const {
    volume_size: sizeGiB,
    volume_type: volumeType,
    tag,
    delete_on_termination: deleteOnTermination = false,
  } = given;
  if ((source === "image" || source === "blank") && !((sizeGiB ?? 0) > 0))
    throw new InvalidArgumentError({
      field: `${path}.volume_size`,
      value: sizeGiB,
      expected: `the size of the new volume: it is made of ${source === "image" ? "an image" : "nothing"}`,
    });
  const made = {
    ...(sizeGiB === undefined || sizeGiB === 0 ? {} : { sizeGiB }),
    ...(volumeType === undefined ? {} : { volumeType }),
  };
  return {
    index,
    volume:
      source === "volume"
        ? { kind: "existing", volumeId: id ?? "" }
        : { kind: "new", from: source === "blank" ? { type: source } : { type: source, id: id ?? "" }, ...made },
    deleteOnTermination,
    device: {
      deviceName,
      bus,
      deviceType,
      ...(bootIndex === undefined ? {} : { bootIndex }),
      ...(tag === undefined ? {} : { tag }),
    },
  };
}
