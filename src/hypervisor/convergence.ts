/** How a live migration comes to an end: the standstill that it may take grows while memory is dirtied faster than it is copied. Pure. */

/** Of the longest standstill that the caller allows: it begins at a tenth and grows by a tenth each time that the migration stalls. */
const STEPS = 10;
/** Passes over memory without getting further, after which the migration stalls. */
const PASSES_TO_STALL = 2;
/** A pass that leaves more than this part of the least so far has got no further. */
const GAIN = 0.9;

export interface Convergence {
  readonly longestMs: number;
  readonly step: number;
  readonly iteration: number;
  /** Least that was left at the end of a pass, bytes. */
  readonly leastBytes: number;
  readonly idlePasses: number;
}

export function beginConvergence(longestMs: number): Convergence {
  return { longestMs, step: 1, iteration: 0, leastBytes: Number.POSITIVE_INFINITY, idlePasses: 0 };
}

/** The standstill that the guest is allowed now, milliseconds. */
export function downtimeLimit({ longestMs, step }: Convergence): number {
  return Math.max(1, Math.round((longestMs * step) / STEPS));
}

/** After one look. A new pass that leaves no less than those before it is a step towards a longer standstill, until the longest. */
export function converge(state: Convergence, iteration: number, remainingBytes: number): Convergence {
  if (iteration <= state.iteration || iteration < 2)
    return { ...state, iteration: Math.max(iteration, state.iteration) };
  const further = remainingBytes < state.leastBytes * GAIN;
  const seen = { ...state, iteration, leastBytes: Math.min(state.leastBytes, remainingBytes) };
  if (further) return { ...seen, idlePasses: 0 };
  const idlePasses = state.idlePasses + (iteration - state.iteration);
  if (idlePasses < PASSES_TO_STALL) return { ...seen, idlePasses };
  return { ...seen, idlePasses: 0, step: Math.min(STEPS, state.step + 1) };
}
