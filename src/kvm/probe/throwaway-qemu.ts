/** A QEMU that is started to be asked something and ended at once: no files, no guest of anybody's. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import type { Duplex } from "node:stream";
import { Deadline, withDeadline } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import { HypervisorUnavailableError } from "../../driver/index.js";
import { QmpClient } from "../../qmp/index.js";
import type { Credentials } from "../access/credentials.js";
import { qemuEnvironment, spawnFailed } from "../binary.js";
import type { ProcessEnd } from "../events.js";

const MAX_STDERR = 16_384;
const LAST_WORDS_MS = 1_000;

export interface ThrowawayQemu {
  readonly monitor: QmpClient;
  /** Never rejects. */
  readonly ended: Promise<ProcessEnd>;
}

export interface ThrowawayOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly operation: string;
  readonly signal?: AbortSignal | undefined;
  /** Whom the binary runs as; default: this process's own user. */
  readonly user?: Credentials | undefined;
}

/**
 * Starts QEMU with a monitor of our own, hands it to `use`, and kills it afterwards, however `use` ends. When it resolves or rejects the process is gone.
 * @throws HypervisorUnavailableError when QEMU can't be started or ends before its monitor answers
 * @throws DeadlineExceededError, AbortedError; whatever `use` throws
 */
export async function withThrowawayQemu<T>(
  binary: string,
  args: readonly string[],
  options: ThrowawayOptions,
  use: (qemu: ThrowawayQemu, deadline: Deadline) => Promise<T>,
): Promise<T> {
  const { clock, timeoutMs, operation, signal, user } = options;
  const deadline = Deadline.after(timeoutMs, { clock, operation, signal });
  const child = spawn(binary, ["-nodefaults", "-no-user-config", "-display", "none", ...args, ...MONITOR], {
    stdio: ["ignore", "ignore", "pipe", "pipe"],
    env: qemuEnvironment(),
    cwd: "/",
    // A group of its own: the binary may be a script that starts others.
    detached: true,
    ...user,
  });
  const { started, ended } = watch(child);
  try {
    await deadline.race(started).catch((error: unknown) => {
      throw deadline.expired ? error : spawnFailed(binary, error);
    });
    const stream = child.stdio[3] as Duplex;
    const connection = { clock, signal: deadline.signal, deadlineMs: timeoutMs, timeouts: { greetingMs: timeoutMs } };
    const monitor = await QmpClient.open({ stream, description: "monitor of a probe" }, connection).catch(
      async (error: unknown) => {
        throw deadline.expired ? error : await unanswered(error, ended, binary, clock);
      },
    );
    try {
      return await deadline.race(use({ monitor, ended }, deadline));
    } finally {
      await monitor.close();
    }
  } finally {
    deadline.dispose();
    killGroup(child);
    await ended;
  }
}

const MONITOR = ["-chardev", "socket,id=monitor,fd=3", "-mon", "chardev=monitor,mode=control"] as const;

/** A QEMU that refuses its arguments hangs up first and ends a moment later; why, it says on its standard error. */
async function unanswered(
  error: unknown,
  ended: Promise<ProcessEnd>,
  binary: string,
  clock: Clock,
): Promise<HypervisorUnavailableError> {
  const options = { operation: "waiting for QEMU to end", clock };
  const end = await withDeadline(LAST_WORDS_MS, options, () => ended).catch((): ProcessEnd => ({}));
  const log = end.log ?? "";
  return new HypervisorUnavailableError("QEMU did not answer when it was asked what it can do", {
    cause: error,
    detail: log === "" ? binary : `${binary}: ${log}`,
  });
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    // Nobody of the group lives any more.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function watch(child: ChildProcess): { readonly started: Promise<void>; readonly ended: Promise<ProcessEnd> } {
  let log = "";
  child.stderr?.setEncoding("utf8");
  child.stderr?.on("data", (chunk: string) => (log = (log + chunk).slice(-MAX_STDERR)));
  const started = new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  started.catch(() => undefined);
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once("error", () => resolve({}));
    child.once("close", (code, signal) => {
      resolve({
        log: log.trim(),
        ...(code === null ? {} : { exitCode: code }),
        ...(signal === null ? {} : { signal }),
      });
    });
  });
  return { started, ended };
}
