/** The process of a command, in a process group of its own, from its start until it is gone. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { stat } from "node:fs/promises";
import type { Clock, SecretLike, TimerHandle } from "../core/index.js";
import { CommandNotFoundError, HostIoError, errnoName } from "./errors.js";
import type { HostTimeouts } from "./timeouts.js";

/** How a command ended: one of the two is there. */
export interface CommandExit {
  readonly exitCode?: number;
  readonly signal?: string;
}

/** A command that has started. */
export interface CommandProcess {
  readonly process: ChildProcess;
  /** Also the id of its process group. */
  readonly pid: number;
  /** Resolves when it has ended and is no zombie. */
  readonly exited: Promise<CommandExit>;
}

/** How to start it. */
export interface StartOptions {
  readonly input?: string | Buffer | undefined;
  readonly env?: { readonly [name: string]: string } | undefined;
  readonly cwd?: string | undefined;
  readonly secrets?: readonly SecretLike[] | undefined;
}

const SYSTEM_PATH: readonly string[] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/**
 * Starts a command.
 * @throws CommandNotFoundError; HostIoError when it, or its working directory, can't be used.
 */
export async function startProcess(
  argv: readonly [string, ...string[]],
  options: StartOptions,
): Promise<CommandProcess> {
  const [file, ...args] = argv;
  try {
    const child = spawn(file, args, {
      detached: true,
      shell: false,
      stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
      env: environment(options.env),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    const exited = new Promise<CommandExit>((resolve) => {
      child.once("exit", (code, signal) =>
        resolve(code === null ? { signal: signal ?? "unknown" } : { exitCode: code }),
      );
    });
    const pid = await started(child);
    return { process: child, pid, exited };
  } catch (error) {
    throw await startFailure(error, argv, options);
  }
}

/** The name by which an error speaks of a command. */
export function programName(argv: readonly string[]): string {
  const file = argv[0] ?? "";
  return file.slice(file.lastIndexOf("/") + 1);
}

/**
 * Ends a command and all that is in its process group: SIGTERM, and SIGKILL when its first process is gone or the grace is
 * over. Resolves when that process is gone, or can't be killed because the kernel holds it.
 */
export async function stopGroup(child: CommandProcess, clock: Clock, timeouts: HostTimeouts): Promise<void> {
  signalGroup(child.pid, "SIGTERM");
  await waitAtMost(child.exited, clock, timeouts.commandKillGraceMs);
  signalGroup(child.pid, "SIGKILL");
  await waitAtMost(child.exited, clock, timeouts.commandReapMs);
  child.process.unref();
}

function started(child: ChildProcess): Promise<number> {
  return new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("spawn", () => {
      child.on("error", () => undefined);
      resolve(child.pid ?? 0);
    });
  });
}

async function startFailure(error: unknown, argv: readonly string[], options: StartOptions): Promise<Error> {
  const { cwd, secrets } = options;
  if (cwd !== undefined && !(await isDirectory(cwd))) {
    return new HostIoError({
      operation: "entering the working directory of a command",
      path: cwd,
      secrets,
      cause: error,
    });
  }
  if (errnoName(error) === "ENOENT") return new CommandNotFoundError(argv[0] ?? "", { secrets, cause: error });
  return new HostIoError({ operation: `starting ${programName(argv)}`, path: argv[0], secrets, cause: error });
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}

function environment(added: { readonly [name: string]: string } | undefined): NodeJS.ProcessEnv {
  const path = (process.env["PATH"] ?? "").split(":").filter((part) => part !== "");
  const missing = SYSTEM_PATH.filter((part) => !path.includes(part));
  return { ...process.env, PATH: [...path, ...missing].join(":"), LC_ALL: "C", ...added };
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    if (pid > 1) process.kill(-pid, signal);
  } catch {
    // The group is gone, which is what was wanted.
  }
}

async function waitAtMost(event: Promise<unknown>, clock: Clock, ms: number): Promise<void> {
  let timer: TimerHandle | undefined;
  const late = new Promise<void>((resolve) => (timer = clock.setTimeout(resolve, ms)));
  await Promise.race([event, late]);
  timer?.cancel();
}
