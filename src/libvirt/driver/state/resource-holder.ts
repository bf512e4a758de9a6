/** A guest as far as it holds what all guests of a host choose from: its state says what. */
import type { InstanceRef } from "../../../core/index.js";
import type { GuestDefinition } from "../../../driver/index.js";
import type { GuestState } from "./guest-state.js";

export interface ResourceHolder {
  readonly state: GuestState;
  readonly definition: GuestDefinition;
  readonly instance: InstanceRef;
  update(change: (state: GuestState) => GuestState): Promise<void>;
}
