/** Names of disks as a Linux guest would count them: `vda`, `sdb`, … `vdaa`. */
import { InvalidArgumentError, OverflowError } from "../core/index.js";
import type { DiskBus } from "./instance-spec.js";

const PREFIXES: { readonly [B in DiskBus]: string } = { virtio: "vd", scsi: "sd", sata: "sd", usb: "sd", ide: "hd" };
const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const MOST = 26 + 26 * 26;

/** The first three letters of disks on a bus. */
export function devicePrefix(bus: DiskBus): string {
  return PREFIXES[bus];
}

/** The name of the disk with this place, counted from 0, on a bus. */
export function deviceNameAt(bus: DiskBus, index: number): string {
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
  const prefix = PREFIXES[bus];
  if (typeof name === "string" && name.startsWith(prefix) && /^[a-z]{1,2}$/.test(name.slice(prefix.length)))
    return name;
  throw new InvalidArgumentError({
    field: path,
    value: name,
    expected: `a name such as ${prefix}b for a disk on the ${bus} bus`,
  });
}
