/** Who may run a guest: what must not be done to one that is on its way to another host, has gone there, or has not come yet. */
import { InvalidStateError } from "../../driver/index.js";
import type { GuestCore } from "../guest-core.js";

/** Why the guest is not this host's to run now; undefined when it is. */
export function absenceOf({ state }: Pick<GuestCore, "state">): "migratedAway" | "migratingIn" | undefined {
  const { migration } = state;
  if (migration?.role === "source") return migration.phase === "outgoing" ? undefined : "migratedAway";
  return migration?.phase === "waiting" ? "migratingIn" : undefined;
}

/** @throws InvalidStateError for a guest that was handed over to another host, or has not come yet: running it here might be a second copy of it */
export function requireHere(core: GuestCore, operation: string): void {
  const state = absenceOf(core) ?? (core.state.saved?.phase === "saved" ? "suspended" : undefined);
  if (state === undefined) return;
  throw new InvalidStateError({
    operation,
    state,
    expected: ["running", "paused", "shutdown"],
    instance: core.instance,
  });
}
