/** Programs run in the guest through its agent, with their output captured. */
import { Secret } from "../core/index.js";
import type { Clock, Deadline } from "../core/index.js";
import type { QmpWaitOptions } from "./client-options.js";
import type * as Qga from "./generated/qga.gen.js";
import type { GuestExecOptions, GuestExecResult } from "./guest-agent-options.js";
import type { Int64 } from "./qmp-value.js";

/** What is needed of the client. */
export interface GuestExecCommands {
  start(args: Qga.GuestCommands["guest-exec"]["arguments"], options: QmpWaitOptions): Promise<Qga.GuestExec>;
  status(pid: Int64, options: QmpWaitOptions): Promise<Qga.GuestExecStatus>;
}

export interface ExecPolling {
  readonly clock: Clock;
  readonly pollMinMs: number;
  readonly pollMaxMs: number;
}

/**
 * Runs a program and waits for its end. The agent has no event for that, so it is asked, at growing intervals. A caller that
 * gives up leaves the program running: the agent can't end it.
 */
export async function execInGuest(
  commands: GuestExecCommands,
  path: string,
  options: GuestExecOptions,
  polling: ExecPolling,
  deadline: Deadline,
): Promise<GuestExecResult> {
  const wait = (): QmpWaitOptions => {
    deadline.throwIfExpired();
    return { signal: deadline.signal, deadlineMs: deadline.remainingMs + 1 };
  };
  const input = encodedInput(options.input);
  const { args, env } = options;
  const { pid } = await commands.start({ path, arg: args, env, "input-data": input, "capture-output": true }, wait());
  for (let pauseMs = polling.pollMinMs; ; pauseMs = Math.min(pauseMs * 2, polling.pollMaxMs)) {
    const status = await commands.status(pid, wait());
    if (status.exited) return resultOf(status);
    await polling.clock.sleep(pauseMs, { signal: deadline.signal });
  }
}

/** What a program reads, as the agent takes it. */
export function encodedInput(input: GuestExecOptions["input"]): string | undefined {
  if (input === undefined) return undefined;
  if (Secret.is(input)) return Buffer.from(input.reveal()).toString("base64");
  return (typeof input === "string" ? Buffer.from(input) : Buffer.from(input)).toString("base64");
}

function resultOf(status: Qga.GuestExecStatus): GuestExecResult {
  const { exitcode, signal } = status;
  return {
    ...(exitcode === undefined ? {} : { exitCode: Number(exitcode) }),
    ...(signal === undefined ? {} : { signal: Number(signal) }),
    stdout: Buffer.from(status["out-data"] ?? "", "base64"),
    stderr: Buffer.from(status["err-data"] ?? "", "base64"),
    stdoutTruncated: status["out-truncated"] ?? false,
    stderrTruncated: status["err-truncated"] ?? false,
  };
}
