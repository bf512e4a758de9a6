/** The QEMU process of a guest: our child, or one that an earlier driver process left running. */
import type { ChildProcess } from "node:child_process";
import { constants } from "node:fs";
import { open, readFile, readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { DeadlineExceededError, withDeadline } from "../core/index.js";
import type { Clock } from "../core/index.js";
import { GuestStuckError } from "../driver/index.js";
import { HostIoError, errnoName, killProcess, waitForExit } from "../host/index.js";
import type { ProcessIdentity } from "../host/index.js";
import type { ProcessEnd } from "./events.js";
import type { GuestFiles } from "./state/guest-files.js";

const LOG_TAIL_BYTES = 4_096;

export interface QemuProcessOptions {
  readonly identity: ProcessIdentity;
  readonly clock: Clock;
  /** QEMU's own log. */
  readonly log: string;
}

/** What the rest of this room needs of a process. */
export interface RunningProcess {
  readonly identity: ProcessIdentity;
  /** Resolves when the process is gone. Never rejects. */
  readonly ended: Promise<ProcessEnd>;
  readonly over: boolean;
  /** Its monitor has hung up, so that it is likely to end: look until it has, or `timeoutMs` have passed. */
  hungUp(timeoutMs: number): void;
  /** Ends the process the hard way and waits until it is gone. @throws GuestStuckError */
  kill(timeoutMs: number): Promise<void>;
  /** Waits until the process is gone. @throws DeadlineExceededError, AbortedError */
  waitEnded(timeoutMs: number, signal?: AbortSignal): Promise<void>;
}

export class QemuProcess implements RunningProcess {
  readonly identity: ProcessIdentity;
  readonly ended: Promise<ProcessEnd>;
  readonly #clock: Clock;
  readonly #isChild: boolean;
  #over = false;
  readonly #resolve: (exit: Pick<ProcessEnd, "exitCode" | "signal">) => void;

  private constructor({ identity, clock, log }: QemuProcessOptions, isChild: boolean) {
    this.identity = identity;
    this.#clock = clock;
    this.#isChild = isChild;
    let resolve: (exit: Pick<ProcessEnd, "exitCode" | "signal">) => void = () => undefined;
    const exited = new Promise<Pick<ProcessEnd, "exitCode" | "signal">>((settle) => (resolve = settle));
    this.#resolve = resolve;
    this.ended = exited.then(async (exit) => ({ ...exit, log: await tailOf(log) }));
  }

  /** A process that this one has started. Its end is an event. */
  static child(child: ChildProcess, options: QemuProcessOptions): QemuProcess {
    const process = new QemuProcess(options, true);
    const onExit = (code: number | null, signal: NodeJS.Signals | null): void => {
      process.#finish({ ...(code === null ? {} : { exitCode: code }), ...(signal === null ? {} : { signal }) });
    };
    if (child.exitCode !== null || child.signalCode !== null) onExit(child.exitCode, child.signalCode);
    else child.once("exit", onExit);
    return process;
  }

  /** A process that was found. Nothing tells of its end but its monitor, which hangs up: see {@link RunningProcess.hungUp}. */
  static found(options: QemuProcessOptions): QemuProcess {
    return new QemuProcess(options, false);
  }

  get over(): boolean {
    return this.#over;
  }

  hungUp(timeoutMs: number): void {
    if (!this.#isChild) this.#watchFor(timeoutMs).catch(() => undefined);
  }

  async kill(timeoutMs: number): Promise<void> {
    if (this.#over) return;
    await killProcess(this.identity, "SIGKILL");
    try {
      await this.waitEnded(timeoutMs);
    } catch (error) {
      if (!(error instanceof DeadlineExceededError)) throw error;
      throw new GuestStuckError("QEMU does not end although it was killed: it waits in the host's kernel", {
        cause: error,
      });
    }
  }

  async waitEnded(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    if (this.#over) return;
    // For a child /proc is not enough: its exit status comes with the event.
    const wait = (): Promise<unknown> => (this.#isChild ? this.ended : this.#watchFor(timeoutMs));
    await withDeadline(timeoutMs, { operation: "waiting for QEMU to end", clock: this.#clock, signal }, wait);
  }

  async #watchFor(timeoutMs: number): Promise<void> {
    await waitForExit(this.identity, { timeoutMs, clock: this.#clock });
    this.#finish({});
  }

  #finish(exit: Pick<ProcessEnd, "exitCode" | "signal">): void {
    this.#over = true;
    this.#resolve(exit);
  }
}

/** Removes what a QEMU that did not end in order leaves, and what would be in the way of the next. */
export async function removeSockets(files: GuestFiles): Promise<void> {
  const names = await readdir(files.directory).catch((): string[] => []);
  const sockets = names.filter((name) => name.endsWith(".sock")).map((name) => join(files.directory, name));
  for (const path of [...sockets, files.pid]) {
    await unlink(path).catch((error: unknown) => {
      if (errnoName(error) !== "ENOENT") throw new HostIoError({ operation: "removing a socket", path, cause: error });
    });
  }
}

/** What QEMU wrote last; empty when there is nothing to read. */
export async function tailOf(log: string): Promise<string> {
  try {
    const file = await open(log, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const { size } = await file.stat();
      const length = Math.min(size, LOG_TAIL_BYTES);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
      return buffer.subarray(0, bytesRead).toString("utf8").trim();
    } finally {
      await file.close();
    }
  } catch {
    return "";
  }
}

/**
 * Processes by the pid file that stands in their arguments, which no two guests share. Finds those too whose start was cut short before their pid
 * was noted.
 */
export async function findByPidFile(pidFiles: ReadonlySet<string>): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  if (pidFiles.size === 0) return found;
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const args = (await readFile(`/proc/${entry}/cmdline`, "utf8").catch(() => "")).split("\0");
    const pidFile = args[args.indexOf("-pidfile") + 1];
    if (args.includes("-pidfile") && pidFile !== undefined && pidFiles.has(pidFile)) found.set(pidFile, Number(entry));
  }
  return found;
}
