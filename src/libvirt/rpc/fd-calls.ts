/** Which procedures take or give file descriptors, and how many. */
import { InvalidArgumentError, NotSupportedError } from "../../core/index.js";
import { MAX_FRAME_FDS } from "./frame.js";
import type { Procedure } from "./procedure.js";

/** Their replies carry descriptors, which a plain read loses. */
const ANSWERED_WITH_FDS: ReadonlySet<string> = new Set(["domainOpenGraphicsFd", "domainLxcOpenNamespace"]);

/**
 * Checks the descriptors of a call.
 * @throws NotSupportedError for procedures that answer with a descriptor; InvalidArgumentError where none or others are taken
 */
export function checkFds(procedure: Procedure, fds: readonly number[] | undefined): void {
  if (ANSWERED_WITH_FDS.has(procedure.name)) {
    const message = `${procedure.name} is answered with a descriptor, which can't be received here`;
    throw new NotSupportedError({ capability: "fdReceiving", message });
  }
  if (fds === undefined) return;
  const fine = procedure.passesFds === true && fds.length >= 1 && fds.length <= MAX_FRAME_FDS;
  if (fine && fds.every((fd) => Number.isInteger(fd) && fd >= 0)) return;
  const expected = procedure.passesFds === true ? `1 to ${MAX_FRAME_FDS} descriptors` : `none for ${procedure.name}`;
  throw new InvalidArgumentError({ field: "fds", value: fds, expected });
}
