/** What PostgreSQL says, in terms of stores. Decided by SQLSTATE and by the detail that our own function gives. */
import { HyperviseError, asError } from "../../../core/index.js";
import { StoreConflictError, StoreUnavailableError } from "../store-errors.js";
import type { StoreConflict } from "../store-errors.js";

interface PgError {
  readonly code?: unknown;
  readonly detail?: unknown;
}

function codeOf(error: unknown): string {
  const { code } = (typeof error === "object" && error !== null ? error : {}) as PgError;
  return typeof code === "string" ? code : "";
}

/** Serialization failure, deadlock: the transaction was taken back, and may be tried again. */
export function isTakenBack(error: unknown): boolean {
  return ["40001", "40P01"].includes(codeOf(error));
}

/** The error to throw for one of `pg`. `writing`: the statement may have been done. */
export function storeError(error: unknown, writing: boolean): Error {
  const code = codeOf(error);
  if (error instanceof HyperviseError) return error;
  if (code === "HV001") return new StoreConflictError(conflictOf((error as PgError).detail), { cause: error });
  // A SQLSTATE is five characters. An answer with one came from the server: the statement was taken back. Class 57 ends
  // sessions, also at the moment of a commit.
  const answered = /^[0-9A-Z]{5}$/.test(code) && !code.startsWith("57P") && !code.startsWith("08");
  const retryable = !answered || ["53", "57", "40"].includes(code.slice(0, 2));
  return new StoreUnavailableError("PostgreSQL can't be used", {
    cause: error,
    retryable,
    outcomeUnknown: writing && !answered,
    detail: `${code} ${asError(error).message}`.trim(),
  });
}

function conflictOf(detail: unknown): StoreConflict {
  const { reason, kind, id, key } = JSON.parse(typeof detail === "string" ? detail : "{}") as {
    readonly [name: string]: string | null;
  };
  const known = reason === "unique" || reason === "limit" ? reason : "version";
  return { reason: known, kind: kind ?? "", id: id ?? "", key: key ?? undefined };
}
