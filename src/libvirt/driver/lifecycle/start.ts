/** Bringing a defined guest into memory. */
import { abortErrorOf, isHyperviseError, onAbort, throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { GuestStartError, InvalidStateError, NoCapacityError } from "../../../driver/index.js";
import { LibvirtError, isLibvirtError } from "../../rpc/index.js";
import { settleLeftWork } from "../block/settle-work.js";
import { linkContainerFiles } from "../container-files.js";
import { asDriverError, asDriverErrors } from "../errors.js";
import type { GuestCore, GuestListener } from "../guest-core.js";
import { runsQemu } from "../host.js";
import { settleDevices } from "../hotplug/settle-devices.js";
import { provideSecrets, secretUsesOf } from "../secrets.js";
import { requireHere } from "../migration/guard.js";
import { defineDomain } from "./define.js";
import { observe, reconcile } from "./reconcile.js";
import { killGuest } from "./stop.js";

export interface StartOptions extends CommonOptions {
  readonly paused?: boolean;
}

/**
 * Starts a guest; resolves when it runs, or stands paused. `virDomainCreateWithFlags`.
 * @throws InvalidStateError when it is in memory; GuestStartError, NoCapacityError, HypervisorUnavailableError, AbortedError: then it is not
 */
export async function startGuest(core: GuestCore, options: StartOptions): Promise<void> {
  const { host, instance } = core;
  throwIfAborted(options.signal, "starting the guest");
  requireHere(core, "start");
  // What libvirt has not told yet, it is asked for.
  if (core.inMemory) await asDriverErrors({ operation: "start", instance }, () => reconcile(core));
  // libvirt would bring back the memory that it keeps.
  if (core.inMemory || core.powerState === "suspended")
    throw new InvalidStateError({
      operation: "start",
      state: core.powerState,
      expected: ["shutdown", "crashed"],
      instance,
    });
  // What it was being given, or asked to let go of, when it ended, it does not start with.
  if (core.state.unsettled !== undefined)
    await asDriverErrors({ operation: "start", instance }, () => settleDevices(core));
  await settleLeftWork(core);
  core.see({ starting: true, startTold: false });
  const listener = core.listen();
  try {
    await provideSecrets(host, instance.uuid, secretUsesOf(core.definition.disks.map(({ source }) => source)), options);
    await host.mediated.claim(core);
    if (host.options.virtType === "lxc") await linkContainerFiles(core.definition, core.files);
    if (await host.serialPorts.renew(core)) await defineDomain(core);
    else await defineWhereMissing(core);
    await create(core, options);
    await hearOfStart(core, listener);
    const startedAt = host.clock.now();
    await core.update((state) => ({ ...state, startedAt }));
  } catch (error) {
    await killGuest(core, {}).catch(() => undefined);
    throw explain(core, error);
  } finally {
    listener.close();
    core.see({ starting: false });
  }
  core.emit({
    type: "lifecycle",
    transition: "started",
    cause: "self",
    ...(options.paused === true ? { detail: "paused" } : {}),
  });
}

/** libvirt tells of a start before or after it answers; told later, it would be news of another start. */
export async function hearOfStart(core: GuestCore, listener: GuestListener): Promise<void> {
  const told = (): true | undefined => (core.view.startTold === true ? true : undefined);
  await listener
    .until(told, { operation: "waiting for the news of a start", deadlineMs: core.host.timeouts.queryMs })
    .catch((error: unknown) => {
      if (!isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
    });
}

/** Somebody else on the host may have undefined it. */
async function defineWhereMissing(core: GuestCore): Promise<void> {
  await observe(core).catch(async (error: unknown) => {
    if (!isLibvirtError(error, "domainNotFound")) throw error;
    await defineDomain(core);
  });
}

async function create(core: GuestCore, options: StartOptions): Promise<void> {
  const { host, domain } = core;
  const paused = options.paused === true;
  const { signal, deadlineMs } = core.limits(options, host.timeouts.startMs);
  const flags = runsQemu(host) && paused ? (["startPaused"] as const) : [];
  const creating = domain.createWithFlags({ flags, deadlineMs });
  // A call that has left can't be taken back; but a domain that is killed does not start.
  const forget = onAbort(signal, () => void killDomain(core));
  try {
    await creating;
  } catch (error) {
    if (signal?.aborted === true) throw abortErrorOf(signal, "starting the guest");
    throw error;
  } finally {
    forget();
  }
  throwIfAborted(signal, "starting the guest");
  if (paused && !runsQemu(host)) await domain.suspend({ deadlineMs });
  await observe(core);
}

async function killDomain({ domain, host }: GuestCore): Promise<void> {
  await domain.destroyFlags({ deadlineMs: host.timeouts.killMs }).catch(() => undefined);
}

function explain(core: GuestCore, thrown: unknown): Error {
  const { instance } = core;
  const error = asDriverError(thrown, { operation: "start", instance });
  if (!(error instanceof LibvirtError)) return error;
  const context = { instance, cause: error, ...(error.detail === undefined ? {} : { detail: error.detail }) };
  if (error.errno === "ENOMEM") return new NoCapacityError("the host has not the memory for the guest", context);
  return new GuestStartError("libvirt did not start the guest", context);
}
