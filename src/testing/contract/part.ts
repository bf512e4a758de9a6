/** The tests of one operation. */
import type { ContractContext } from "./context.js";

/** Defines its tests by `it`, or none where the driver lacks the facet. */
export type ContractPart = (context: ContractContext, it: (name: string, body: () => Promise<void>) => void) => void;
