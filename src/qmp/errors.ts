/**
 * The errors of QMP and guest-agent clients, split by whose doing they are:
 *
 *     QmpError
 *     ├── QmpConnectError        the socket can't be reached or the peer does not speak QMP
 *     ├── QmpStateError          the call does not fit the state of the client
 *     ├── QmpCommandError        the peer understood the command and refused it
 *     ├── QmpProtocolError       the peer broke the protocol, or says that we did; the session is over
 *     ├── QmpDisconnectedError   the connection ended while the call was under way or before it
 *     ├── QmpJobError            a job of QEMU ended with an error
 *     ├── GuestAgentUnavailableError   no agent answers inside the guest
 *     └── GuestThawError         file systems of the guest may still be frozen
 *
 * Deadlines and aborts are the core's `DeadlineExceededError` and `AbortedError`.
 */
import { HyperviseError, nameErrorClass } from "../core/index.js";
import type { ErrorContext } from "../core/index.js";
import type { QmpState } from "./qmp-state.js";

/** Base of everything that goes wrong between a client and QEMU or the guest agent. */
export abstract class QmpError extends HyperviseError {}

/** How far an attempt to connect had come. */
export type QmpConnectPhase = "socket" | "greeting" | "negotiation" | "sync";

/** How the process at the other end ended, as far as its owner knows. */
export interface QmpExitInfo {
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  /** The end of what it wrote to its standard error. */
  readonly stderr?: string | undefined;
}

/** What {@link QmpConnectError} says. */
export interface QmpConnectErrorDetails extends ErrorContext {
  readonly phase: QmpConnectPhase;
  readonly exit?: QmpExitInfo | undefined;
}

/**
 * The connection could not be made; the client is as it was before. Where the owner told how QEMU ended (`exitInfo`), the
 * error says so, with QEMU's own words as `detail`. Code `QMP_CONNECT_FAILED`.
 */
export class QmpConnectError extends QmpError {
  readonly phase: QmpConnectPhase;
  declare readonly exitCode?: number;
  declare readonly signal?: string;

  static {
    nameErrorClass(this, "QmpConnectError");
  }

  constructor(message: string, details: QmpConnectErrorDetails) {
    const { exit } = details;
    super(message, {
      ...details,
      retryable: details.retryable ?? exit === undefined,
      code: "QMP_CONNECT_FAILED",
      detail: wordsOf(exit) ?? details.detail,
    });
    this.phase = details.phase;
    setExit(this, exit);
  }
}

/** The call does not fit the state of the client. Nothing was sent. Code `QMP_STATE`. */
export class QmpStateError extends QmpError {
  readonly state: QmpState;
  readonly required: readonly QmpState[];

  static {
    nameErrorClass(this, "QmpStateError");
  }

  constructor(call: string, state: QmpState, required: readonly QmpState[], context: ErrorContext = {}) {
    super(`${call} needs a client that is ${required.join(" or ")}; this one is ${state}`, {
      ...context,
      code: "QMP_STATE",
    });
    this.state = state;
    this.required = required;
  }
}

/** The classes of QEMU's errors; QEMU promises no more than these. */
export type QmpErrorClass =
  "GenericError" | "CommandNotFound" | "DeviceNotActive" | "DeviceNotFound" | "KVMMissingCap" | (string & {});

/** What {@link QmpCommandError} says. */
export interface QmpCommandErrorDetails extends ErrorContext {
  readonly errorClass: QmpErrorClass;
  readonly desc: string;
  readonly command: string;
  readonly id: number;
}

/**
 * The peer refused a command; the session goes on. `desc` are its own words, for operators: decide by `errorClass`.
 * Code `QMP_COMMAND_FAILED`.
 */
export class QmpCommandError extends QmpError {
  readonly errorClass: QmpErrorClass;
  readonly desc: string;
  readonly command: string;
  /** The id under which the command went over the wire, to find it in a transcript. */
  readonly id: number;

  static {
    nameErrorClass(this, "QmpCommandError");
  }

  constructor(details: QmpCommandErrorDetails) {
    super(`${details.command} was refused: ${details.errorClass}`, {
      ...details,
      code: "QMP_COMMAND_FAILED",
      detail: details.detail ?? details.desc,
    });
    this.errorClass = details.errorClass;
    this.desc = this.detail ?? "";
    this.command = details.command;
    this.id = details.id;
  }
}

/** Whether an error is a refusal by the peer, optionally of one class. */
export function isQmpCommandError(error: unknown, errorClass?: QmpErrorClass): error is QmpCommandError {
  return error instanceof QmpCommandError && (errorClass === undefined || error.errorClass === errorClass);
}

/** How a peer broke the protocol. */
export type QmpProtocolFault =
  /** A line that is not JSON. */
  | "not-json"
  /** JSON that is not an object, or an object that is no QMP message. */
  | "not-a-message"
  /** A line longer than the configured bound. */
  | "too-long"
  /** More nesting or more tokens than QEMU itself would take. */
  | "too-complex"
  /** The first message is not a greeting. */
  | "bad-greeting"
  /** A reply without the id that every command carried, or an error of another shape than QEMU's. */
  | "bad-reply"
  /** The peer says that it could not read what we sent: an error without an id. */
  | "rejected-input";

/** The peer broke the protocol, or says that we did. The session was closed. Code `QMP_PROTOCOL`. */
export class QmpProtocolError extends QmpError {
  readonly fault: QmpProtocolFault;

  static {
    nameErrorClass(this, "QmpProtocolError");
  }

  constructor(message: string, details: ErrorContext & { readonly fault: QmpProtocolFault }) {
    super(message, { ...details, code: "QMP_PROTOCOL" });
    this.fault = details.fault;
  }
}

/** What {@link QmpDisconnectedError} says. */
export interface QmpDisconnectedDetails extends ErrorContext {
  readonly command?: string | undefined;
  readonly maybeExecuted: boolean;
  readonly exit?: QmpExitInfo | undefined;
}

/**
 * The connection ended before the reply came. When `maybeExecuted` is false the command never left this process; otherwise
 * QEMU may or may not have carried it out. Code `QMP_DISCONNECTED`.
 */
export class QmpDisconnectedError extends QmpError {
  readonly maybeExecuted: boolean;
  declare readonly command?: string;
  declare readonly exitCode?: number;
  declare readonly signal?: string;

  static {
    nameErrorClass(this, "QmpDisconnectedError");
  }

  constructor(message: string, details: QmpDisconnectedDetails) {
    const { exit } = details;
    super(message, {
      ...details,
      code: "QMP_DISCONNECTED",
      detail: details.detail ?? wordsOf(exit),
    });
    this.maybeExecuted = details.maybeExecuted;
    if (details.command !== undefined) (this as { command?: string }).command = details.command;
    setExit(this, exit);
  }
}

/** What {@link QmpJobError} says. */
export interface QmpJobErrorDetails extends ErrorContext {
  readonly jobId: string;
  readonly jobType?: string | undefined;
  readonly cancelled: boolean;
}

/** A job of QEMU failed or was cancelled; it was dismissed. `detail` are QEMU's own words. Code `QMP_JOB_FAILED`. */
export class QmpJobError extends QmpError {
  readonly jobId: string;
  readonly jobType: string | undefined;
  readonly cancelled: boolean;

  static {
    nameErrorClass(this, "QmpJobError");
  }

  constructor(message: string, details: QmpJobErrorDetails) {
    super(message, { ...details, code: "QMP_JOB_FAILED" });
    this.jobId = details.jobId;
    this.jobType = details.jobType;
    this.cancelled = details.cancelled;
  }
}

/** No agent answers inside the guest: not installed, not started yet, or the guest hangs. Code `GUEST_AGENT_UNAVAILABLE`. */
export class GuestAgentUnavailableError extends QmpError {
  static {
    nameErrorClass(this, "GuestAgentUnavailableError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, retryable: context.retryable ?? true, code: "GUEST_AGENT_UNAVAILABLE" });
  }
}

/** The guest's file systems could not be thawed and may still refuse writes. Code `GUEST_THAW_FAILED`. */
export class GuestThawError extends QmpError {
  static {
    nameErrorClass(this, "GuestThawError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, retryable: context.retryable ?? true, code: "GUEST_THAW_FAILED" });
  }
}

function wordsOf(exit: QmpExitInfo | undefined): string | undefined {
  return exit?.stderr === undefined || exit.stderr === "" ? undefined : exit.stderr;
}

function setExit(error: { exitCode?: number; signal?: string }, exit: QmpExitInfo | undefined): void {
  if (exit?.exitCode !== undefined) error.exitCode = exit.exitCode;
  if (exit?.signal !== undefined) error.signal = exit.signal;
}
