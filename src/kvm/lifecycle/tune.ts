/** What a guest in memory is given beyond QEMU's arguments: CPUs for its threads, and how often it is asked about its memory. */
import type { QmpWaitOptions } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import { pollBalloon } from "../hotplug/balloon.js";
import { pinGuest } from "../pinning/pin-guest.js";
import type { GuestSession } from "../session.js";

/** Repeatable. @throws InvalidArgumentError for a CPU that is gone, HostIoError, and what QMP throws */
export async function tuneGuest(core: GuestCore, session: GuestSession, limits: QmpWaitOptions = {}): Promise<void> {
  await pinGuest(core, session, limits);
  await pollBalloon(core, session, limits);
}
