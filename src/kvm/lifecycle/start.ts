/** Bringing a guest into memory. All or nothing: when it fails, QEMU is gone and the guest is as it was. */
import { statfs } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { Deadline, DeadlineExceededError, abortErrorOf, isHyperviseError, withRollback } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { GuestCrashedError, GuestStartError, InvalidStateError } from "../../driver/index.js";
import { QmpError } from "../../qmp/index.js";
import { DiskFullError } from "../../storage/index.js";
import { trimConsoleLog } from "../console/console-log.js";
import { watchConsoleLog } from "../console/console-watch.js";
import type { GuestCore } from "../guest-core.js";
import { guestListener } from "../guest-listener.js";
import { launchQemu } from "../launch.js";
import { planCommandLine } from "../plan/command-line.js";
import type { CommandLine } from "../plan/command-line.js";
import { planHardware } from "../plan/hardware.js";
import type { Hardware } from "../plan/hardware.js";
import { removeSockets, tailOf } from "../process.js";
import type { RunningProcess } from "../process.js";
import type { GuestSession } from "../session.js";
import { withProcess, withoutProcess } from "../state/state-changes.js";

export interface StartOptions extends CommonOptions {
  readonly paused?: boolean;
}

/**
 * Starts a guest that is not in memory; resolves when it runs, or stands paused.
 * @throws InvalidStateError when it is in memory; GuestStartError when QEMU does not come up, with its own words in `detail`;
 * HypervisorUnavailableError when the binary is gone; NoFreeSlotError; DiskFullError; AbortedError, DeadlineExceededError
 */
export async function startGuest(core: GuestCore, options: StartOptions): Promise<void> {
  if (core.inMemory) {
    throw new InvalidStateError({
      operation: "start",
      state: core.powerState,
      expected: ["shutdown", "crashed"],
      instance: core.instance,
    });
  }
  core.starting = true;
  const { startMs } = core.host.timeouts;
  const limitMs = Math.min(options.deadline ?? startMs, startMs);
  const deadline = Deadline.after(limitMs, {
    operation: "starting QEMU",
    clock: core.host.clock,
    signal: options.signal,
  });
  try {
    await bringUp(core, options.paused === true, deadline);
  } catch (error) {
    const explained = await explain(core, error, options, startMs);
    throw isHyperviseError(explained) ? explained.withContext({ instance: core.instance }) : explained;
  } finally {
    deadline.dispose();
    core.starting = false;
  }
}

/** The command line and the slots with which a guest would be started. Pure. */
export function planStart(core: GuestCore): { readonly hardware: Hardware; readonly commandLine: CommandLine } {
  const { host, definition, state, files } = core;
  const { machine, machineType } = state.hardware;
  const hardware = planHardware(definition, machine, { machineType, hotplugPorts: host.hotplugPorts }, state.hardware);
  const { capabilities, accelerator, cpuModel, network } = host;
  return {
    hardware,
    commandLine: planCommandLine({
      definition,
      hardware,
      capabilities,
      accelerator,
      cpuModel,
      network,
      pidFile: files.pid,
    }),
  };
}

async function bringUp(core: GuestCore, paused: boolean, deadline: Deadline): Promise<void> {
  const { host, files, definition } = core;
  const { hardware, commandLine } = planStart(core);
  const startedAt = host.clock.now();
  await withRollback(async (undo) => {
    deadline.throwIfExpired();
    // Whoever finds QEMU must know which of its devices is which. The process itself shows by its arguments whose it is.
    if (!isDeepStrictEqual(hardware, core.state.hardware)) await core.update((state) => ({ ...state, hardware }));
    await trimConsoleLog(core);
    undo.defer("sockets", () => removeSockets(files));
    deadline.throwIfExpired();
    const { process, monitor } = await launchQemu({
      binary: host.binary,
      commandLine,
      files,
      nics: definition.nics,
      openTap: host.openTap,
      clock: host.clock,
    });
    undo.defer("QEMU", () => drop(core, process));
    const session = core.follow(process, guestListener(core));
    await session.connectStream(monitor, { signal: deadline.signal, deadlineMs: Math.max(1, deadline.remainingMs) });
    core.whileInMemory(watchConsoleLog(core));
    await (paused ? standReady(core, session) : run(session, deadline));
    const { pid, startTime } = process.identity;
    const record = { bootId: host.bootId, pid, startTime, startedAt, accelerator: host.accelerator };
    undo.defer("record of the process", () => core.update(withoutProcess));
    await core.update((state) => withProcess(state, { ...record, state: session.view.state }));
    if (process.over) throw new GuestCrashedError("QEMU ended while it was being started", { instance: core.instance });
    // From this moment on its end is an event.
    core.starting = false;
  });
}

async function run(session: GuestSession, deadline: Deadline): Promise<void> {
  const limits = { signal: deadline.signal, deadlineMs: Math.max(1, deadline.remainingMs) };
  await session.requesting("cont", () => session.execute("cont", {}, limits));
  await session.until((view) => view.launched, "starting the vCPUs", limits);
}

async function standReady(core: GuestCore, session: GuestSession): Promise<void> {
  session.markLaunched();
  core.emit({ type: "lifecycle", transition: "started", cause: "self", detail: "paused" });
}

/** Ends QEMU without telling: a guest whose start failed was never there. */
async function drop(core: GuestCore, process: RunningProcess): Promise<void> {
  const launched = core.session?.view.launched === true;
  await core.release();
  await process.kill(core.host.timeouts.killMs);
  if (launched) core.emit({ type: "lifecycle", transition: "stopped", cause: "self", detail: "the start was undone" });
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
  const words = await tailOf(core.files.log);
  if (await isFull(core.files.directory)) {
    return new DiskFullError("the file system of the state directory is full", {
      instance: core.instance,
      cause: error,
    });
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
