/** Finding guests again that an earlier driver process has left in memory. */
import { withDeadline } from "../../core/index.js";
import type { ProcessIdentity } from "../../host/index.js";
import { watchConsoleLog } from "../console/console-watch.js";
import { UNLAUNCHED } from "../events.js";
import type { GuestCore } from "../guest-core.js";
import { guestListener } from "../guest-listener.js";
import { QemuProcess } from "../process.js";
import { endedState } from "../state/state-changes.js";

/**
 * Takes up a guest whose process lives. Resolves when QEMU has answered and all is read, or after `adoptMs`: then the guest goes on with its last known
 * state, and is read when QEMU answers. Never rejects.
 */
export async function adoptGuest(core: GuestCore, identity: ProcessIdentity): Promise<void> {
  const { clock, timeouts } = core.host;
  const process = QemuProcess.found({ identity, clock, log: core.files.log });
  const state = core.state.process?.state ?? "paused";
  core.adopting = true;
  const session = core.follow(process, guestListener(core), { ...UNLAUNCHED, state, launched: true });
  core.whileInMemory(watchConsoleLog(core));
  await withDeadline(timeouts.adoptMs, { operation: "waiting for a guest to answer", clock }, () =>
    session.keepConnected(),
  ).catch(() => undefined);
}

/** The guest's process was gone when we came. How it went shows in what it left: an orderly end removes the pid file. */
export async function recordMissedEnd(core: GuestCore, orderly: boolean): Promise<void> {
  const at = core.host.clock.now();
  await core.update((state) =>
    endedState(state, { state: orderly ? "shutdown" : "crashed", at, detail: "ended while no driver watched" }),
  );
}
