/** The root of every error this package throws: a stable code, a message fit for tenants, details for operators. */
import type { JsonObject } from "./json.js";
import { redactError } from "./redact-error.js";
import { redactForms, redactToJson, redactValue, secretForms } from "./redact.js";
import type { SecretLike } from "./secret.js";

const BRAND = Symbol.for("hypervise.error");
const INSPECT = Symbol.for("nodejs.util.inspect.custom");
const MAX_MESSAGE = 4_096;
const MAX_DETAIL = 65_536;
/** Longest chain of causes that is told; a chain may be a circle. */
const MAX_CAUSES = 16;

/** What an instance is called: its uuid and, where known, its name. */
export interface InstanceRef {
  readonly uuid: string;
  readonly name?: string;
}

/** What an error may say about where it happened, beside its message. */
export interface ErrorContext {
  /** Whether the same call may succeed when it is made again unchanged. Default: false. */
  readonly retryable?: boolean | undefined;
  /** The instance that the failed call was about. */
  readonly instance?: { readonly uuid: string; readonly name?: string | undefined } | undefined;
  /** The disk, interface or other device, by the id the embedder knows. */
  readonly device?: string | undefined;
  /** What to do about it, in one sentence. */
  readonly remedy?: string | undefined;
  /** For operators only: host paths, argv, stderr, a platform's own words. Never to be shown to a tenant. */
  readonly detail?: string | undefined;
  /** The error that led to this one. */
  readonly cause?: unknown;
  /** Texts that must appear nowhere in this error, its stack, JSON, printout or causes. */
  readonly secrets?: readonly SecretLike[] | undefined;
}

/** {@link ErrorContext} with the code that programs decide by. */
export interface HyperviseErrorOptions extends ErrorContext {
  /** Stable, upper case with underscores: `"INSTANCE_NOT_FOUND"`. */
  readonly code: string;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const secretsOf = new WeakMap<object, readonly SecretLike[]>();

/**
 * Base of the error tree. Decide by `code` (or `instanceof`), never by the message.
 *
 * - `message` is one line, safe for tenants; `detail` is for operators.
 * - `toJSON()` gives only what a tenant may see; {@link HyperviseError.toOperatorJSON} and `util.inspect` give the rest.
 * - What `secrets` names is taken out of the message, detail, stack, JSON, printout and the whole chain of causes. A cause
 *   in which a secret occurs is replaced by a copy without it.
 */
export class HyperviseError extends Error {
  /** Stable name of the kind of failure; see the table in `docs/errors.md`. */
  readonly code: string;
  /** Whether the same call may succeed when it is made again unchanged. */
  readonly retryable: boolean;
  declare readonly instance?: InstanceRef;
  declare readonly device?: string;
  declare readonly remedy?: string;
  /** For operators only; see {@link ErrorContext.detail}. */
  declare readonly detail?: string;
  /** What failed while the effects of the failed operation were undone; empty when nothing is left behind. */
  declare readonly undoErrors: readonly Error[];

  static {
    nameErrorClass(this, "HyperviseError");
    Object.defineProperty(this.prototype, BRAND, { value: true });
  }

  constructor(message: string, options: HyperviseErrorOptions) {
    const forms = secretForms(options.secrets);
    const cause = options.cause === undefined ? {} : { cause: redactError(options.cause, options.secrets) };
    super(oneLine(redactForms(message, forms)), cause);
    if (forms.length > 0) {
      secretsOf.set(this, options.secrets ?? []);
      hide(this, "stack", redactForms(String(this.stack), forms));
    }
    this.code = options.code;
    this.retryable = options.retryable ?? false;
    hide(this, "undoErrors", []);
    const { instance, device, remedy, detail } = options;
    this.withContext({ instance, device });
    const self = this as Writable<this>;
    if (remedy !== undefined) self.remedy = redactForms(remedy, forms);
    if (detail !== undefined) self.detail = bound(redactForms(detail, forms), MAX_DETAIL);
  }

  /** Fills in the instance and the device where they are not known yet, and returns this error. */
  withContext(context: Pick<ErrorContext, "instance" | "device">): this {
    const self = this as Writable<this>;
    const forms = secretForms(secretsOf.get(this));
    const { instance, device } = context;
    if (instance !== undefined && this.instance === undefined) {
      const { uuid, name } = instance;
      self.instance = name === undefined ? { uuid } : { uuid, name: redactForms(name, forms) };
    }
    if (device !== undefined && this.device === undefined) self.device = redactForms(device, forms);
    return this;
  }

  /** Adds what failed while undoing; the error itself stays what the caller sees first. */
  attachUndoErrors(errors: readonly Error[]): void {
    const secrets = secretsOf.get(this);
    const added = errors.map((error) => redactError(error, secrets) as Error);
    hide(this, "undoErrors", [...this.undoErrors, ...added]);
  }

  /** What a tenant may see: no detail, no cause, no stack. */
  toJSON(): JsonObject {
    const { name, code, message, retryable, instance, device, remedy } = this;
    return {
      name,
      code,
      message,
      retryable,
      ...(instance === undefined ? {} : { instance: { ...instance } }),
      ...(device === undefined ? {} : { device }),
      ...(remedy === undefined ? {} : { remedy }),
      ...this.tenantFields(),
    };
  }

  /** Everything, for an operator's log: also the detail, the fields of the class, the causes and the failed undos. */
  toOperatorJSON(): JsonObject {
    return operatorJson(this, 0);
  }

  /** Fields of a subclass that {@link HyperviseError.toJSON} may show to a tenant. */
  protected tenantFields(): JsonObject {
    return {};
  }

  [INSPECT](depth: number, options: object, inspect: (value: unknown, options: object) => string): string {
    if (depth < 0) return `[${this.name}: ${this.code}]`;
    const fields: Record<string, unknown> = { ...(redactValue({ ...this }, secretsOf.get(this)) as object) };
    if (this.cause !== undefined) fields["[cause]"] = this.cause;
    if (this.undoErrors.length > 0) fields["[undoErrors]"] = this.undoErrors;
    return `${String(this.stack)} ${inspect(fields, options)}`;
  }
}

/**
 * Whether a value is an error of this package, optionally one of a given code. Also true for errors made by another copy of
 * the package in the same process (ESM beside CommonJS), for which `instanceof` is false.
 */
export function isHyperviseError(value: unknown, code?: string): value is HyperviseError {
  if (typeof value !== "object" || value === null) return false;
  const error = value as { [BRAND]?: unknown; code?: unknown };
  return error[BRAND] === true && (code === undefined || error.code === code);
}

/** Gives an error class its `name`, which stays right when the code is minified. For `static` blocks of subclasses. */
export function nameErrorClass(errorClass: { readonly prototype: Error }, name: string): void {
  Object.defineProperty(errorClass.prototype, "name", {
    value: name,
    configurable: true,
    writable: true,
    enumerable: false,
  });
}

/** Makes an `Error` of whatever was thrown. */
export function asError(thrown: unknown): Error {
  if (thrown instanceof Error || isHyperviseError(thrown)) return thrown;
  return new HyperviseError("something that is not an error was thrown", { code: "INTERNAL", cause: thrown });
}

function operatorJson(error: HyperviseError, depth: number): JsonObject {
  const secrets = secretsOf.get(error);
  const { cause, undoErrors } = error;
  return {
    ...error.toJSON(),
    ...(redactValue({ ...error }, secrets) as JsonObject),
    stack: String(error.stack),
    ...(cause === undefined ? {} : { cause: errorToJson(cause, secrets, depth + 1) }),
    ...(undoErrors.length === 0 ? {} : { undoErrors: undoErrors.map((undo) => errorToJson(undo, secrets, depth + 1)) }),
  };
}

function errorToJson(value: unknown, secrets: readonly SecretLike[] | undefined, depth: number): JsonObject {
  if (depth > MAX_CAUSES) return { message: "…" };
  if (isHyperviseError(value)) return operatorJson(value, depth);
  if (!(value instanceof Error)) return { value: redactToJson(value, secrets) };
  const fields = redactToJson({ ...value }, secrets) as JsonObject;
  const cause = value.cause === undefined ? {} : { cause: errorToJson(value.cause, secrets, depth + 1) };
  return {
    ...fields,
    name: String(value.name),
    message: redactForms(String(value.message), secretForms(secrets)),
    ...cause,
  };
}

function hide(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, configurable: true, writable: true, enumerable: false });
}

function oneLine(message: string): string {
  const escaped = message.replace(/[\p{Cc}\u2028\u2029]/gu, (c) => {
    if (c === "\n") return "\\n";
    return `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
  return bound(escaped, MAX_MESSAGE);
}

function bound(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 1)}…`;
}
