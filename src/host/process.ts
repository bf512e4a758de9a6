/** Processes that are not our children, told apart from later ones that got the same number. */
import { readFile } from "node:fs/promises";
import { Deadline, systemClock } from "../core/index.js";
import type { Clock } from "../core/index.js";
import { HostIoError, errnoName } from "./errors.js";
import { defaultHostTimeouts } from "./timeouts.js";
import type { HostTimeouts } from "./timeouts.js";

/** One process of this boot: its number, and when it began, which no other of that number shares. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks after the boot, as `/proc/PID/stat` has it. */
  readonly startTime: number;
}

/** What the kernel says of a process. */
export interface ProcessInfo extends ProcessIdentity {
  /** `R`, `S`, `D`, `T`, `Z`, … as `ps` shows it. */
  readonly state: string;
  readonly parentPid: number;
  /** False for what has ended and only waits to be reaped. */
  readonly alive: boolean;
}

/** How long and by which clock a process is waited for. */
export interface WaitForExitOptions {
  readonly signal?: AbortSignal | undefined;
  /** Default: 30,000. */
  readonly timeoutMs?: number | undefined;
  readonly clock?: Clock | undefined;
  readonly timeouts?: Partial<HostTimeouts> | undefined;
}

const DEAD_STATES = new Set(["Z", "X", "x"]);

/** What runs, or lies as a zombie, under a number; undefined when nothing does. @throws HostIoError. */
export async function readProcess(pid: number): Promise<ProcessInfo | undefined> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  try {
    return parseStat(pid, await readFile(`/proc/${pid}/stat`, "latin1"));
  } catch (error) {
    // ESRCH: it ended between opening and reading.
    if (["ENOENT", "ESRCH"].includes(errnoName(error) ?? "")) return undefined;
    throw new HostIoError({ operation: "looking at a process", path: `/proc/${pid}/stat`, cause: error });
  }
}

/** The identity of what lives under a number now; undefined when nothing does, or only a zombie. */
export async function identityOf(pid: number): Promise<ProcessIdentity | undefined> {
  const info = await readProcess(pid);
  return info?.alive === true ? { pid, startTime: info.startTime } : undefined;
}

/** Whether this very process lives. A zombie does not, nor another process that got its number. */
export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  const now = await identityOf(identity.pid);
  return now?.startTime === identity.startTime;
}

/**
 * Signals this very process; false when it is gone.
 * @throws HostIoError (`EPERM`) when it may not be signalled.
 */
export async function killProcess(identity: ProcessIdentity, signal: NodeJS.Signals): Promise<boolean> {
  if (!(await isAlive(identity))) return false;
  try {
    return process.kill(identity.pid, signal);
  } catch (error) {
    if (errnoName(error) === "ESRCH") return false;
    throw new HostIoError({ operation: `sending ${signal} to a process`, cause: error });
  }
}

/**
 * Resolves when this very process is gone (a zombie counts as gone). Node has no event for the end of a process that is not
 * its child, so `/proc` is looked at again and again, at pauses that grow from 5 to 250 ms; use a child's `exit` event for a child.
 * @throws DeadlineExceededError, AbortedError; the process is not touched.
 */
export async function waitForExit(identity: ProcessIdentity, options: WaitForExitOptions = {}): Promise<void> {
  const { clock = systemClock, signal } = options;
  const timeouts = { ...defaultHostTimeouts, ...options.timeouts };
  const operation = "waiting for a process to end";
  const deadline = Deadline.after(options.timeoutMs ?? timeouts.processExitMs, { operation, clock, signal });
  try {
    let pauseMs = timeouts.processWatchMinMs;
    while (await isAlive(identity)) {
      await clock.sleep(pauseMs, { signal: deadline.signal });
      pauseMs = Math.min(2 * pauseMs, timeouts.processWatchMaxMs);
    }
  } finally {
    deadline.dispose();
  }
}

/** The name of the program stands in parentheses and may hold anything, also parentheses. */
function parseStat(pid: number, stat: string): ProcessInfo | undefined {
  const [state, parentPid, ...rest] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const startTime = Number(rest[17]);
  if (state === undefined || !Number.isSafeInteger(startTime)) return undefined;
  return { pid, startTime, state, parentPid: Number(parentPid), alive: !DEAD_STATES.has(state) };
}
