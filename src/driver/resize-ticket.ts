/** A resize: what it may change, and the ticket that its source hands to its destination. Pure. */
import { check } from "../core/index.js";
import type { Check } from "../core/index.js";
import { flavorCheck } from "./validate-instance-spec.js";
import type { Flavor } from "./instance-spec.js";
import type { InstanceDisk, InstanceRecord } from "./instance-record.js";
import { nextDeviceName } from "./device-names.js";
import { guestFormatOf } from "./plan-spawn.js";
import type { PlannedDisk } from "./plan-spawn.js";
import { ResizeError } from "./errors.js";
import type { ResizeTicket } from "./facets/redefinition.js";

const GIB = 1_073_741_824;
const MIB = 1_048_576;

export const ticketCheck: Check<ResizeTicket> = check.object({
  version: check.oneOf([1] as const),
  id: check.uuid(),
  spec: check.json() as unknown as Check<ResizeTicket["spec"]>,
  oldFlavor: flavorCheck,
  newFlavor: flavorCheck,
  wasRunning: check.boolean(),
  sameHost: check.boolean(),
  disks: check.array(
    check.object({ name: check.string({ max: 64, charset: "name" }), virtualSizeBytes: check.integer({ min: 0 }) }),
    { max: 256 },
  ),
});

/** The disks of the record as the flavor wants them. A disk's `sizeBytes` is what it must grow to. @throws ResizeError when one would shrink. */
export function resizedDisks(
  record: Pick<InstanceRecord, "spec" | "disks" | "volumes" | "emptyDrives">,
  flavor: Flavor,
): readonly (InstanceDisk | PlannedDisk)[] {
  const resized = record.disks.flatMap((disk): readonly InstanceDisk[] => {
    const sizeBytes = wantedBytes(disk.name, disk.sizeBytes, flavor);
    return sizeBytes === 0 ? [] : [{ ...disk, sizeBytes }];
  });
  const all = [...record.disks, ...record.volumes, ...(record.emptyDrives ?? [])];
  const taken = new Set(all.map(({ deviceName }) => deviceName));
  const missing = ["ephemeral0", "swap"].flatMap((name): readonly PlannedDisk[] => {
    const sizeBytes = wantedBytes(name, 0, flavor);
    if (sizeBytes === 0 || record.disks.some((disk) => disk.name === name)) return [];
    const deviceName = nextDeviceName("virtio", taken);
    taken.add(deviceName);
    return [{ name, sizeBytes, deviceName, bus: "virtio", ...guestFormatOf(name, record.spec) }];
  });
  return [...resized, ...missing];
}

/** @throws ResizeError; a swap disk may shrink or go, the others may not. */
function wantedBytes(name: string, presentBytes: number, { rootGiB, ephemeralGiB = 0, swapMiB = 0 }: Flavor): number {
  if (name === "swap") return swapMiB * MIB;
  if (name !== "root" && name !== "ephemeral0") return presentBytes;
  if (name === "root" && rootGiB === 0) return presentBytes;
  const wanted = (name === "root" ? rootGiB : ephemeralGiB) * GIB;
  if (wanted >= presentBytes) return wanted;
  throw new ResizeError(`the disk ${name} has ${presentBytes} bytes; it can't shrink to ${wanted}`, {
    device: name,
    remedy: "Take a flavor whose disks are as large as the present ones.",
  });
}
