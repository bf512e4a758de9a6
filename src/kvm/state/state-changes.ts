/** The ways in which a guest's state changes. Pure. */
import { bindingOf, unbind } from "../plan/hardware.js";
import type { DeviceBinding, Hardware } from "../plan/hardware.js";
import type { GuestState, LiveState, ProcessRecord } from "./guest-state.js";
import { afterEnd } from "./migration-record.js";
import type { MigrationRecord } from "./migration-record.js";
import type { SavedMemory } from "./saved-memory.js";

/** The state with a process. */
export function withProcess(state: GuestState, process: ProcessRecord): GuestState {
  const { end: _, ...rest } = state;
  return { ...rest, process };
}

/** The state with what is known of the guest's vCPUs; the same object when it says so already. */
export function withLiveState(state: GuestState, live: LiveState): GuestState {
  if (state.process === undefined || state.process.state === live) return state;
  return { ...state, process: { ...state.process, state: live } };
}

export interface EndOfGuest {
  readonly state: "shutdown" | "crashed";
  readonly at: number;
  readonly detail?: string;
}

/** The state of a guest whose process is gone: what it was being given or asked to let go of, it does not have. */
export function endedState(state: GuestState, end: EndOfGuest): GuestState {
  const unsettled = state.hardware.bindings.filter(({ phase, kind }) => phase !== undefined && kind !== "controller");
  const { process: _, ...rest } = unsettled.reduce(withoutDevice, state);
  const { detail } = end;
  const ended = { ...rest, end: detail === undefined ? end : { ...end, detail: printable(detail) } };
  // Memory that was not wholly written is worth nothing.
  const saved = state.saved?.phase === "saved" ? state.saved : undefined;
  return withSavedMemory(withMigration(ended, afterEnd(state.migration)), saved);
}

/** The state with another mark of a migration, or without. */
export function withMigration(state: GuestState, migration: MigrationRecord | undefined): GuestState {
  const { migration: _, ...rest } = state;
  return migration === undefined ? rest : { ...rest, migration };
}

/** The state with another mark of saved memory, or without. */
export function withSavedMemory(state: GuestState, saved: SavedMemory | undefined): GuestState {
  const { saved: _, ...rest } = state;
  return saved === undefined ? rest : { ...rest, saved };
}

/** The state of a guest whose start from a template has not succeeded, as it was before. The same object where none was under way. */
export function withoutClone(state: GuestState): GuestState {
  const { clone, process: _process, end: _end, ...rest } = state;
  return clone === undefined ? state : { ...rest, ...clone };
}

/** The state of a guest that never came to run, as it was before. */
export function withoutProcess(state: GuestState): GuestState {
  const { process: _, ...rest } = state;
  return rest;
}

/** The state without a disk or NIC, in definition and hardware. */
export function withoutDevice(
  state: GuestState,
  { kind, id, handle }: Pick<DeviceBinding, "kind" | "id" | "handle">,
): GuestState {
  const hardware = unbind(state.hardware, handle);
  const { definition } = state;
  // A device that was plugged anew under the same id has another handle.
  if (kind === "controller" || bindingOf(hardware, kind, id) !== undefined) return { ...state, hardware };
  if (kind === "memory") return withoutMemory({ ...state, hardware }, state.hardware, handle);
  if (kind === "device") {
    const devices = definition.hardware?.devices?.filter((device) => device.id !== id) ?? [];
    return { ...state, hardware, definition: { ...definition, hardware: { ...definition.hardware, devices } } };
  }
  if (kind === "disk")
    return {
      ...state,
      hardware,
      definition: { ...definition, disks: definition.disks.filter((disk) => disk.id !== id) },
    };
  return { ...state, hardware, definition: { ...definition, nics: definition.nics.filter((nic) => nic.id !== id) } };
}

function withoutMemory(state: GuestState, before: Hardware, handle: string): GuestState {
  const { sizeMiB = 0 } = before.bindings.find((binding) => binding.handle === handle) ?? {};
  const { definition, hardware } = state;
  const { bootMemoryMiB: _, ...bare } = hardware;
  return {
    ...state,
    hardware: hardware.bindings.some(({ kind }) => kind === "memory") ? hardware : bare,
    definition: { ...definition, memoryMiB: definition.memoryMiB - sizeMiB },
  };
}

function printable(text: string): string {
  return text.replace(/[^\t\n\r\P{Cc}]|\p{Cs}/gu, "?").slice(-4_096);
}
