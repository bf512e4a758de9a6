/** What outlives the driver's process of each guest: its definition, its hardware, and the QEMU process that runs it. Parsed and written in one place. */
import { InvalidArgumentError, StateCorruptError, check } from "../../core/index.js";
import type { Check, JsonValue } from "../../core/index.js";
import type { GuestDefinition, PowerState } from "../../driver/index.js";
import { guestDefinitionCheck } from "../../hypervisor/index.js";
import { firmwareFilesCheck } from "../firmware/firmware-descriptor.js";
import type { Accelerator } from "../plan/command-line.js";
import type { DeviceBinding, Hardware } from "../plan/hardware.js";
import { workCheck, checkpointsCheck } from "./guest-work.js";
import type { GuestWork, Checkpoint } from "./guest-work.js";
import { KVM_MACHINES, MAX_PORTS, SLOT_POOLS } from "../plan/topology.js";
import { migrationCheck } from "./migration-record.js";
import type { MigrationRecord } from "./migration-record.js";
import { savedMemoryCheck } from "./saved-memory.js";
import type { SavedMemory } from "./saved-memory.js";

/** The layout that this release writes. */
export const GUEST_STATE_VERSION = 1;

/** States of a guest in memory. */
export const LIVE_STATES = ["running", "paused", "crashed"] as const satisfies readonly PowerState[];
export type LiveState = (typeof LIVE_STATES)[number];

/**
 * The QEMU process of a guest in memory, by marks that another process can't bear. Written when its start has succeeded; a process without a
 * record is found by its arguments.
 */
export interface ProcessRecord {
  /** Identifies the boot of the host. */
  readonly bootId: string;
  readonly pid: number;
  /** When the process began, in clock ticks since the host booted. */
  readonly startTime: number;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly accelerator: Accelerator;
  /** Last known. */
  readonly state: LiveState;
}

export interface GuestState {
  readonly version: typeof GUEST_STATE_VERSION;
  /** As last defined or changed while it ran. A disk or NIC that is being plugged in or out is in it as long as it may be in the guest. */
  readonly definition: GuestDefinition;
  readonly hardware: Hardware;
  readonly process?: ProcessRecord;
  readonly work?: GuestWork;
  readonly checkpoints?: readonly Checkpoint[];
  /** How the guest left memory. Absent when it never was in memory, or is. */
  readonly end?: { readonly state: "shutdown" | "crashed"; readonly at: number; readonly detail?: string };
  /** While the guest is on its way to another host, or from one. */
  readonly migration?: MigrationRecord;
  /** While the guest's memory is on disk. */
  readonly saved?: SavedMemory;
  /** While the guest is being started from a template: what it was before. Its start has not succeeded then. */
  readonly clone?: { readonly definition: GuestDefinition; readonly hardware: Hardware };
}

const bindingCheck: Check<DeviceBinding> = check.object({
  kind: check.oneOf(["disk", "nic", "device", "memory", "controller"]),
  id: check.string({ max: 255 }),
  handle: check.string({ max: 64, charset: "name" }),
  pool: check.oneOf(SLOT_POOLS),
  slot: check.integer({ min: 0, max: 255 }),
  phase: check.optional(check.oneOf(["attaching", "detaching"])),
  acpiIndex: check.optional(check.integer({ min: 1, max: 16_383 })),
  sizeMiB: check.optional(check.integer({ min: 0, max: 67_108_864 })),
});

/** The hardware of a guest as plain, frozen data. */
export const hardwareCheck: Check<Hardware> = check.object({
  machine: check.oneOf(KVM_MACHINES),
  machineType: check.string({ max: 64, charset: "name" }),
  ports: check.integer({ min: 0, max: MAX_PORTS }),
  nextHandle: check.integer({ min: 0 }),
  bindings: check.array(bindingCheck, { max: 1024 }),
  bootMemoryMiB: check.optional(check.integer({ min: 1, max: 67_108_864 })),
  firmware: check.optional(firmwareFilesCheck),
  generationId: check.optional(check.uuid()),
});

const processCheck: Check<ProcessRecord> = check.object({
  bootId: check.string({ max: 64, charset: "name" }),
  pid: check.integer({ min: 1 }),
  startTime: check.integer({ min: 0 }),
  startedAt: check.number({ min: 0 }),
  accelerator: check.oneOf(["kvm", "tcg"]),
  state: check.oneOf(LIVE_STATES),
});

const stateCheck: Check<GuestState> = check.object({
  version: check.oneOf([GUEST_STATE_VERSION]),
  definition: guestDefinitionCheck,
  hardware: hardwareCheck,
  process: check.optional(processCheck),
  work: check.optional(workCheck),
  checkpoints: check.optional(checkpointsCheck),
  end: check.optional(
    check.object({
      state: check.oneOf(["shutdown", "crashed"]),
      at: check.number({ min: 0 }),
      detail: check.optional(check.string({ min: 0, max: 65_536, charset: "text" })),
    }),
  ),
  migration: check.optional(migrationCheck),
  saved: check.optional(savedMemoryCheck),
  clone: check.optional(check.object({ definition: guestDefinitionCheck, hardware: hardwareCheck })),
});

/**
 * Reads the state of a guest.
 * @throws StateCorruptError for anything that this release did not write for that guest
 */
export function parseGuestState(value: JsonValue, uuid: string, file: string): GuestState {
  const version = typeof value === "object" && value !== null && "version" in value ? value["version"] : undefined;
  if (typeof version === "number" && version > GUEST_STATE_VERSION) {
    throw new StateCorruptError(`the state of guest ${uuid} was written by a newer release (layout ${version})`, {
      instance: { uuid },
      detail: file,
      remedy: "Run the release that wrote it, or a later one.",
    });
  }
  try {
    const state = stateCheck(value, "state");
    if (state.definition.uuid !== uuid) {
      throw new InvalidArgumentError({ field: "state.definition.uuid", value: state.definition.uuid, expected: uuid });
    }
    return state;
  } catch (error) {
    throw new StateCorruptError(`the state of guest ${uuid} can't be read`, {
      instance: { uuid },
      detail: file,
      cause: error,
    });
  }
}

/** The state as JSON data. */
export function formatGuestState(state: GuestState): JsonValue {
  return stateCheck(state, "state") as unknown as JsonValue;
}
