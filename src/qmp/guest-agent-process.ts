/** A program that runs in the guest, its output read while it runs. */
import { Readable } from "node:stream";
import { asError, HyperviseError } from "../core/index.js";
import type { Clock, Deadline } from "../core/index.js";
import type { QmpWaitOptions } from "./client-options.js";
import { QmpProtocolError } from "./errors.js";
import type { GuestExecOptions, GuestExecResult } from "./guest-agent-options.js";
import type { GuestFileCommands } from "./guest-agent-files.js";
import type * as Qga from "./generated/qga.gen.js";
import type { Int64 } from "./qmp-value.js";

/** A program that was started in the guest. */
export interface GuestProcess {
  /** Its output as it comes, a few tenths of a second late. What is not read holds up nobody: it waits in a file of the guest. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** How it ended, once both streams were read to their ends or destroyed. Rejects with what ended the watching. */
  readonly exited: Promise<GuestExit>;
  /** Sends it a signal, by the guest's `kill`; resolves when that was done. Success when it has ended. */
  kill(signal?: "SIGTERM" | "SIGKILL" | "SIGINT" | "SIGHUP"): Promise<void>;
}

/** As in {@link GuestExecResult}. */
export type GuestExit = Pick<GuestExecResult, "exitCode" | "signal">;

/** What is needed of the client. */
export interface GuestProcessCommands {
  run(path: string, args: readonly string[], options: QmpWaitOptions): Promise<GuestExecResult>;
  start(args: Qga.GuestCommands["guest-exec"]["arguments"], options: QmpWaitOptions): Promise<Qga.GuestExec>;
  status(pid: Int64, options: QmpWaitOptions): Promise<Qga.GuestExecStatus>;
  readonly files: GuestFileCommands;
}

export interface GuestProcessContext {
  readonly commands: GuestProcessCommands;
  readonly clock: Clock;
  readonly pollMinMs: number;
  readonly pollMaxMs: number;
  readonly deadline: Deadline;
  /** What one more command may take when the deadline is over, in milliseconds. */
  readonly lastMs: number;
  readonly input: string | undefined;
}

const SHELL = "/bin/sh";
const PREPARE = 'umask 077; d=$(mktemp -d) && : >"$d/out" && : >"$d/err" && printf %s "$d"';
const RUN = 'd=$1; shift; exec "$@" >"$d/out" 2>"$d/err"';
const CHUNK_BYTES = 128 * 1024;
const SIGNALS = { SIGTERM: "TERM", SIGKILL: "KILL", SIGINT: "INT", SIGHUP: "HUP" } as const;

/** One output of the program: a file of the guest that is read as far as it goes. */
class Output {
  readonly handle: Int64;
  readonly stream: Readable;
  #wanted = false;

  constructor(handle: Int64, wake: () => void) {
    this.handle = handle;
    this.stream = new Readable({
      read: () => {
        this.#wanted = true;
        wake();
      },
    });
    // Whoever reads only one of the two is not to die of the other.
    this.stream.on("error", () => undefined);
  }

  get wanted(): boolean {
    return this.#wanted && !this.stream.destroyed;
  }

  push(bytes: Buffer): void {
    if (!this.stream.destroyed) this.#wanted = this.stream.push(bytes);
  }
}

/** Starts a program; `GuestAgentClient.start` has the contract. */
export async function startGuestProcess(
  path: string,
  { args = [], env }: Pick<GuestExecOptions, "args" | "env">,
  context: GuestProcessContext,
): Promise<GuestProcess> {
  const { commands, input } = context;
  const directory = await prepare(context);
  const opened: Int64[] = [];
  let pid: Int64;
  let outputs: readonly [Output, Output];
  const pump = { wake: (): void => undefined };
  try {
    const open = async (name: string): Promise<Output> => {
      const handle = await commands.files.open(`${directory}/${name}`, "r", waitOf(context));
      opened.push(handle);
      return new Output(handle, () => pump.wake());
    };
    outputs = [await open("out"), await open("err")];
    const arg = ["-c", RUN, "sh", directory, path, ...args];
    ({ pid } = await commands.start({ path: SHELL, arg, env, "input-data": input }, waitOf(context)));
  } catch (error) {
    await windUp(context, directory, opened);
    throw error;
  }
  const exited = follow(context, pid, outputs, pump)
    .catch((error: unknown) => {
      for (const { stream } of outputs) stream.destroy(asError(error));
      throw error;
    })
    .finally(async () => {
      await windUp(context, directory, opened);
      for (const { stream } of outputs) stream.push(null);
    });
  exited.catch(() => undefined);
  let ended = false;
  void exited.then(
    () => (ended = true),
    () => undefined,
  );
  return {
    stdout: outputs[0].stream,
    stderr: outputs[1].stream,
    exited,
    async kill(signal = "SIGTERM") {
      if (!ended) await commands.run(SHELL, ["-c", `kill -${SIGNALS[signal]} "$1" || :`, "sh", String(pid)], {});
    },
  };
}

async function prepare(context: GuestProcessContext): Promise<string> {
  const { exitCode, stdout, stderr } = await context.commands.run(SHELL, ["-c", PREPARE], waitOf(context));
  const directory = stdout.toString();
  if (exitCode !== 0) {
    throw new HyperviseError("the guest gave no directory for the program's output", {
      code: "GUEST_EXEC_FAILED",
      detail: stderr.toString().slice(-1_024),
    });
  }
  if (!/^\/[\x20-\x7e]{1,255}$/.test(directory))
    throw new QmpProtocolError("the guest's directory for output has no name that can be", { fault: "bad-reply" });
  return directory;
}

/** Reads whatever is asked for as far as it goes, until the program has ended and all of it was read. */
async function follow(
  context: GuestProcessContext,
  pid: Int64,
  outputs: readonly Output[],
  pump: { wake: () => void },
): Promise<GuestExit> {
  const { commands, clock, pollMinMs, pollMaxMs, deadline } = context;
  const unfinished = new Set(outputs);
  let exit: GuestExit | undefined;
  let pauseMs = pollMinMs;
  for (;;) {
    let read = false;
    // Asked before the files are read: what a program that has ended has written is there.
    if (exit === undefined) exit = exitOf(await commands.status(pid, waitOf(context)));
    const over = exit !== undefined;
    for (const output of unfinished) {
      if (output.stream.destroyed) unfinished.delete(output);
      if (!output.wanted) continue;
      const { "buf-b64": base64 } = await commands.files.read(output.handle, CHUNK_BYTES, waitOf(context));
      const bytes = Buffer.from(base64, "base64");
      if (bytes.length > 0) output.push(bytes);
      else if (over) unfinished.delete(output);
      read ||= bytes.length > 0;
    }
    if (exit !== undefined && unfinished.size === 0) return exit;
    if (read) pauseMs = pollMinMs;
    else if (exit !== undefined && ![...unfinished].some(({ wanted }) => wanted))
      await deadline.race(new Promise<void>((resolve) => (pump.wake = resolve)));
    else {
      await clock.sleep(pauseMs, { signal: deadline.signal });
      pauseMs = Math.min(pauseMs * 2, pollMaxMs);
    }
  }
}

function exitOf({ exited, exitcode, signal }: Qga.GuestExecStatus): GuestExit | undefined {
  if (!exited) return undefined;
  return {
    ...(exitcode === undefined ? {} : { exitCode: Number(exitcode) }),
    ...(signal === undefined ? {} : { signal: Number(signal) }),
  };
}

/** Tried even when time is over, so that nothing is left in the guest. */
async function windUp(
  { commands, lastMs }: GuestProcessContext,
  directory: string,
  handles: readonly Int64[],
): Promise<void> {
  for (const handle of handles) await commands.files.close(handle).catch(() => undefined);
  await commands.run("/bin/rm", ["-rf", "--", directory], { deadlineMs: lastMs }).catch(() => undefined);
}

function waitOf({ deadline }: GuestProcessContext): QmpWaitOptions {
  deadline.throwIfExpired();
  return { signal: deadline.signal, deadlineMs: deadline.remainingMs + 1 };
}
