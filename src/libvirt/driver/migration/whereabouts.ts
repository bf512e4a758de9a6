/** Where a guest that moves stands on a host, by libvirt's word; and whether its destination has it, when nobody knows any more. */
import { Deadline } from "../../../core/index.js";
import {
  DomainPausedReason,
  DomainRunningReason,
  DomainState,
  LibvirtClient,
  isLibvirtError,
} from "../../rpc/index.js";
import type { Domain, LibvirtCallOptions } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";

/**
 * `absent`: there is no domain. `waiting`: it is there to be sent a guest, which has not run there. `arriving`: the guest runs there, and a part of its memory is still to come. `lost`: that part
 * will not come. `there`: it is that host's, in whatever state.
 */
export type Whereabouts = "absent" | "waiting" | "arriving" | "lost" | "there";

/** @throws LibvirtError for all but a domain that is not there */
export async function lookAt(domain: Domain, limits: LibvirtCallOptions): Promise<Whereabouts> {
  try {
    const { state, reason } = await domain.getState(limits);
    if (state === DomainState.running) {
      if (reason === DomainRunningReason.postcopyFailed) return "lost";
      return reason === DomainRunningReason.postcopy ? "arriving" : "there";
    }
    if (state !== DomainState.paused) return "there";
    if (reason === DomainPausedReason.postcopyFailed) return "lost";
    if (reason === DomainPausedReason.postcopy) return "arriving";
    return reason === DomainPausedReason.migration || reason === DomainPausedReason.startingUp ? "waiting" : "there";
  } catch (error) {
    if (isLibvirtError(error, "domainNotFound")) return "absent";
    throw error;
  }
}

/** A connection to a destination's daemon. What was begun there by it and not finished is dropped by that daemon when it closes. @throws what connecting throws */
export function openDestination(
  { host }: Pick<GuestCore, "host">,
  connectionUri: string,
  limits: LibvirtCallOptions,
): Promise<LibvirtClient> {
  const { clock, options } = host;
  return LibvirtClient.open(connectionUri, {
    clock,
    ...options.migration.connection,
    reconnect: false,
    ...limits,
  });
}

/** Has a daemon drop a domain that waits for a guest: the guest is given up in favour of its source, and whoever would have it run there is refused from then on. */
export async function dropWaiting(client: LibvirtClient, name: string, limits: LibvirtCallOptions): Promise<void> {
  // It answers with a refusal that says that this was done.
  await client
    .domainMigrateFinish3Params({ destination_name: name }, new Uint8Array(0), 1, { flags: ["live"], ...limits })
    .catch(() => undefined);
}

/**
 * Whether the destination has a guest that it was, or may have been, told to run. One that still waits there is dropped.
 * @throws what reaching the destination throws, DeadlineExceededError: then nobody knows
 */
export async function hasArrived(core: GuestCore, connectionUri: string): Promise<boolean> {
  const { host, definition } = core;
  const { clock, timeouts } = host;
  const deadline = Deadline.after(timeouts.arrivalMs, { operation: "asking the destination for the guest", clock });
  try {
    const client = await openDestination(core, connectionUri, { deadlineMs: timeouts.arrivalMs });
    try {
      const domain = client.handle("Domain", { name: definition.name, uuid: definition.uuid, id: -1 });
      const limits = { deadlineMs: timeouts.queryMs };
      for (;;) {
        const at = await lookAt(domain, limits);
        if (at !== "waiting") return at !== "absent";
        // Made permanent: the daemon is about to let it run.
        if (!(await isPermanent(domain, limits))) await dropWaiting(client, definition.name, limits);
        deadline.throwIfExpired();
        await deadline.race(clock.sleep(timeouts.progressMs));
      }
    } finally {
      await client.close();
    }
  } finally {
    deadline.dispose();
  }
}

async function isPermanent(domain: Domain, limits: LibvirtCallOptions): Promise<boolean> {
  try {
    return await domain.isPersistent(limits);
  } catch (error) {
    if (isLibvirtError(error, "domainNotFound")) return false;
    throw error;
  }
}
