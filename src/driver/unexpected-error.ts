/** What a part throws that is not an error of this package. */
import { HyperviseError, isHyperviseError } from "../core/index.js";

/** The error itself, or one of code `INTERNAL` with it as its cause. */
export function asHyperviseError(error: unknown): HyperviseError {
  if (isHyperviseError(error)) return error;
  const detail = error instanceof Error ? error.message : String(error);
  return new HyperviseError("a part that the driver relies on failed unexpectedly", {
    code: "INTERNAL",
    cause: error,
    detail,
  });
}
