/** The ways in which a guest's state changes. Pure. */
import { bindingOf, unbind } from "../plan/hardware.js";
import type { DeviceBinding } from "../plan/hardware.js";
import type { GuestState, LiveState, ProcessRecord } from "./guest-state.js";

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
  return { ...rest, end: detail === undefined ? end : { ...end, detail: printable(detail) } };
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
  if (kind === "disk")
    return {
      ...state,
      hardware,
      definition: { ...definition, disks: definition.disks.filter((disk) => disk.id !== id) },
    };
  return { ...state, hardware, definition: { ...definition, nics: definition.nics.filter((nic) => nic.id !== id) } };
}

function printable(text: string): string {
  return text.replace(/[^\t\n\r\P{Cc}]|\p{Cs}/gu, "?").slice(-4_096);
}
