/** How Ganeti names devices in QEMU and finds them again, and what QEMU is given to open a disk. Pure. */
import { InvalidArgumentError } from "../../core/index.js";
import { DiskNotFoundError, InterfaceNotFoundError } from "../../driver/index.js";
import type { SlotSet } from "../plan/slots.js";
import type { GanetiDeviceKind, RuntimeDisk } from "./runtime-text.js";

/** Which release named it: until 2.15 by the PCI slot, since 2.16 by the uuid alone. */
export type DeviceIdEra = "2.10" | "2.16";

export interface IdentifiedDevice {
  readonly uuid: string;
  /** PCI slot, for the older names. */
  readonly slot?: number | undefined;
}

/** What QEMU is told to open for a disk: the URI where the disk is accessed in user space, else the path on the host. */
export function getDriveUri(
  disk: { readonly params?: { readonly access?: string | undefined } | undefined },
  link: string,
  uri?: string | null,
): string {
  return typeof uri === "string" && uri !== "" && disk.params?.access === "userspace" ? uri : link;
}

/**
 * The id of a device in QEMU.
 * @throws InvalidArgumentError for an older name without a slot; slot 0 is the host bridge, and no device's
 */
export function generateDeviceId(kind: GanetiDeviceKind, device: IdentifiedDevice, era: DeviceIdEra = "2.16"): string {
  const groups = device.uuid.split("-");
  if (era === "2.16") return `${kind}-${groups.slice(0, 3).join("-")}`;
  const { slot } = device;
  if (slot === undefined || !Number.isInteger(slot) || slot < 1 || slot > 31)
    throw new InvalidArgumentError({ field: "device.slot", value: slot, expected: "a PCI slot from 1 to 31" });
  return `hot${kind}-${groups[0] ?? ""}-pci-${slot}`;
}

/**
 * The first entry of a runtime for a device's uuid.
 * @throws DiskNotFoundError, InterfaceNotFoundError
 */
export function getExistingDevice<N extends IdentifiedDevice, D extends IdentifiedDevice>(
  kind: "nic",
  device: Pick<IdentifiedDevice, "uuid">,
  runtime: { readonly nics: readonly N[]; readonly disks: readonly RuntimeDisk<D>[] },
): N;
export function getExistingDevice<N extends IdentifiedDevice, D extends IdentifiedDevice>(
  kind: "disk",
  device: Pick<IdentifiedDevice, "uuid">,
  runtime: { readonly nics: readonly N[]; readonly disks: readonly RuntimeDisk<D>[] },
): RuntimeDisk<D>;
export function getExistingDevice<N extends IdentifiedDevice, D extends IdentifiedDevice>(
  kind: GanetiDeviceKind,
  { uuid }: Pick<IdentifiedDevice, "uuid">,
  runtime: { readonly nics: readonly N[]; readonly disks: readonly RuntimeDisk<D>[] },
): N | RuntimeDisk<D> {
  const found =
    kind === "nic"
      ? runtime.nics.find((nic) => nic.uuid === uuid)
      : runtime.disks.find(({ disk }) => disk.uuid === uuid);
  if (found !== undefined) return found;
  if (kind === "nic") throw new InterfaceNotFoundError(`the runtime has no NIC ${uuid}`, { device: uuid });
  throw new DiskNotFoundError(`the runtime has no disk ${uuid}`, { device: uuid });
}

/**
 * The slot asked for if it is free, else the first free one; taken only with `reserve`.
 * @throws NoFreeSlotError when all are taken; ConflictError when the one asked for is; InvalidArgumentError when there is no such slot
 */
export function getFreeSlot(
  slots: SlotSet,
  { slot, reserve = false }: { readonly slot?: number; readonly reserve?: boolean } = {},
): number {
  return reserve ? slots.reserve(slot) : slots.find(slot);
}
