/** Which memory modules make up an amount. Pure. */

interface Module {
  readonly sizeMiB?: number;
}

/** Modules that are just so large together, those plugged last first; undefined where none are. */
export function chooseModules<M extends Module>(modules: readonly M[], totalMiB: number): readonly M[] | undefined {
  // For each sum that can be reached, the modules that first reached it.
  const reached = new Map<number, readonly M[]>([[0, []]]);
  for (const module of [...modules].reverse()) {
    for (const [sum, chosen] of [...reached]) {
      const next = sum + (module.sizeMiB ?? 0);
      if (next <= totalMiB && !reached.has(next)) reached.set(next, [...chosen, module]);
    }
    if (reached.has(totalMiB)) break;
  }
  return reached.get(totalMiB);
}
