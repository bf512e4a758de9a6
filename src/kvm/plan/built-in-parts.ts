/** Parts of a guest's machine that need a place on a bus and stay for as long as it is defined with them. Pure. */
import { NotSupportedError } from "../../core/index.js";
import type { GuestDefinition, ScsiController } from "../../driver/index.js";
import type { SlotPool, Topology } from "./topology.js";

/** The SCSI controller that all SCSI disks hang on. */
export const SCSI_CONTROLLER = "scsi0";
/** The USB controller. It has a fixed slot, or a binding where it was plugged into a guest that was started without. */
export const USB_CONTROLLER = "usb0";
export const SOUND = "sound0";
export const WATCHDOG = "watchdog0";
export const VSOCK = "vsock0";
/** The tablet that a console with pictures needs for its pointer to be where the guest has it. */
export const POINTER = "pointer0";
/** Before the tag of a file system. */
export const FILESYSTEM_PREFIX = "fs-";

/** How many disks each SCSI controller can have. */
export const SCSI_TARGETS: { readonly [C in ScsiController]: number } = {
  "virtio-scsi": 256,
  lsi: 7,
  megasas: 64,
  pvscsi: 64,
};

export interface BuiltInPart {
  /** Id of the part, in QEMU too. */
  readonly id: string;
  readonly pool: SlotPool;
}

type Wishes = Pick<GuestDefinition, "hardware" | "disks">;

/** The parts that a definition asks for, with where they go. @throws NotSupportedError when the machine has no such place */
export function builtInParts({ hardware = {}, disks }: Wishes, topology: Topology): readonly BuiltInPart[] {
  const { scsiController, sound, watchdog, vsock, filesystems = [] } = hardware;
  const parts: BuiltInPart[] = [];
  if (scsiController !== undefined || disks.some(({ bus }) => bus === "scsi"))
    parts.push({ id: SCSI_CONTROLLER, pool: scsiController === "lsi" ? topology.cards : topology.expansion });
  if (sound !== undefined && sound.model !== "sb16")
    parts.push({ id: SOUND, pool: sound.model === "usb" ? "usb" : topology.cards });
  if (watchdog?.model === "i6300esb") parts.push({ id: WATCHDOG, pool: topology.cards });
  if (vsock !== undefined) parts.push({ id: VSOCK, pool: topology.expansion });
  for (const { tag } of filesystems) parts.push({ id: `${FILESYSTEM_PREFIX}${tag}`, pool: topology.expansion });
  if (needsPointer({ hardware }, topology)) parts.push({ id: POINTER, pool: "usb" });
  for (const { id, pool } of parts) {
    if (pool !== "port" && topology.pools[pool].size === 0)
      throw new NotSupportedError({
        capability: `${id} on ${topology.machine}`,
        message: `a ${topology.machine} machine has no place for ${id}`,
      });
  }
  return parts;
}

/** Whether the guest has a console with pictures and says nothing of how one points at them. */
function needsPointer({ hardware = {} }: Pick<GuestDefinition, "hardware">, topology: Topology): boolean {
  const { vnc, spice, devices } = hardware;
  const pictures = vnc !== undefined || spice !== undefined;
  return pictures && topology.pools.usb.size > 0 && devices?.some(({ type }) => type === "usbInput") !== true;
}
