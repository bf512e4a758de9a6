/** The options of {@link GuestAgentClient} and of its calls. */
import type { Clock, InstanceRef, SecretLike } from "../core/index.js";
import type { QmpWaitOptions } from "./client-options.js";
import type { GuestAgentTimeouts } from "./timeouts.js";
import type { TranscriptHook } from "./transcript.js";

export interface GuestAgentClientOptions {
  /** Time limits that differ from {@link DEFAULT_GUEST_AGENT_TIMEOUTS}. */
  readonly timeouts?: Partial<GuestAgentTimeouts> | undefined;
  /** Default: the system's clock. */
  readonly clock?: Clock | undefined;
  /** Longest message taken from the guest, in bytes. Default: 64 MiB. */
  readonly maxMessageBytes?: number | undefined;
  /** Whether the process may exit although the connection is open and idle. Default: false. */
  readonly unref?: boolean | undefined;
  /** The instance that errors name. */
  readonly instance?: InstanceRef | undefined;
  /** Gets every message, with secrets taken out. */
  readonly transcript?: TranscriptHook | undefined;
}

export interface GuestPasswordOptions extends QmpWaitOptions {
  /** Whether the password is a hash as the guest's `crypt` makes it. Default: false. */
  readonly crypted?: boolean | undefined;
}

/** A program to run in the guest. */
export interface GuestExecOptions extends QmpWaitOptions {
  readonly args?: readonly string[] | undefined;
  /** `NAME=value` each; the agent's own environment when absent. */
  readonly env?: readonly string[] | undefined;
  /** What the program reads from its standard input. */
  readonly input?: string | Uint8Array | SecretLike | undefined;
}

/** How a program in the guest ended. */
export interface GuestExecResult {
  /** Absent when a signal or exception ended it. */
  readonly exitCode?: number | undefined;
  /** The signal, or the exception code in Windows. */
  readonly signal?: number | undefined;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** The agent keeps 16 MiB of each; whether there was more. */
  readonly stdoutTruncated: boolean;
  readonly stderrTruncated: boolean;
}

export interface GuestReadOptions extends QmpWaitOptions {
  /** Most bytes taken; a longer file is refused. Default: 16 MiB. */
  readonly maxBytes?: number | undefined;
}

export interface GuestWriteOptions extends QmpWaitOptions {
  /** Whether to write at the end of what is there. Default: false. */
  readonly append?: boolean | undefined;
}

export interface GuestFreezeOptions extends QmpWaitOptions {
  /** Only these file systems; all when absent. */
  readonly mountpoints?: readonly string[] | undefined;
  /** How long the file systems may stay frozen, in milliseconds. Default: `timeouts.frozenMs`. */
  readonly frozenMs?: number | undefined;
}
