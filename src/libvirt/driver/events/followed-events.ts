/** Which events of domains a driver follows. */
import type { LibvirtEventOf } from "../../rpc/index.js";

/** Each is one more registration at the daemon. */
export const FOLLOWED_EVENTS = [
  "lifecycle",
  "reboot",
  "ioErrorReason",
  "deviceRemoved",
  "deviceRemovalFailed",
  "blockJob2",
  "jobCompleted",
  "agentLifecycle",
  "trayChange",
  "migrationIteration",
  "memoryDeviceSizeChange",
] as const;
export type FollowedEvent = LibvirtEventOf<"domain", (typeof FOLLOWED_EVENTS)[number]>;
