/** The check that a spec passes at the door, before anything is touched. */
import { check, InvalidArgumentError } from "../core/index.js";
import type { Check, Secret } from "../core/index.js";
import { blockDeviceCheck } from "./validate-volume.js";
import { configDriveCheck, injectedFilesCheck } from "./validate-config-drive.js";
import { EPHEMERAL_FORMATS } from "../storage/index.js";
import { FIRMWARES, MACHINES } from "./instance-spec.js";
import type { Flavor, InstanceSpec } from "./instance-spec.js";
import { instanceName } from "./operation-options.js";
import { vifCheck } from "./validate-vif.js";
import { checkHardwareFits } from "./hardware-fit.js";
import { guestHardwareCheck } from "./validate-guest-hardware.js";
import { diskTuningCheck } from "./validate-disk-tuning.js";
import { platformCheck } from "./validate-platform.js";

/** A spec that was checked: a frozen copy, its password wrapped. */
export interface ValidSpec extends InstanceSpec {
  readonly adminPassword?: Secret;
}

/** A spec as it is kept: without what must not be. */
export type StoredSpec = Omit<InstanceSpec, "adminPassword" | "injectedFiles">;

export const imageIdCheck: Check<string> = check.string({ max: 255, charset: "name" });

export const passwordCheck = check.secret({ max: 255 });

const MAX_GIB = 1_048_576;

const topology = check.object({
  sockets: check.integer({ min: 1, max: 1024 }),
  cores: check.integer({ min: 1, max: 1024 }),
  threads: check.integer({ min: 1, max: 1024 }),
});

const flavorShape = check.object({
  name: check.optional(check.string({ max: 255 })),
  vcpus: check.integer({ min: 1, max: 1024 }),
  memoryMiB: check.integer({ min: 1, max: 67_108_864 }),
  rootGiB: check.integer({ min: 0, max: MAX_GIB }),
  ephemeralGiB: check.optional(check.integer({ min: 0, max: MAX_GIB })),
  swapMiB: check.optional(check.integer({ min: 0, max: MAX_GIB * 1024 })),
  cpuTopology: check.optional(topology),
});

export const flavorCheck: Check<Flavor> = (value, path) => {
  const flavor = flavorShape(value, path);
  const { cpuTopology, vcpus } = flavor;
  if (cpuTopology !== undefined && cpuTopology.sockets * cpuTopology.cores * cpuTopology.threads !== vcpus) {
    const { sockets, cores, threads } = cpuTopology;
    const product = `${sockets} * ${cores} * ${threads}`;
    throw new InvalidArgumentError({
      field: `${path}.cpuTopology`,
      value: product,
      expected: `sockets * cores * threads of ${vcpus} vCPUs`,
    });
  }
  return flavor;
};

const shape = check.object({
  uuid: check.uuid(),
  name: instanceName,
  flavor: flavorCheck,
  imageId: check.optional(imageIdCheck),
  kernel: check.optional(
    check.object({
      kernelImageId: imageIdCheck,
      ramdiskImageId: check.optional(imageIdCheck),
      commandLine: check.optional(check.string({ max: 2048 })),
    }),
  ),
  blockDevices: check.optional(check.array(blockDeviceCheck, { max: 256 })),
  vifs: check.optional(check.array(vifCheck, { max: 64 })),
  machine: check.optional(check.oneOf(MACHINES)),
  firmware: check.optional(check.oneOf(FIRMWARES)),
  hardware: check.optional(guestHardwareCheck),
  diskTuning: check.optional(diskTuningCheck),
  platform: check.optional(platformCheck),
  guestAgent: check.optional(check.boolean()),
  configDrive: check.optional(configDriveCheck),
  ephemeralFormat: check.optional(check.oneOf([...EPHEMERAL_FORMATS, "none"])),
  adminPassword: check.optional(passwordCheck),
  injectedFiles: check.optional(injectedFilesCheck),
  metadata: check.optional(
    check.record(check.string({ max: 255 }), check.string({ min: 0, max: 255, charset: "text" }), { max: 128 }),
  ),
});

/**
 * Checks all of a spec and returns a copy that nobody else can change. Pure: what needs a connector or a plugger is checked by `planSpawn`.
 * @throws InvalidArgumentError naming the first bad field, such as `spec.vifs[0].macAddress`.
 */
export function validateInstanceSpec(value: unknown): ValidSpec {
  const spec: ValidSpec = shape(value, "spec");
  const devices = spec.blockDevices ?? [];
  const vifs = spec.vifs ?? [];
  unique(
    devices,
    (device) => device.connection?.volumeId,
    (i) => `spec.blockDevices[${i}].connection.volumeId`,
  );
  const named: readonly { readonly deviceName?: string }[] = [...devices, spec.configDrive ?? {}];
  unique(
    named,
    ({ deviceName }) => deviceName,
    (i) => (i < devices.length ? `spec.blockDevices[${i}].deviceName` : "spec.configDrive.deviceName"),
  );
  unique(
    vifs,
    (vif) => vif.id,
    (i) => `spec.vifs[${i}].id`,
  );
  unique(
    vifs,
    (vif) => vif.macAddress,
    (i) => `spec.vifs[${i}].macAddress`,
  );
  unique(
    [...devices, ...vifs],
    ({ bootIndex }) => bootIndex,
    (i) => (i < devices.length ? `spec.blockDevices[${i}].bootIndex` : `spec.vifs[${i - devices.length}].bootIndex`),
  );
  unique(
    vifs,
    (vif) => (vif.type === "bridge" ? vif.deviceName : undefined),
    (i) => `spec.vifs[${i}].deviceName`,
  );
  if (
    spec.imageId === undefined &&
    spec.kernel === undefined &&
    devices.every((device) => device.bootIndex === undefined || device.connection === undefined) &&
    vifs.every((vif) => vif.bootIndex === undefined)
  ) {
    throw new InvalidArgumentError({
      field: "spec.imageId",
      value: undefined,
      expected: "an image, a kernel, or a block device or a port with a bootIndex",
    });
  }
  const { flavor, firmware, hardware, diskTuning } = spec;
  const tuned = devices.map(({ tuning, bus = "virtio" }, i) => ({
    tuning,
    bus,
    path: `spec.blockDevices[${i}].tuning`,
  }));
  const own = { tuning: diskTuning, bus: "virtio", path: "spec.diskTuning" } as const;
  checkHardwareFits(hardware, { ...flavor, firmware }, [own, ...tuned], "spec.hardware");
  return spec;
}

/** The spec without its secrets. */
export function storedSpec(spec: ValidSpec): StoredSpec {
  const { adminPassword: _password, injectedFiles: _files, ...stored } = spec;
  return stored;
}

function unique<T>(
  items: readonly T[],
  key: (item: T) => string | number | undefined,
  path: (index: number) => string,
): void {
  const seen = new Set<string | number>();
  items.forEach((item, i) => {
    const value = key(item);
    if (value === undefined) return;
    if (seen.has(value))
      throw new InvalidArgumentError({ field: path(i), value, expected: "a value that no other entry has" });
    seen.add(value);
  });
}
