/** Checks of what a guest's machine has, part by part; whether the parts go together, `checkHardwareFits` says. */
import { check } from "../core/index.js";
import type { Check } from "../core/index.js";
import { CPU_MODES, SCSI_CONTROLLERS, SOUND_MODELS, VIDEO_MODELS } from "./guest-hardware.js";
import type { GuestDevice, GuestHardware } from "./guest-hardware.js";

/** A name that stands within an option of a hypervisor. */
const word = check.string({ max: 128, charset: "ascii", pattern: /^[A-Za-z0-9][A-Za-z0-9._-]*$/, expected: "a name" });
const cpuNumber = check.integer({ min: 0, max: 8191 });
const cpuList = check.array(cpuNumber, { max: 8192 });
const hostNodes = check.array(check.integer({ min: 0, max: 127 }), { min: 1, max: 128 });
const memoryMiB = check.integer({ min: 1, max: 67_108_864 });

const cpu = check.object({
  mode: check.optional(check.oneOf(CPU_MODES)),
  model: check.optional(word),
  features: check.optional(
    check.array(check.object({ name: word, policy: check.oneOf(["require", "disable"]) }), { max: 512 }),
  ),
  maxVcpus: check.optional(check.integer({ min: 1, max: 1024 })),
  numaCells: check.optional(
    check.array(
      check.object({
        vcpus: check.array(cpuNumber, { max: 1024 }),
        memoryMiB,
        hostNodes: check.optional(hostNodes),
        policy: check.optional(check.oneOf(["bind", "preferred", "interleave"])),
      }),
      { min: 1, max: 128 },
    ),
  ),
  pinning: check.optional(
    check.object({
      vcpus: check.optional(check.array(cpuList, { max: 1024 })),
      emulator: check.optional(cpuList),
      ioThreads: check.optional(check.array(cpuList, { max: 16 })),
    }),
  ),
});

const memory = check.object({
  maxMiB: check.optional(memoryMiB),
  slots: check.optional(check.integer({ min: 1, max: 256 })),
  hotplug: check.optional(check.oneOf(["dimm", "virtio-mem"])),
  backing: check.optional(check.oneOf(["anonymous", "memfd", "hugepages", "file"])),
  hugepageKiB: check.optional(check.integer({ min: 4, max: 67_108_864 })),
  directory: check.optional(check.absolutePath()),
  shared: check.optional(check.boolean()),
  locked: check.optional(check.boolean()),
  preallocated: check.optional(check.boolean()),
  mergeable: check.optional(check.boolean()),
});

const listener = {
  address: check.optional(check.ipAddress()),
  port: check.optional(check.integer({ min: 5900, max: 65_535 })),
  tlsDirectory: check.optional(check.absolutePath()),
};

const vnc = check.object({
  ...listener,
  verifyClients: check.optional(check.boolean()),
  passwordRequired: check.optional(check.boolean()),
  keymap: check.optional(check.string({ max: 32, charset: "name" })),
});

const compression = check.optional(check.oneOf(["auto", "never", "always"]));
const spice = check.object({
  ...listener,
  tlsCiphers: check.optional(check.string({ min: 1, max: 1024, pattern: /^[A-Za-z0-9+!@=:_-]+$/ })),
  passwordRequired: check.optional(check.boolean()),
  imageCompression: check.optional(check.oneOf(["auto-glz", "auto-lz", "quic", "glz", "lz", "off"])),
  jpegCompression: compression,
  zlibGlzCompression: compression,
  streamingVideo: check.optional(check.oneOf(["off", "all", "filter"])),
  playbackCompression: check.optional(check.boolean()),
  agent: check.optional(check.boolean()),
});

const rng = check.object({
  source: check.optional(check.oneOf(["/dev/urandom", "/dev/random", "builtin"])),
  maxBytes: check.optional(check.integer({ min: 1, max: 9_007_199_254_740_991 })),
  periodMs: check.optional(check.integer({ min: 1, max: 86_400_000 })),
});

const balloon = check.object({
  statisticsPeriodSeconds: check.optional(check.integer({ min: 0, max: 86_400 })),
  freePageReporting: check.optional(check.boolean()),
  deflateOnOom: check.optional(check.boolean()),
});

const deviceId = check.string({ max: 128, charset: "name" });
/** A type or a device, as sysfs names it. */
const kernelName = check.string({
  max: 128,
  pattern: /^[A-Za-z0-9][A-Za-z0-9._:-]*$/,
  expected: "a name of the kernel's",
});
const usbNumber = check.integer({ min: 0, max: 65_535 });

/** A device as plain, frozen data. */
export const guestDeviceCheck: Check<GuestDevice> = check.variants("type", {
  usbInput: check.object({
    type: check.oneOf(["usbInput"]),
    id: deviceId,
    model: check.oneOf(["tablet", "mouse", "keyboard"]),
  }),
  usbHost: check.object({
    type: check.oneOf(["usbHost"]),
    id: deviceId,
    vendorId: usbNumber,
    productId: usbNumber,
  }),
  usbHostAddress: check.object({
    type: check.oneOf(["usbHostAddress"]),
    id: deviceId,
    bus: check.integer({ min: 1, max: 255 }),
    address: check.integer({ min: 1, max: 127 }),
  }),
  pciHost: check.object({
    type: check.oneOf(["pciHost"]),
    id: deviceId,
    address: check.string({
      max: 12,
      pattern: /^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/,
      expected: "a PCI address such as 0000:3b:00.0",
    }),
  }),
  mediated: check.object({ type: check.oneOf(["mediated"]), id: deviceId, uuid: check.uuid() }),
  mediatedOfType: check.object({
    type: check.oneOf(["mediatedOfType"]),
    id: deviceId,
    mdevType: kernelName,
    parent: check.optional(kernelName),
  }),
});

const filesystem = check.object({
  tag: check.string({ max: 36, charset: "name" }),
  path: check.absolutePath(),
  driver: check.oneOf(["virtiofs", "9p"]),
  readOnly: check.optional(check.boolean()),
  securityModel: check.optional(check.oneOf(["mapped", "passthrough", "none"])),
});

const smbiosText = check.optional(check.string({ max: 255 }));
const texts = <const K extends string>(...names: readonly K[]) =>
  check.object(Object.fromEntries(names.map((name) => [name, smbiosText])) as Record<K, typeof smbiosText>);

const smbios = check.object({
  system: check.optional(texts("manufacturer", "product", "version", "serial", "sku", "family")),
  bios: check.optional(
    check.object({
      vendor: smbiosText,
      version: smbiosText,
      date: smbiosText,
      release: check.optional(
        check.string({ max: 7, pattern: /^\d{1,3}\.\d{1,3}$/, expected: "a release such as 1.0" }),
      ),
    }),
  ),
  baseBoard: check.optional(texts("manufacturer", "product", "version", "serial", "asset", "location")),
  chassis: check.optional(texts("manufacturer", "version", "serial", "asset", "sku")),
  oemStrings: check.optional(check.array(check.string({ max: 1024 }), { max: 64 })),
});

/** The object, or `false` for "none of it". */
function orNone<T>(some: Check<T>): Check<T | false> {
  return (value, path) => (value === false ? false : some(value, path));
}

/** Hardware as plain, frozen data. */
export const guestHardwareCheck: Check<GuestHardware> = check.object({
  cpu: check.optional(cpu),
  memory: check.optional(memory),
  uefi: check.optional(
    check.object({
      secureBoot: check.optional(check.boolean()),
      codePath: check.optional(check.absolutePath()),
      variablesTemplatePath: check.optional(check.absolutePath()),
    }),
  ),
  tpm: check.optional(check.object({ model: check.optional(check.oneOf(["crb", "tis"])) })),
  video: check.optional(
    check.object({
      model: check.oneOf(VIDEO_MODELS),
      memoryMiB: check.optional(check.integer({ min: 1, max: 1024 })),
    }),
  ),
  vnc: check.optional(vnc),
  spice: check.optional(spice),
  extraSerialPorts: check.optional(check.integer({ min: 0, max: 3 })),
  rng: check.optional(orNone(rng)),
  balloon: check.optional(orNone(balloon)),
  watchdog: check.optional(
    check.object({
      model: check.oneOf(["i6300esb", "ib700", "itco"]),
      action: check.oneOf(["reset", "shutdown", "poweroff", "pause", "injectNmi", "none"]),
    }),
  ),
  sound: check.optional(
    check.object({ model: check.oneOf(SOUND_MODELS), backend: check.optional(check.oneOf(["none", "spice"])) }),
  ),
  devices: check.optional(check.array(guestDeviceCheck, { max: 64 })),
  vsock: check.optional(check.object({ cid: check.integer({ min: 3, max: 4_294_967_295 }) })),
  filesystems: check.optional(check.array(filesystem, { max: 16 })),
  ioThreads: check.optional(check.integer({ min: 0, max: 16 })),
  scsiController: check.optional(check.oneOf(SCSI_CONTROLLERS)),
  clock: check.optional(
    check.object({
      base: check.optional(check.oneOf(["utc", "localtime"])),
      driftFix: check.optional(check.oneOf(["slew", "none"])),
      hyperv: check.optional(check.boolean()),
    }),
  ),
  smbios: check.optional(smbios),
  onReboot: check.optional(check.oneOf(["reset", "poweroff"])),
  bootMenuMs: check.optional(check.integer({ min: 0, max: 65_535 })),
  generationId: check.optional(check.boolean()),
});
