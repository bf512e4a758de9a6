/** Checks of volumes and the places that a guest has for them. */
import { check, InvalidArgumentError } from "../core/index.js";
import type { Check, JsonObject } from "../core/index.js";
import { DEVICE_TYPES, DISK_BUSES } from "./instance-spec.js";
import type { BlockDevice } from "./instance-spec.js";
import { checkDeviceName } from "./device-names.js";
import { diskTuningCheck } from "./validate-disk-tuning.js";
import { encryptionCheck } from "../storage/index.js";
import type { VolumeConnection } from "../storage/index.js";

const data = check.map(check.json(), (value, path): JsonObject => {
  const isObject = (json: unknown): json is JsonObject =>
    typeof json === "object" && json !== null && !Array.isArray(json);
  return check.guarded(isObject, "an object")(value, path);
});

/** How to reach a volume, as an embedder gives it; what `data` holds is the connector's to check. */
export const connectionCheck: Check<VolumeConnection> = check.object({
  volumeId: check.string({ max: 128, charset: "name" }),
  type: check.string({ max: 64, charset: "name" }),
  data,
  readOnly: check.optional(check.boolean()),
  multiattach: check.optional(check.boolean()),
  encryption: check.optional(encryptionCheck),
});

/** Device role tags, for disks and ports alike. */
export const tagCheck: Check<string> = check.string({
  max: 60,
  charset: "ascii",
  pattern: /^[^,/]+$/,
  expected: "1 to 60 characters without , and /",
});

const shape = check.object({
  connection: check.optional(connectionCheck),
  deviceName: check.optional(check.string({ max: 9, charset: "name" })),
  bus: check.optional(check.oneOf(DISK_BUSES)),
  deviceType: check.optional(check.oneOf(DEVICE_TYPES)),
  bootIndex: check.optional(check.integer({ min: 0, max: 255 })),
  tag: check.optional(tagCheck),
  tuning: check.optional(diskTuningCheck),
});

/** A volume with its place in the guest. */
export const blockDeviceCheck: Check<BlockDevice> = (value, path) => {
  const device = shape(value, path);
  if (device.connection === undefined && (device.deviceType ?? "disk") === "disk")
    throw new InvalidArgumentError({
      field: `${path}.connection`,
      value: undefined,
      expected: "a volume; only a cdrom or floppy drive may be empty",
    });
  if ((device.deviceType === "floppy") !== (device.bus === "fdc"))
    throw new InvalidArgumentError({
      field: `${path}.bus`,
      value: device.bus,
      expected: device.deviceType === "floppy" ? "fdc for a floppy" : "another bus: on fdc there are only floppies",
    });
  if (device.deviceName !== undefined) checkDeviceName(device.deviceName, device.bus ?? "virtio", `${path}.deviceName`);
  return device;
};
