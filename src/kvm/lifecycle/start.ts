/** Bringing a guest into memory. All or nothing: when it fails, QEMU is gone and the guest is as it was. */
import { statfs } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { Deadline, DeadlineExceededError, abortErrorOf, isHyperviseError, withRollback } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { GuestCrashedError, GuestStartError, InvalidStateError } from "../../driver/index.js";
import { QmpError } from "../../qmp/index.js";
import type { QmpWaitOptions } from "../../qmp/index.js";
import type { GuestView } from "../events.js";
import { DiskFullError } from "../../storage/index.js";
import { disksThroughPageCache } from "../block/direct-io.js";
import { prepareDisks } from "../block/prepare.js";
import { trimConsoleLog } from "../console/console-log.js";
import { watchConsoleLog } from "../console/console-watch.js";
import type { GuestCore } from "../guest-core.js";
import { guestListener } from "../guest-listener.js";
import { grantDefinition, revokeGuest } from "../access/grant-access.js";
import { launchQemu } from "../launch.js";
import { requireHere } from "../migration/guard.js";
import { FIRST_DESCRIPTOR } from "../plan/command-line.js";
import type { CommandLine } from "../plan/command-line.js";
import { freeSpicePort } from "../console/free-port.js";
import { prepareVariables } from "../firmware/variables.js";
import { needsHelpers } from "../plan/helper-plan.js";
import { endGuestHelpers } from "../helpers/guest-helpers.js";
import { planHardware } from "../plan/hardware.js";
import { planOnHost } from "../plan-on-host.js";
import type { PlanOptions, PlannedGuest } from "../plan-on-host.js";
import { removeSockets, tailOf } from "../process.js";
import type { RunningProcess } from "../process.js";
import type { GuestSession } from "../session.js";
import type { GuestState } from "../state/guest-state.js";
import { openDiskSecrets, refusedKey } from "./disk-secrets.js";
import { tuneGuest } from "./tune.js";
import { withMigration, withProcess, withSavedMemory, withoutProcess } from "../state/state-changes.js";

export interface StartOptions extends CommonOptions {
  readonly paused?: boolean;
}

/** How a guest comes into memory other than by booting: from a file, or from another host. */
export interface Arrival {
  /** Open descriptors that QEMU inherits. */
  readonly inherited: readonly number[];
  /**
   * Has QEMU, which has no guest yet, receive one, or makes it ready to. `descriptors` are the numbers of `inherited` in QEMU. When it rejects, QEMU is ended and the guest is
   * as before.
   */
  readonly receive: (session: GuestSession, descriptors: readonly number[], limits: QmpWaitOptions) => Promise<void>;
  /** The guest's state from when it was received, written before its vCPUs may run: from then on nothing is undone. */
  readonly received: (state: GuestState) => GuestState;
  /** Whether the vCPUs are to run then. */
  readonly run: boolean;
  /** True for a guest that has never run itself: its vCPUs' running is its start. */
  readonly fresh?: boolean;
  /** Longest time for all of it, milliseconds. */
  readonly limitMs: number;
}

/**
 * Starts a guest that is not in memory; resolves when it runs, or stands paused.
 * @throws InvalidStateError when it is in memory; GuestStartError when QEMU does not come up, with its own words in `detail`;
 * HypervisorUnavailableError when the binary is gone; NoFreeSlotError; DiskFullError; AbortedError, DeadlineExceededError
 */
export async function startGuest(core: GuestCore, options: StartOptions): Promise<void> {
  requireHere(core, "start");
  await bringIntoMemory(core, options, core.host.timeouts.startMs, (deadline) =>
    bringUp(core, options.paused === true, deadline),
  );
}

/**
 * Brings a guest that is not in memory there by other means than booting.
 * @throws as {@link startGuest}
 */
export async function receiveGuest(core: GuestCore, arrival: Arrival, options: CommonOptions): Promise<void> {
  await bringIntoMemory(core, options, arrival.limitMs, (deadline) => bringUp(core, false, deadline, arrival));
}

async function bringIntoMemory(
  core: GuestCore,
  options: CommonOptions,
  mostMs: number,
  work: (deadline: Deadline) => Promise<void>,
): Promise<void> {
  await core.ending;
  if (core.inMemory) {
    throw new InvalidStateError({
      operation: "start",
      state: core.powerState,
      expected: ["shutdown", "crashed"],
      instance: core.instance,
    });
  }
  core.starting = true;
  const limitMs = Math.min(options.deadline ?? mostMs, mostMs);
  const deadline = Deadline.after(limitMs, {
    operation: "starting QEMU",
    clock: core.host.clock,
    signal: options.signal,
  });
  try {
    await work(deadline);
  } catch (error) {
    const explained = await explain(core, error, options, mostMs);
    throw isHyperviseError(explained) ? explained.withContext({ instance: core.instance }) : explained;
  } finally {
    deadline.dispose();
    core.starting = false;
  }
}

/** The command line and the slots with which a guest would be started. A guest that comes from elsewhere has the slots that it had there. Pure. */
export function planStart(
  core: GuestCore,
  slots: "anew" | "kept" = "anew",
  facts: Omit<PlanOptions, "arriving"> = {},
): PlannedGuest {
  const { host, definition, state } = core;
  const { machine, machineType } = state.hardware;
  const hardware =
    slots === "kept"
      ? state.hardware
      : planHardware(definition, machine, { machineType, hotplugPorts: host.hotplugPorts }, state.hardware);
  return planOnHost(host, definition, hardware, { ...facts, arriving: slots === "kept" });
}

async function bringUp(core: GuestCore, paused: boolean, deadline: Deadline, arrival?: Arrival): Promise<void> {
  const { host, files, definition } = core;
  const spicePort = await freeSpicePort(definition.hardware?.spice);
  const throughPageCache = await disksThroughPageCache(definition.disks);
  const slots = arrival === undefined ? "anew" : "kept";
  const { hardware, commandLine } = planStart(core, slots, { spicePort, throughPageCache });
  const startedAt = host.clock.now();
  await withRollback(async (undo) => {
    deadline.throwIfExpired();
    const { firmware } = hardware;
    if (firmware !== undefined) await prepareVariables(files, firmware, core.state.hardware.firmware, host.access.user);
    // Whoever finds QEMU must know which of its devices is which. The process itself shows by its arguments whose it is.
    if (!isDeepStrictEqual(hardware, core.state.hardware)) await core.update((state) => ({ ...state, hardware }));
    await trimConsoleLog(core);
    await endGuestHelpers(core);
    undo.defer("processes beside QEMU", () => endGuestHelpers(core));
    undo.defer("sockets", () => removeSockets(files));
    undo.defer("access to the host's files", () => revokeGuest(core));
    await grantDefinition(core, definition);
    deadline.throwIfExpired();
    const secrets = await openDiskSecrets(core, commandLine);
    undo.defer("secrets", secrets.wipe);
    const { process, monitor } = await launchQemu({
      binary: host.binary,
      commandLine: arrival === undefined ? commandLine : withIncoming(commandLine),
      files,
      nics: definition.nics,
      openTap: host.openTap,
      clock: host.clock,
      inherited: arrival?.inherited ?? [],
      secrets: secrets.files,
      user: host.access.user,
    });
    undo.defer("QEMU", () => (arrival === undefined ? drop(core, process) : dropQuietly(core, process)));
    const session = core.follow(process, guestListener(core));
    await session.connectStream(monitor, { signal: deadline.signal, deadlineMs: Math.max(1, deadline.remainingMs) });
    // QEMU reads them before it opens its monitors.
    secrets.wipe();
    core.whileInMemory(watchConsoleLog(core));
    await prepareDisks(core, session, arrival !== undefined);
    await tuneGuest(core, session, { signal: deadline.signal, deadlineMs: Math.max(1, deadline.remainingMs) });
    if (arrival !== undefined) await receive(session, arrival, commandLine, deadline);
    else await (paused ? standReady(core, session) : run(session, deadline));
    const { pid, startTime } = process.identity;
    const record = { bootId: host.bootId, pid, startTime, startedAt, accelerator: host.accelerator };
    const { state: former } = core;
    undo.defer("record of the process", () => core.update((state) => asBefore(state, former)));
    await core.update((state) => {
      const known = withProcess(state, { ...record, state: session.view.state });
      return arrival === undefined ? known : arrival.received(known);
    });
    if (process.over) throw new GuestCrashedError("QEMU ended while it was being started", { instance: core.instance });
    // From this moment on its end is an event.
    core.starting = false;
  });
  if (arrival?.run === true && core.session !== undefined) await run(core.session, deadline, "running");
}

/** QEMU begins with no guest, and is told later where one comes from. */
function withIncoming(commandLine: CommandLine): CommandLine {
  return { ...commandLine, args: [...commandLine.args, "-incoming", "defer"] };
}

async function receive(
  session: GuestSession,
  arrival: Arrival,
  { descriptors }: CommandLine,
  deadline: Deadline,
): Promise<void> {
  if (arrival.fresh !== true) session.markLaunched();
  const first = FIRST_DESCRIPTOR + descriptors.length;
  const limits = { signal: deadline.signal, deadlineMs: Math.max(1, deadline.remainingMs) };
  await arrival.receive(
    session,
    arrival.inherited.map((_, index) => first + index),
    limits,
  );
}

/** What a start that failed has changed of the state, taken back. */
function asBefore(state: GuestState, { saved, migration }: GuestState): GuestState {
  return withSavedMemory(withMigration(withoutProcess(state), migration), saved);
}

async function run(
  session: GuestSession,
  deadline: Deadline,
  until: "launched" | "running" = "launched",
): Promise<void> {
  const limits = { signal: deadline.signal, deadlineMs: Math.max(1, deadline.remainingMs) };
  await session.requesting("cont", () => session.execute("cont", {}, limits));
  const runs = (view: GuestView): boolean => (until === "launched" ? view.launched : view.state === "running");
  await session.until(runs, "starting the vCPUs", limits);
}

async function standReady(core: GuestCore, session: GuestSession): Promise<void> {
  session.markLaunched();
  core.emit({ type: "lifecycle", transition: "started", cause: "self", detail: "paused" });
}

/** Ends QEMU without telling: a guest whose start failed was never there. */
async function drop(core: GuestCore, process: RunningProcess): Promise<void> {
  const launched = core.session?.view.launched === true;
  await dropQuietly(core, process);
  if (launched) core.emit({ type: "lifecycle", transition: "stopped", cause: "self", detail: "the start was undone" });
}

async function dropQuietly(core: GuestCore, process: RunningProcess): Promise<void> {
  await core.release();
  await process.kill(core.host.timeouts.killMs);
}

async function explain(
  core: GuestCore,
  error: unknown,
  { signal, deadline }: StartOptions,
  startMs: number,
): Promise<unknown> {
  if (signal?.aborted === true) return abortErrorOf(signal, "starting the guest");
  const late = error instanceof DeadlineExceededError;
  if (late && deadline !== undefined && deadline < startMs) return error;
  if (!late && !(error instanceof QmpError) && !(error instanceof GuestCrashedError)) return error;
  const logs = needsHelpers(core.definition) ? [core.files.log, core.files.helperLog] : [core.files.log];
  const words = (await Promise.all(logs.map(tailOf))).filter((tail) => tail !== "").join("\n");
  if (await isFull(core.files.directory)) {
    return new DiskFullError("the file system of the state directory is full", {
      instance: core.instance,
      cause: error,
    });
  }
  const refused = late ? undefined : await refusedKey(core);
  if (refused !== undefined) {
    refused.attachUndoErrors(error.undoErrors);
    return refused;
  }
  const started = new GuestStartError(late ? "QEMU did not come up in time" : "QEMU did not start the guest", {
    instance: core.instance,
    retryable: late,
    cause: error,
    ...(words === "" ? {} : { detail: words }),
  });
  started.attachUndoErrors(error.undoErrors);
  return started;
}

/** QEMU, which has files to make there, says only that it failed. */
async function isFull(directory: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize < 4_096;
}
