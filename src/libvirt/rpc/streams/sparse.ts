/** Whether a stream tells holes apart from data. */
import { InvalidArgumentError } from "../../../core/index.js";
import type { Procedure } from "../procedure.js";

const SPARSE_FLAG = 1;

/**
 * What the caller wishes, or else what the call's flags say; both are made the same, since a daemon drops the connection that
 * sends a hole without having said so.
 * @throws InvalidArgumentError where the procedure has no holes, or the two contradict each other
 */
export function chooseSparse(
  procedure: Procedure,
  args: object,
  wish: boolean | undefined,
): { readonly sparse: boolean; readonly flags: { readonly flags?: number } } {
  const { flags } = args as { readonly flags?: number };
  const asked = procedure.sparseFlag === true && typeof flags === "number" && (flags & SPARSE_FLAG) !== 0;
  const sparse = wish ?? asked;
  if (sparse && procedure.sparseFlag !== true)
    throw new InvalidArgumentError({ field: "sparse", value: sparse, expected: `false for ${procedure.name}` });
  if (!sparse && asked)
    throw new InvalidArgumentError({
      field: "sparse",
      value: sparse,
      expected: "true, as the call's flags ask for holes",
    });
  return { sparse, flags: sparse ? { flags: (flags ?? 0) | SPARSE_FLAG } : {} };
}
