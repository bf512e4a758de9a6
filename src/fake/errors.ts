/** Errors that only a fake has: those that a test asked for, and those of the simulated world itself. */
import { HyperviseError, nameErrorClass } from "../core/index.js";
import type { ErrorContext, JsonObject } from "../core/index.js";

/** A fault that a test had asked for, without an error of its own. Retryable unless told otherwise. Code `FAKE_FAULT`. */
export class FakeFaultError extends HyperviseError {
  /** The fault point, such as `vifs.plug`. */
  readonly point: string;

  static {
    nameErrorClass(this, "FakeFaultError");
  }
  constructor(point: string, context: ErrorContext = {}) {
    super(`${point} failed, as the test asked`, { retryable: true, ...context, code: "FAKE_FAULT" });
    this.point = point;
  }

  protected override tenantFields(): JsonObject {
    return { point: this.point };
  }
}

/** The simulated driver process has died; nothing that it does reaches the world any more. Code `FAKE_PROCESS_CRASHED`. */
export class FakeProcessCrashedError extends HyperviseError {
  static {
    nameErrorClass(this, "FakeProcessCrashedError");
  }
  constructor(context: ErrorContext = {}) {
    super("the simulated driver process has crashed", { ...context, code: "FAKE_PROCESS_CRASHED" });
  }
}

/** A service or a host is on the other side of a partition. Retryable. Code `FAKE_UNREACHABLE`. */
export class FakeUnreachableError extends HyperviseError {
  static {
    nameErrorClass(this, "FakeUnreachableError");
  }
  constructor(what: string, context: ErrorContext = {}) {
    super(`${what} can't be reached`, { retryable: true, ...context, code: "FAKE_UNREACHABLE" });
  }
}

/** The world contradicts itself, or something has no owner; `violations` names each case. Code `FAKE_INVARIANT_VIOLATED`. */
export class FakeInvariantError extends HyperviseError {
  readonly violations: readonly string[];

  static {
    nameErrorClass(this, "FakeInvariantError");
  }
  constructor(violations: readonly string[]) {
    super(`the fake world is not sound: ${violations.join("; ")}`, { code: "FAKE_INVARIANT_VIOLATED" });
    this.violations = violations;
  }
}
