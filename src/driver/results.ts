/** What operations of a driver answer. */
import type { GuestInfo } from "./guest.js";
import type { InstanceRef } from "./instance-spec.js";
import type { PowerState } from "./power-state.js";

/** What is going on with an instance beside its power state. */
export type InstanceTask = "none" | "rescued" | "resized" | "migratingIn" | "migratingOut";

export interface InstanceInfo extends GuestInfo {
  readonly instance: InstanceRef;
  readonly state: PowerState;
  readonly task: InstanceTask;
  /** True while an operation of this process works on the instance. */
  readonly busy: boolean;
}

export interface SpawnResult {
  readonly instance: InstanceRef;
  readonly state: PowerState;
}

/** How a guest was stopped. `already`: it was. `guest`: it shut down by itself when asked. `killed`: it did not within the grace, or was given none. */
export interface StopResult {
  readonly how: "already" | "guest" | "killed";
}
