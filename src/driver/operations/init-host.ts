/** `initHost`: connects to the host, settles what a former process left under way, and adopts the guests that run. */
import { Deadline, onAbort } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { adoptGuests, lookAtGuests } from "../adopt-guests.js";
import { asHyperviseError } from "../unexpected-error.js";
import { checkOptions } from "../operation-options.js";
import type { HostContext } from "../host-context.js";
import type { HypervisorFeature } from "../hypervisor-features.js";
import { isReadOnly, readRecordsAnew } from "../read-only.js";
import { recoverOperations } from "../recover-operations.js";
import type { RecoveryReport } from "../recovery-report.js";

const openings = new WeakMap<HostContext, Promise<RecoveryReport>>();

/** A call during another joins it. @throws HypervisorUnavailableError, ClosedError, DeadlineExceededError */
export async function initHost(host: HostContext, options?: CommonOptions): Promise<RecoveryReport> {
  host.lifecycle.assertOpenable();
  checkOptions(options);
  const running = openings.get(host);
  if (running !== undefined) return running;
  const stop = new AbortController();
  const opening = open(host, stop, options ?? {}).finally(() => openings.delete(host));
  openings.set(host, opening);
  return host.lifecycle.track({ stop: (reason) => stop.abort(reason) }, opening);
}

async function open(host: HostContext, stop: AbortController, options: CommonOptions): Promise<RecoveryReport> {
  const { lifecycle, timeouts, clock } = host;
  const forget = onAbort(options.signal, () => stop.abort(options.signal?.reason));
  const fresh = lifecycle.state === "new";
  const whole =
    options.deadline === undefined
      ? undefined
      : Deadline.after(options.deadline, { operation: "initHost", clock, signal: stop.signal });
  const signal = whole?.signal ?? stop.signal;
  try {
    if (fresh) await within(host, signal, timeouts.openMs, "opening the hypervisor", (limit) => connect(host, limit));
    const report = await within(host, signal, timeouts.recoveryMs, "recovering the host", () => recover(host, fresh));
    lifecycle.opened(featuresOf(host), isReadOnly(host.hypervisor));
    return report;
  } catch (error) {
    if (fresh) await host.hypervisor.close().catch(() => undefined);
    throw asHyperviseError(error);
  } finally {
    whole?.dispose();
    forget();
  }
}

/** Nobody has config drives where nobody makes them. */
function featuresOf({ hypervisor, collaborators }: HostContext): ReadonlySet<HypervisorFeature> {
  const { features } = hypervisor;
  if (collaborators.configDrives !== undefined) return features;
  return new Set([...features].filter((feature) => feature !== "configDrive"));
}

async function connect(host: HostContext, signal: AbortSignal): Promise<void> {
  const onEvent = host.events.receive.bind(host.events);
  const { secrets } = host.collaborators;
  await host.hypervisor.open({ clock: host.clock, onEvent, secrets }, { signal });
}

async function recover(host: HostContext, fresh: boolean): Promise<RecoveryReport> {
  if (isReadOnly(host.hypervisor)) {
    await readRecordsAnew(host);
    return { ...(await lookAtGuests(host)), operations: [] };
  }
  if (fresh) await host.records.load();
  const operations = await recoverOperations(host);
  return { ...(await adoptGuests(host)), operations };
}

async function within<T>(
  host: HostContext,
  signal: AbortSignal,
  limitMs: number,
  operation: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = Deadline.after(limitMs, { operation, clock: host.clock, signal });
  try {
    deadline.throwIfExpired();
    return await deadline.race(work(deadline.signal));
  } finally {
    deadline.dispose();
  }
}
