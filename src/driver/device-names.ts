/** Names of disks as a Linux guest would count them: `vda`, `sdb`, … `vdaa`; `nvme0n1`, `fd0`. */
import { InvalidArgumentError, OverflowError } from "../core/index.js";
import type { DiskBus } from "./instance-spec.js";

const PREFIXES: { readonly [B in DiskBus]: string } = {
  virtio: "vd",
  scsi: "sd",
  sata: "sd",
  usb: "sd",
  ide: "hd",
  nvme: "nvme",
  fdc: "fd",
};
const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const MOST = 26 + 26 * 26;

/** The letters that names of disks on a bus begin with. */
export function devicePrefix(bus: DiskBus): string {
  return PREFIXES[bus];
}

/** The name of the disk with this place, counted from 0, on a bus. */
export function deviceNameAt(bus: DiskBus, index: number): string {
  if (bus === "nvme") return `nvme${index}n1`;
  if (bus === "fdc") return `fd${index}`;
  const last = LETTERS.charAt(index % 26);
  const first = index < 26 ? "" : LETTERS.charAt(Math.floor(index / 26) - 1);
  return `${PREFIXES[bus]}${first}${last}`;
}

/** The first name of the bus that is not taken. @throws OverflowError when all 702 are. */
export function nextDeviceName(bus: DiskBus, taken: ReadonlySet<string>): string {
  for (let index = 0; index < MOST; index += 1) {
    const name = deviceNameAt(bus, index);
    if (!taken.has(name)) return name;
  }
  throw new OverflowError(`all ${MOST} names of disks on the ${bus} bus are taken`);
}

/** @throws InvalidArgumentError when the name is not one of the bus. */
export function checkDeviceName(name: unknown, bus: DiskBus, path: string): string {
  if (typeof name === "string" && isNameOf(bus, name)) return name;
  throw new InvalidArgumentError({
    field: path,
    value: name,
    expected: `a name such as ${deviceNameAt(bus, 1)} for a disk on the ${bus} bus`,
  });
}

function isNameOf(bus: DiskBus, name: string): boolean {
  const number = /^(?:nvme(\d{1,3})n1|fd(\d{1,3}))$/.exec(name);
  if (bus === "nvme" || bus === "fdc") {
    const index = Number(number?.[bus === "nvme" ? 1 : 2] ?? Number.NaN);
    return index < MOST && deviceNameAt(bus, index) === name;
  }
  const prefix = PREFIXES[bus];
  return name.startsWith(prefix) && /^[a-z]{1,2}$/.test(name.slice(prefix.length));
}
