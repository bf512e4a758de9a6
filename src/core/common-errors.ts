/** The errors that any room may throw; each room adds its own beside them. */
import { HyperviseError, nameErrorClass } from "./error.js";
import type { ErrorContext } from "./error.js";
import type { JsonObject } from "./json.js";
import { isSecretKey, redactText } from "./redact.js";
import { REDACTED, Secret } from "./secret.js";

/** What {@link InvalidArgumentError} says. */
export interface InvalidArgumentDetails extends ErrorContext {
  /** The path of the bad field, such as `spec.nics[0].mac`. */
  readonly field: string;
  /** What stood there; it is rendered short, and not at all when it or the field is a secret. */
  readonly value?: unknown;
  /** What should have stood there, in words: `a MAC address`. */
  readonly expected: string;
}

/** A caller gave something that can't be right. Nothing was done. Code `INVALID_ARGUMENT`. */
export class InvalidArgumentError extends HyperviseError {
  readonly field: string;
  readonly expected: string;
  /** The value as short text; `[redacted]` for secrets. */
  readonly value: string;

  static {
    nameErrorClass(this, "InvalidArgumentError");
  }

  constructor(details: InvalidArgumentDetails) {
    const secret = isSecretKey(lastName(details.field));
    // Before it is cut short: half a secret is no longer found.
    const shown = typeof details.value === "string" ? redactText(details.value, details.secrets) : details.value;
    const value = secret ? REDACTED : renderValue(shown);
    super(`${details.field}: expected ${details.expected}, got ${value}`, { ...details, code: "INVALID_ARGUMENT" });
    this.field = redactText(details.field, details.secrets);
    this.expected = redactText(details.expected, details.secrets);
    this.value = value;
  }

  protected override tenantFields(): JsonObject {
    return { field: this.field, expected: this.expected, value: this.value };
  }
}

/** What {@link DeadlineExceededError} says. */
export interface DeadlineExceededDetails extends ErrorContext {
  /** What took too long, as a verb phrase: `"waiting for the guest to power off"`. */
  readonly operation: string;
  readonly timeoutMs: number;
}

/** A wait ended because its time was over. Retryable. Code `DEADLINE_EXCEEDED`. */
export class DeadlineExceededError extends HyperviseError {
  readonly operation: string;
  readonly timeoutMs: number;

  static {
    nameErrorClass(this, "DeadlineExceededError");
  }

  constructor(details: DeadlineExceededDetails) {
    super(`${details.operation} took longer than ${details.timeoutMs} ms`, {
      ...details,
      retryable: details.retryable ?? true,
      code: "DEADLINE_EXCEEDED",
    });
    this.operation = redactText(details.operation, details.secrets);
    this.timeoutMs = details.timeoutMs;
  }

  protected override tenantFields(): JsonObject {
    return { operation: this.operation, timeoutMs: this.timeoutMs };
  }
}

/** What {@link AbortedError} says. */
export interface AbortedDetails extends ErrorContext {
  /** What was aborted, as a verb phrase. */
  readonly operation?: string | undefined;
}

/** The caller aborted the operation. `cause` is the reason of its signal. Code `ABORTED`. */
export class AbortedError extends HyperviseError {
  static {
    nameErrorClass(this, "AbortedError");
  }

  constructor(details: AbortedDetails = {}) {
    super(`${details.operation ?? "the operation"} was aborted`, { ...details, code: "ABORTED" });
  }
}

/** What {@link NotSupportedError} says. */
export interface NotSupportedDetails extends ErrorContext {
  /** The capability that is missing, as in `driver.capabilities`. */
  readonly capability: string;
  /** In place of the standard sentence. */
  readonly message?: string | undefined;
}

/** The driver, the platform or its version can't do this, now or later. Code `NOT_SUPPORTED`. */
export class NotSupportedError extends HyperviseError {
  readonly capability: string;

  static {
    nameErrorClass(this, "NotSupportedError");
  }

  constructor(details: NotSupportedDetails) {
    super(details.message ?? `${details.capability} is not supported here`, { ...details, code: "NOT_SUPPORTED" });
    this.capability = details.capability;
  }

  protected override tenantFields(): JsonObject {
    return { capability: this.capability };
  }
}

/** The request contradicts what is there, or comes at a moment when it can't be done. Code `CONFLICT`. */
export class ConflictError extends HyperviseError {
  static {
    nameErrorClass(this, "ConflictError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "CONFLICT" });
  }
}

/** Something else is using it; the same call may succeed later. Retryable. Code `BUSY`. */
export class BusyError extends HyperviseError {
  static {
    nameErrorClass(this, "BusyError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, retryable: context.retryable ?? true, code: "BUSY" });
  }
}

/** A call on something that was closed before or while the call ran. Code `CLOSED`. */
export class ClosedError extends HyperviseError {
  static {
    nameErrorClass(this, "ClosedError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "CLOSED" });
  }
}

/** More came than the stated bound allows. Code `OVERFLOW`. */
export class OverflowError extends HyperviseError {
  static {
    nameErrorClass(this, "OverflowError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "OVERFLOW" });
  }
}

/** A state record can't be read: cut short, altered, or of a version this release does not know. Code `STATE_CORRUPT`. */
export class StateCorruptError extends HyperviseError {
  static {
    nameErrorClass(this, "StateCorruptError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "STATE_CORRUPT" });
  }
}

/** An undo failed: what it was to take away may still be there. Attached as an undo error, never thrown. Code `UNDO_FAILED`. */
export class UndoFailedError extends HyperviseError {
  /** The name of the effect that could not be undone. */
  readonly step: string;

  static {
    nameErrorClass(this, "UndoFailedError");
  }

  constructor(step: string, context: ErrorContext = {}) {
    super(`undoing ${step} failed`, { ...context, code: "UNDO_FAILED" });
    this.step = step;
  }
}

function lastName(path: string): string {
  return path.slice(path.lastIndexOf(".") + 1);
}

/** A value as short text for a message: never calls code of the value, never shows a secret. */
export function renderValue(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return renderText(value);
  if (typeof value === "bigint") return `${value}n`.slice(0, 40);
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
  if (typeof value === "boolean" || value === null) return String(value);
  if (typeof value === "function") return "a function";
  if (typeof value === "symbol") return "a symbol";
  try {
    if (Secret.is(value)) return REDACTED;
    return Array.isArray(value) ? `a list of ${value.length}` : "an object";
  } catch {
    return "an object";
  }
}

function renderText(text: string): string {
  const short = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  const quoted = JSON.stringify(short);
  return text.length > 80 ? `${quoted} (${text.length} characters)` : quoted;
}
