/** What a store of networks answers when it can't do what was asked. */
import { HyperviseError, nameErrorClass } from "../../core/index.js";
import type { ErrorContext, JsonObject } from "../../core/index.js";

/** What stood in the way of a commit. */
export interface StoreConflict {
  /** `version`: the record has changed or is gone. `unique`: another has the key. `limit`: there would be too many. */
  readonly reason: "version" | "unique" | "limit";
  readonly kind: string;
  /** The record; for `limit` the index key. */
  readonly id: string;
  /** The unique key. */
  readonly key?: string | undefined;
}

/** A commit did not hold against what others had done; nothing was changed. Read again and retry. Code `STORE_CONFLICT`. */
export class StoreConflictError extends HyperviseError {
  readonly reason: StoreConflict["reason"];
  readonly kind: string;
  readonly id: string;
  declare readonly key?: string;

  static {
    nameErrorClass(this, "StoreConflictError");
  }

  constructor(conflict: StoreConflict, context: ErrorContext = {}) {
    const what = { version: "has changed", unique: "has a key that another has", limit: "would be one too many" };
    super(`the record ${conflict.kind} ${what[conflict.reason]}`, {
      retryable: conflict.reason === "version",
      detail: `${conflict.kind} ${conflict.id} ${conflict.key ?? ""}`.trim(),
      ...context,
      code: "STORE_CONFLICT",
    });
    this.reason = conflict.reason;
    this.kind = conflict.kind;
    this.id = conflict.id;
    if (conflict.key !== undefined) this.key = conflict.key;
  }

  protected override tenantFields(): JsonObject {
    return { reason: this.reason, kind: this.kind };
  }
}

/** The store can't be read or written. Retryable. Code `STORE_UNAVAILABLE`. */
export class StoreUnavailableError extends HyperviseError {
  /** The commit may have happened all the same: look at the records before repeating it. */
  readonly outcomeUnknown: boolean;

  static {
    nameErrorClass(this, "StoreUnavailableError");
  }

  constructor(message: string, context: ErrorContext & { readonly outcomeUnknown?: boolean } = {}) {
    super(message, { retryable: true, ...context, code: "STORE_UNAVAILABLE" });
    this.outcomeUnknown = context.outcomeUnknown ?? false;
  }

  protected override tenantFields(): JsonObject {
    return { outcomeUnknown: this.outcomeUnknown };
  }
}

/** A package that the caller has to install is missing. Code `PACKAGE_MISSING`. */
export class PackageMissingError extends HyperviseError {
  readonly package: string;

  static {
    nameErrorClass(this, "PackageMissingError");
  }

  constructor(purpose: string, name: string, context: ErrorContext = {}) {
    super(`${purpose} needs ${name}, and it can't be loaded`, {
      remedy: `Run: npm install ${name}`,
      ...context,
      code: "PACKAGE_MISSING",
    });
    this.package = name;
  }
}
