/** Checks of what a config drive is to tell. */
import { check, InvalidArgumentError, Secret } from "../core/index.js";
import type { Check, JsonObject } from "../core/index.js";
import { CONFIG_DRIVE_BUSES } from "./config-drive.js";
import type { ConfigDrive } from "./config-drive.js";
import { CONFIG_DRIVE_FORMATS, CONFIG_DRIVE_LAYOUTS } from "../storage/index.js";

const MAX_USER_DATA_BYTES = 65_535;
const MAX_JSON_BYTES = 65_536;
const MAX_INJECTED_BYTES = 1_048_576;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

const label = check.string({ max: 255 });
const text = check.string({ min: 0, max: 255, charset: "text" });

/** User data often holds passwords: no error shows it. */
const userData: Check<string> = (value, path) => {
  if (typeof value === "string" && value.length <= 2 * MAX_USER_DATA_BYTES && !/\p{Cs}/u.test(value)) return value;
  throw hidden(path, "well-formed text");
};

const json = check.json({ maxBytes: MAX_JSON_BYTES });
const jsonObject: Check<JsonObject> = (value, path) => {
  const checked = json(value, path);
  if (typeof checked === "object" && checked !== null && !Array.isArray(checked)) return checked as JsonObject;
  throw new InvalidArgumentError({ field: path, value, expected: "an object" });
};

const shape = check.object({
  layout: check.optional(check.oneOf(CONFIG_DRIVE_LAYOUTS)),
  format: check.optional(check.oneOf(CONFIG_DRIVE_FORMATS)),
  bus: check.optional(check.oneOf(CONFIG_DRIVE_BUSES)),
  deviceName: check.optional(check.string({ max: 32, charset: "name" })),
  hostname: check.optional(check.hostname()),
  userData: check.optional(userData),
  userDataEncoding: check.optional(check.oneOf(["utf8", "base64"])),
  vendorData: check.optional(jsonObject),
  vendorData2: check.optional(jsonObject),
  publicKeys: check.optional(check.record(label, check.string({ max: 16_384 }), { max: 32 })),
  metadata: check.optional(check.record(label, text, { max: 128 })),
  availabilityZone: check.optional(label),
  projectId: check.optional(label),
  launchIndex: check.optional(check.integer({ min: 0, max: 1_000_000 })),
  networkConfig: check.optional(check.oneOf([1, 2, "none"])),
});

/** A config drive as an embedder gives it. */
export const configDriveCheck: Check<ConfigDrive> = (value, path) => {
  const drive = shape(value, path);
  const { layout = "openstack", format = "iso", bus, userDataEncoding, vendorData2 } = drive;
  if (drive.userData !== undefined) {
    if (userDataEncoding === "base64" && !BASE64.test(drive.userData)) throw hidden(`${path}.userData`, "base64");
    if (userDataOf(drive).byteLength > MAX_USER_DATA_BYTES)
      throw hidden(`${path}.userData`, `at most ${MAX_USER_DATA_BYTES} bytes`);
  }
  if (layout === "nocloud" && vendorData2 !== undefined)
    throw new InvalidArgumentError({
      field: `${path}.vendorData2`,
      value: "vendor data",
      expected: "none in a NoCloud seed",
    });
  if (format === "vfat" && (bus === "ide" || bus === "sata"))
    throw new InvalidArgumentError({
      field: `${path}.bus`,
      value: bus,
      expected: "a bus whose disks can be read-only",
    });
  return drive;
};

/** The bytes of user data; none is no bytes. */
export function userDataOf({ userData = "", userDataEncoding = "utf8" }: ConfigDrive): Uint8Array {
  return Buffer.from(userData, userDataEncoding);
}

function hidden(field: string, expected: string): InvalidArgumentError {
  return new InvalidArgumentError({ field, value: Secret.of("user data"), expected });
}

const bytes = check.guarded((value): value is Uint8Array => value instanceof Uint8Array, "bytes");
const contents = check.refine(
  bytes,
  (value) => value.byteLength <= MAX_INJECTED_BYTES,
  `at most ${MAX_INJECTED_BYTES} bytes`,
);

/** Files for a guest: at most 16 of 1 MiB, copied so that nobody changes them. */
export const injectedFilesCheck = check.array(
  check.object({ path: check.absolutePath(), contents: check.map(contents, (value) => Uint8Array.from(value)) }),
  { max: 16 },
);
