/** What `initHost` found and did. */
import type { InstanceRef } from "./instance-spec.js";

export interface RecoveredOperation {
  readonly id: string;
  /** `spawn`, `attachVolume`… */
  readonly kind: string;
  readonly instance?: InstanceRef;
  /** `undone`: as if it had never begun. `completed`: it had passed its point of no return. `failed`: neither could be done now; the next `initHost` tries again. */
  readonly outcome: "undone" | "completed" | "failed";
  readonly errors: readonly Error[];
}

export interface RecoveryReport {
  /** Guests in memory that were found again. */
  readonly adopted: readonly InstanceRef[];
  /** Instances whose guest is no longer in memory though it was when last seen. */
  readonly lost: readonly InstanceRef[];
  /** Guests that the hypervisor keeps for its owner and that no record knows. They are left alone. */
  readonly orphans: readonly InstanceRef[];
  /** Adopted guests some of whose ports or filters could not be put up again. */
  readonly degraded: readonly { readonly instance: InstanceRef; readonly errors: readonly Error[] }[];
  readonly operations: readonly RecoveredOperation[];
}
