/** The form of a definition, whatever it asks for: what passes is plain, frozen data. Which of it a host can run is each hypervisor's own to say. */
import { InvalidArgumentError, check } from "../core/index.js";
import type { Check } from "../core/index.js";
import {
  DEVICE_TYPES,
  DISK_BUSES,
  FIRMWARES,
  MACHINES,
  diskTuningCheck,
  guestHardwareCheck,
  platformCheck,
} from "../driver/index.js";
import type { GuestDefinition, GuestDisk, GuestNic } from "../driver/index.js";
import { NIC_MODELS } from "../network/index.js";
import { diskSourceCheck } from "../storage/index.js";

/** More than the root directory. */
export const filePathCheck: Check<string> = check.refine(
  check.absolutePath(),
  (path) => path !== "/",
  "the absolute path of a file",
);

const MAX_DEVICES = 256;
const deviceId = check.string({ max: 255 });
const bootIndex = check.optional(check.integer({ min: 0, max: 1_000_000 }));
const tag = check.optional(check.string({ max: 255 }));
const queues = check.integer({ min: 1, max: 256 });

export const guestDiskCheck: Check<GuestDisk> = check.object({
  id: deviceId,
  source: check.optional(diskSourceCheck),
  bus: check.oneOf(DISK_BUSES),
  deviceType: check.oneOf(DEVICE_TYPES),
  deviceName: check.string({ max: 32, pattern: /^(?:vd|sd|hd|fd|nvme)[a-z0-9]+$/, expected: "a name such as vda" }),
  readOnly: check.boolean(),
  shareable: check.boolean(),
  serial: check.optional(check.string({ max: 128, charset: "ascii" })),
  bootIndex,
  tag,
  tuning: check.optional(diskTuningCheck),
});

const interfaceName = check.string({
  max: 15,
  pattern: /^[A-Za-z0-9_.-]+$/,
  expected: "the name of a network interface: letters, digits, '_', '.' and '-'",
});

export const guestNicCheck: Check<GuestNic> = check.object({
  id: deviceId,
  macAddress: check.mac(),
  model: check.oneOf(NIC_MODELS),
  backend: check.variants("type", {
    tap: check.object({
      type: check.oneOf(["tap"]),
      deviceName: interfaceName,
      bridge: check.optional(interfaceName),
      queues,
    }),
    macvtap: check.object({ type: check.oneOf(["macvtap"]), deviceName: interfaceName, queues }),
    vhostUser: check.object({
      type: check.oneOf(["vhostUser"]),
      socketPath: filePathCheck,
      server: check.oneOf(["switch", "hypervisor"]),
      queues,
    }),
    user: check.object({ type: check.oneOf(["user"]), cidr: check.optional(check.cidr({ version: 4 })) }),
  }),
  mtu: check.optional(check.integer({ min: 68, max: 65_535 })),
  queues,
  bootIndex,
  tag,
});

const count = check.integer({ min: 1, max: 1024 });

export const guestDefinitionCheck: Check<GuestDefinition> = check.object({
  uuid: check.uuid(),
  name: check.string({ max: 63, charset: "name" }),
  vcpus: count,
  memoryMiB: check.integer({ min: 1, max: 67_108_864 }),
  cpuTopology: check.optional(check.object({ sockets: count, cores: count, threads: count })),
  machine: check.optional(check.oneOf(MACHINES)),
  firmware: check.oneOf(FIRMWARES),
  kernel: check.optional(
    check.object({
      kernelPath: filePathCheck,
      ramdiskPath: check.optional(filePathCheck),
      commandLine: check.optional(check.string({ min: 0, max: 2048 })),
    }),
  ),
  disks: check.array(guestDiskCheck, { max: MAX_DEVICES }),
  nics: check.array(guestNicCheck, { max: MAX_DEVICES }),
  guestAgent: check.boolean(),
  hardware: check.optional(guestHardwareCheck),
  platform: check.optional(platformCheck),
  metadata: check.optional(check.record(check.string({ max: 255 }), check.string({ min: 0, max: 255 }))),
});

/** Refuses two devices of one name or one place in the boot order, and CPUs that don't multiply to their number. @throws InvalidArgumentError */
export function refuseContradictions({ disks, nics, cpuTopology, vcpus, hardware }: GuestDefinition): void {
  requireUnique(disks, "disks", "id");
  requireUnique(disks, "disks", "deviceName");
  requireUnique(nics, "nics", "id");
  requireUnique(nics, "nics", "macAddress");
  const booted = new Set<number>();
  for (const [list, devices] of [["disks", disks] as const, ["nics", nics] as const])
    devices.forEach(({ bootIndex: place }, index) => {
      if (place === undefined) return;
      if (booted.has(place)) throw invalid(`${list}[${index}].bootIndex`, place, "one that no other device has");
      booted.add(place);
    });
  // Of a guest that can be given vCPUs, cores and threads alone say how they are arranged.
  if (cpuTopology === undefined || hardware?.cpu?.maxVcpus !== undefined) return;
  const { sockets, cores, threads } = cpuTopology;
  if (sockets * cores * threads !== vcpus)
    throw invalid("cpuTopology", `${sockets} * ${cores} * ${threads}`, `a product of ${vcpus}, the number of vCPUs`);
}

function requireUnique<K extends string>(
  devices: readonly { readonly [key in K]: string }[],
  list: string,
  key: K,
): void {
  const values = devices.map((device) => device[key]);
  const second = values.findIndex((value, index) => values.indexOf(value) !== index);
  if (second >= 0)
    throw invalid(`${list}[${second}].${key}`, values[second], `one that no other of the guest's ${list} has`);
}

function invalid(field: string, value: unknown, expected: string): InvalidArgumentError {
  return new InvalidArgumentError({ field: `definition.${field}`, value, expected });
}
