/** A guest's state with another source of one of its disks. Pure. */
import type { GuestDisk } from "../../../driver/index.js";
import type { DiskSource } from "../../../storage/index.js";
import type { GuestState } from "../state/guest-state.js";

export function withSource(state: GuestState, diskId: string, source: DiskSource): GuestState {
  const { definition } = state;
  const disks = definition.disks.map((disk): GuestDisk => (disk.id === diskId ? { ...disk, source } : disk));
  return { ...state, definition: { ...definition, disks } };
}

export function withoutWork(state: GuestState): GuestState {
  const { work: _, ...rest } = state;
  return rest;
}
