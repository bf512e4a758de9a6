/** What a driver tells of its guests. */
import type { InstanceRef } from "./instance-spec.js";

/** Who made a guest change state: a call on this driver, the guest itself, somebody else on the host, or a fault. */
export type EventCause = "self" | "guest" | "external" | "crash";

interface EventBase {
  /** Grows by one with every event of the driver. */
  readonly sequence: number;
  /** Milliseconds since the epoch. */
  readonly timestamp: number;
}

interface InstanceEventBase extends EventBase {
  readonly instance: InstanceRef;
}

/** Nova's lifecycle events, and those of suspend and crash that its drivers know of. */
export const LIFECYCLE_TRANSITIONS = [
  "started",
  "stopped",
  "paused",
  "resumed",
  "suspended",
  "rebooted",
  "crashed",
  "migrationStarted",
  "postcopyStarted",
  "migrationCompleted",
] as const;
export type LifecycleTransition = (typeof LIFECYCLE_TRANSITIONS)[number];

export interface LifecycleEvent extends InstanceEventBase {
  readonly type: "lifecycle";
  readonly transition: LifecycleTransition;
  readonly cause: EventCause;
  /** The platform's own word for it, for operators. */
  readonly detail?: string;
}

/** An instance came under this driver or left it. */
export interface InstanceEvent extends InstanceEventBase {
  readonly type: "instance";
  readonly change: "spawned" | "adopted" | "destroyed" | "migratedIn" | "migratedOut";
}

export interface DeviceEvent extends InstanceEventBase {
  readonly type: "device";
  readonly change: "attached" | "detached" | "detachFailed";
  /** Id of the disk or NIC as `listDisks` and `listInterfaces` give it. */
  readonly device: string;
}

/** The guest agent answers, or has ceased to. */
export interface AgentEvent extends InstanceEventBase {
  readonly type: "agent";
  readonly connected: boolean;
}

/** A disk request of the guest failed. */
export interface IoErrorEvent extends InstanceEventBase {
  readonly type: "ioError";
  readonly device: string;
  readonly reason?: string;
}

/** The link to the hypervisor was lost or is back. */
export interface ConnectionEvent extends EventBase {
  readonly type: "connection";
  readonly state: "connected" | "lost";
  readonly reason?: string;
}

/** The reader was too slow: this many events were dropped in this place. Read the state of what you follow anew. */
export interface OverflowEvent extends EventBase {
  readonly type: "overflow";
  readonly dropped: number;
}

export type DriverEvent =
  LifecycleEvent | InstanceEvent | DeviceEvent | AgentEvent | IoErrorEvent | ConnectionEvent | OverflowEvent;
