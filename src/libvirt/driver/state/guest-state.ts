/** What outlives the driver's process of each guest, beside what libvirt itself keeps. Parsed and written in one place. */
import { StateCorruptError, check, isHyperviseError } from "../../../core/index.js";
import type { Check, JsonValue } from "../../../core/index.js";
import type { GuestDefinition } from "../../../driver/index.js";
import { guestDefinitionCheck } from "../plan/index.js";

/** The layout that this release writes. */
export const GUEST_STATE_VERSION = 1;

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
}

const stateCheck: Check<GuestState> = check.object({
  version: check.oneOf([GUEST_STATE_VERSION]),
  definition: guestDefinitionCheck,
  machineType: check.optional(check.string({ max: 64, pattern: /^[A-Za-z0-9_.-]+$/, expected: "a machine type" })),
  generationId: check.optional(check.uuid()),
  startedAt: check.optional(check.number({ min: 0 })),
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
