/** The options of {@link QmpClient} and of its calls. */
import type { Clock, InstanceRef } from "../core/index.js";
import type { LateReply } from "./command-queue.js";
import type { QmpExitInfo } from "./errors.js";
import type { QmpEventOf } from "./qmp-event.js";
import type { QmpTimeouts } from "./timeouts.js";
import type { TranscriptHook } from "./transcript.js";

/** Options that hold for the whole life of a client. */
export interface QmpClientOptions {
  /** Time limits that differ from {@link DEFAULT_QMP_TIMEOUTS}. */
  readonly timeouts?: Partial<QmpTimeouts> | undefined;
  /** Default: the system's clock. */
  readonly clock?: Clock | undefined;
  /** Longest message taken from the peer, in bytes. Default: 64 MiB. */
  readonly maxMessageBytes?: number | undefined;
  /** Whether to negotiate out-of-band execution where the monitor offers it. Default: true. */
  readonly oob?: boolean | undefined;
  /** Whether the process may exit although the connection is open and idle. Default: false. */
  readonly unref?: boolean | undefined;
  /** The instance that errors name. */
  readonly instance?: InstanceRef | undefined;
  /**
   * How QEMU ended, asked for once when the connection is lost. Its answer, for which the end of the session waits at most
   * `timeouts.exitInfoMs`, is part of the errors of the calls that were under way.
   */
  readonly exitInfo?: (() => QmpExitInfo | undefined | Promise<QmpExitInfo | undefined>) | undefined;
  /** Gets every message, with secrets taken out. */
  readonly transcript?: TranscriptHook | undefined;
  /** Told when a command whose caller has given up is answered after all. */
  readonly onLateReply?: ((reply: LateReply) => void) | undefined;
}

/** Options of every wait. */
export interface QmpWaitOptions {
  /** Ends the wait with `AbortedError`. A command that QEMU has already got is carried out all the same. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds until the wait ends with `DeadlineExceededError`; from 1. */
  readonly deadlineMs?: number | undefined;
}

/** Options of a command. */
export interface QmpExecuteOptions extends QmpWaitOptions {
  /** Execute out of band: at once, even while QEMU's main loop hangs. Only a few commands allow it. */
  readonly oob?: boolean | undefined;
}

/** Which events a reader wants, and how many may wait for it. */
export interface QmpEventOptions<N extends string> {
  /** Names of events; all when absent. */
  readonly names?: readonly N[] | undefined;
  /** Called for each event of these names; false leaves it out. */
  readonly predicate?: ((event: QmpEventOf<N>) => boolean) | undefined;
  /** Ends the iteration. */
  readonly signal?: AbortSignal | undefined;
  /** How many events wait at most; the oldest make way for an `overflow` event. Default: 1024. */
  readonly capacity?: number | undefined;
}
