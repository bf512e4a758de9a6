/** What whoever waits for something of one guest hears. */
import type { TypedParameter } from "../../rpc/index.js";

export type GuestSignal =
  /** Power state, agent or flags have changed: see the core's view. */
  | { readonly type: "view" }
  /** Events may have been missed: look at the state of things. */
  | { readonly type: "gap" }
  /** The guest has let go of the device, or has refused to; by libvirt's alias. */
  | { readonly type: "deviceRemoved" | "deviceRemovalFailed"; readonly alias: string }
  /** A block job of a disk, by the disk's target (`vda`): kind and status by `virDomainBlockJobType` and `virConnectDomainEventBlockJobStatus`. */
  | { readonly type: "blockJob"; readonly target: string; readonly job: number; readonly status: number }
  /** A job of the whole guest has ended: migration, save, dump, backup. */
  | { readonly type: "jobCompleted"; readonly parameters: readonly TypedParameter[] }
  /** A pass over the memory of a guest that migrates has begun. */
  | { readonly type: "migrationIteration"; readonly iteration: number }
  /** A virtio-mem device has taken memory or given some back. */
  | { readonly type: "memorySize"; readonly alias: string }
  | { readonly type: "trayChange"; readonly alias: string; readonly reason: number };
