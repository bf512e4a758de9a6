/** What outlives the driver's process of each guest, beside what libvirt itself keeps. Parsed and written in one place. */
import { StateCorruptError, check, isHyperviseError } from "../../../core/index.js";
import type { Check, JsonValue } from "../../../core/index.js";
import type { GuestDefinition } from "../../../driver/index.js";
import { guestDefinitionCheck } from "../../../hypervisor/index.js";
import { serialConsoleCheck } from "../console/serial-console.js";
import type { SerialConsole } from "../console/serial-console.js";
import { heldDevicesCheck } from "../mediated/held-device.js";
import type { HeldMediatedDevice } from "../mediated/held-device.js";
import { checkpointsCheck, workCheck } from "./guest-work.js";
import type { Checkpoint, GuestWork } from "./guest-work.js";
import { migrationCheck } from "./migration-record.js";
import type { MigrationRecord } from "./migration-record.js";

/** The layout that this release writes. */
export const GUEST_STATE_VERSION = 1;

/**
 * `attaching`: a call is giving it to the guest. `detaching`: the guest was asked to let go of it, and does not start with it again. `refused`: it keeps it, and is to
 * start with it again.
 */
export const DEVICE_PHASES = ["attaching", "detaching", "refused"] as const;
export type DevicePhase = (typeof DEVICE_PHASES)[number];

/** A device that is coming or going. */
export interface UnsettledDevice {
  readonly kind: "disk" | "nic" | "device";
  readonly id: string;
  readonly phase: DevicePhase;
}

export interface GuestState {
  readonly version: typeof GUEST_STATE_VERSION;
  /** As last defined or changed while it ran. A device that is being attached or detached is in it as long as it may be in the guest. */
  readonly definition: GuestDefinition;
  /** libvirt's full name of the machine, which the guest keeps across upgrades: `pc-q35-7.2`. */
  readonly machineType?: string;
  /** Uuid that tells the guest which copy of itself it is. */
  readonly generationId?: string;
  /** Milliseconds since the epoch, of the last start. */
  readonly startedAt?: number;
  /** Work on disks or memory that is under way. */
  readonly work?: GuestWork;
  /** Oldest first. */
  readonly checkpoints?: readonly Checkpoint[];
  /** Devices of the definition that are coming or going; absent: none. */
  readonly unsettled?: readonly UnsettledDevice[];
  /** TCP ports of the host on which its serial consoles listen; absent: they are pseudo terminals. */
  readonly serialConsole?: SerialConsole;
  /** Mediated devices of the host that are the guest's; absent: none. */
  readonly mediated?: readonly HeldMediatedDevice[];
  /** Its memory is being written to libvirt's file for it. */
  readonly saving?: { readonly wasRunning: boolean };
  /** The guest is on its way to another host, has gone there, or is waited for here. */
  readonly migration?: MigrationRecord;
}

const unsettledCheck: Check<UnsettledDevice> = check.object({
  kind: check.oneOf(["disk", "nic", "device"]),
  id: check.string({ max: 255 }),
  phase: check.oneOf(DEVICE_PHASES),
});

const stateCheck: Check<GuestState> = check.object({
  version: check.oneOf([GUEST_STATE_VERSION]),
  definition: guestDefinitionCheck,
  machineType: check.optional(check.string({ max: 64, pattern: /^[A-Za-z0-9_.-]+$/, expected: "a machine type" })),
  generationId: check.optional(check.uuid()),
  startedAt: check.optional(check.number({ min: 0 })),
  work: check.optional(workCheck),
  checkpoints: check.optional(checkpointsCheck),
  unsettled: check.optional(check.array(unsettledCheck, { max: 1024 })),
  serialConsole: check.optional(serialConsoleCheck),
  mediated: check.optional(heldDevicesCheck),
  saving: check.optional(check.object({ wasRunning: check.boolean() })),
  migration: check.optional(migrationCheck),
});

/** @throws StateCorruptError for anything that this release did not write for that guest */
export function parseGuestState(value: JsonValue, uuid: string): GuestState {
  const version = typeof value === "object" && value !== null && "version" in value ? value["version"] : undefined;
  if (typeof version === "number" && version > GUEST_STATE_VERSION)
    throw new StateCorruptError(`the state of guest ${uuid} was written by a newer release (layout ${version})`, {
      instance: { uuid },
      remedy: "Run the release that wrote it, or a later one.",
    });
  let state: GuestState;
  try {
    state = stateCheck(value, "state");
  } catch (error) {
    if (!isHyperviseError(error)) throw error;
    throw new StateCorruptError(`the state of guest ${uuid} can't be read`, { instance: { uuid }, cause: error });
  }
  if (state.definition.uuid !== uuid)
    throw new StateCorruptError(`the state of guest ${uuid} is another guest's`, { instance: { uuid } });
  return state;
}
