/** Pausing and suspending. */
import type { InstanceRef } from "../instance-spec.js";
import type { OperationOptions } from "../../core/index.js";

export interface PauseFacet {
  /** Stops the vCPUs, memory kept. Success when paused. Rejects with `InvalidStateError` unless running or paused. */
  pause(instance: InstanceRef, options?: OperationOptions): Promise<void>;
  /** Lets the vCPUs run again. Success when running. Rejects with `InvalidStateError` unless running or paused. */
  unpause(instance: InstanceRef, options?: OperationOptions): Promise<void>;
}

export interface SuspendFacet {
  /** Saves memory to disk and stops. Success when suspended. Rejects with `InvalidStateError` unless running, paused or suspended; on failure or abort the guest is as before. */
  suspend(instance: InstanceRef, options?: OperationOptions): Promise<void>;
  /** Runs on from the saved memory. Success when running. Rejects with `InvalidStateError` unless suspended or running; on failure the saved memory is kept. */
  resume(instance: InstanceRef, options?: OperationOptions): Promise<void>;
}
