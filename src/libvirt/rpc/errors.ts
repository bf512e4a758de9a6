/**
 * The errors of libvirt's RPC client, split by whose doing they are:
 *
 *     HyperviseError
 *     ├── LibvirtError                  the daemon understood the call and refused it
 *     ├── LibvirtConnectError           the daemon can't be reached
 *     ├── LibvirtAuthenticationError    the daemon wants to know who calls, and was not satisfied; or it is not who it should be
 *     ├── LibvirtProtocolError          the peer broke the protocol; the connection is closed
 *     └── LibvirtDisconnectedError      the connection ended before the reply came, or before the call left
 *         └── LibvirtKeepaliveError     because the daemon had fallen silent
 *
 * Deadlines and aborts are the core's `DeadlineExceededError` and `AbortedError`.
 */
import { HyperviseError, nameErrorClass } from "../../core/index.js";
import type { ErrorContext, JsonObject } from "../../core/index.js";
import { codeName, isRetryableKind, libvirtErrno, libvirtErrorKind } from "./error-kind.js";
import type { LibvirtErrorKind } from "./error-kind.js";
import type { RemoteError } from "./remote-error.js";

/** The peer sent what libvirt's protocol does not allow; nothing of it was used. Code `LIBVIRT_PROTOCOL`. */
export class LibvirtProtocolError extends HyperviseError {
  static {
    nameErrorClass(this, "LibvirtProtocolError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "LIBVIRT_PROTOCOL" });
  }
}

/** What {@link LibvirtError} says beside what the daemon sent. */
export interface LibvirtErrorDetails extends ErrorContext {
  /** The procedure that was refused: `domainCreate`. */
  readonly procedure: string;
  /** The daemon does not have the procedure: it is older than it. */
  readonly unknownProcedure?: boolean | undefined;
}

/**
 * The daemon refused a call; the connection goes on. Decide by `kind`, or by `libvirtCode` and `domain`; the texts are in the
 * daemon's language and for operators. Code `LIBVIRT`.
 */
export class LibvirtError extends HyperviseError {
  readonly procedure: string;
  readonly kind: LibvirtErrorKind;
  /** `virErrorNumber`; 42 is a domain that does not exist. */
  readonly libvirtCode: number;
  /** `virErrorDomain`: which part of libvirt says so. */
  readonly domain: number;
  /** `virErrorLevel`: 1 for a warning, 2 for an error. */
  readonly level: number;
  /** Mostly the general sentence of the code. */
  declare readonly str1?: string;
  /** Mostly what was inserted into it. */
  declare readonly str2?: string;
  declare readonly str3?: string;
  /** With a system error: the errno. */
  readonly int1: number;
  readonly int2: number;
  /** The errno behind a system error by its name, such as `EBUSY`. */
  declare readonly errno?: string;
  /** The daemon is too old to know the procedure. */
  readonly unknownProcedure: boolean;

  static {
    nameErrorClass(this, "LibvirtError");
  }

  constructor(error: RemoteError, details: LibvirtErrorDetails) {
    const unknownProcedure = details.unknownProcedure ?? false;
    const kind = unknownProcedure ? "notSupported" : libvirtErrorKind(error);
    const errno = libvirtErrno(error);
    const why = unknownProcedure ? "the daemon does not know it" : (errno ?? codeName(error.code));
    super(`libvirt refused ${details.procedure}: ${why}`, {
      ...details,
      retryable: details.retryable ?? isRetryableKind(kind, errno),
      code: "LIBVIRT",
      detail: details.detail ?? error.message ?? error.str1,
    });
    this.procedure = details.procedure;
    this.kind = kind;
    this.libvirtCode = error.code;
    this.domain = error.domain;
    this.level = error.level;
    this.int1 = error.int1;
    this.int2 = error.int2;
    this.unknownProcedure = unknownProcedure;
    const self = this as { str1?: string; str2?: string; str3?: string; errno?: string };
    if (error.str1 !== undefined) self.str1 = error.str1;
    if (error.str2 !== undefined) self.str2 = error.str2;
    if (error.str3 !== undefined) self.str3 = error.str3;
    if (errno !== undefined) self.errno = errno;
  }

  protected override tenantFields(): JsonObject {
    return { kind: this.kind, libvirtCode: this.libvirtCode, domain: this.domain };
  }
}

/** Whether an error is a refusal by the daemon, optionally of one kind. */
export function isLibvirtError(error: unknown, kind?: LibvirtErrorKind): error is LibvirtError {
  return error instanceof LibvirtError && (kind === undefined || error.kind === kind);
}

/** The daemon can't be reached: no socket, no route, no certificate, no program. Nothing stays open. Code `LIBVIRT_CONNECT_FAILED`. */
export class LibvirtConnectError extends HyperviseError {
  static {
    nameErrorClass(this, "LibvirtConnectError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, retryable: context.retryable ?? true, code: "LIBVIRT_CONNECT_FAILED" });
  }
}

/** Authentication failed, on either side. Nothing stays open. Code `LIBVIRT_AUTHENTICATION_FAILED`. */
export class LibvirtAuthenticationError extends HyperviseError {
  static {
    nameErrorClass(this, "LibvirtAuthenticationError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "LIBVIRT_AUTHENTICATION_FAILED" });
  }
}

/** What {@link LibvirtDisconnectedError} says. */
export interface LibvirtDisconnectedDetails extends ErrorContext {
  readonly procedure?: string | undefined;
  readonly maybeExecuted: boolean;
}

/**
 * The connection ended before the reply came. When `maybeExecuted` is false the call never left this process; otherwise the
 * daemon may or may not have carried it out, and may still be doing so. Code `LIBVIRT_DISCONNECTED`.
 */
export class LibvirtDisconnectedError extends HyperviseError {
  readonly maybeExecuted: boolean;
  declare readonly procedure?: string;

  static {
    nameErrorClass(this, "LibvirtDisconnectedError");
  }

  constructor(message: string, details: LibvirtDisconnectedDetails, own = { code: "LIBVIRT_DISCONNECTED" }) {
    super(message, { ...details, retryable: details.retryable ?? !details.maybeExecuted, ...own });
    this.maybeExecuted = details.maybeExecuted;
    if (details.procedure !== undefined) (this as { procedure?: string }).procedure = details.procedure;
  }

  protected override tenantFields(): JsonObject {
    return { maybeExecuted: this.maybeExecuted };
  }
}

/** The daemon did not answer keepalive pings; the connection was given up. Code `LIBVIRT_KEEPALIVE`. */
export class LibvirtKeepaliveError extends LibvirtDisconnectedError {
  /** For how many milliseconds nothing had come. */
  readonly silentMs: number;

  static {
    nameErrorClass(this, "LibvirtKeepaliveError");
  }

  constructor(details: LibvirtDisconnectedDetails & { readonly silentMs: number }) {
    super("the libvirt daemon does not answer any more", details, { code: "LIBVIRT_KEEPALIVE" });
    this.silentMs = details.silentMs;
  }
}
