/** Which memory modules make up an amount. Pure. */

interface Module {
  readonly sizeMiB: number;
}

/** Modules that are just so large together, those plugged last first; undefined where none are. */
export function chooseModules<M extends Module>(modules: readonly M[], totalMiB: number): readonly M[] | undefined {
  let sums = new Map<number, readonly M[]>([[0, []]]);
  for (let index = modules.length - 1; index >= 0 && !sums.has(totalMiB); index -= 1) {
    const module = modules[index] as M;
    const larger = [...sums].map(([sum, chosen]) => [sum + module.sizeMiB, [...chosen, module]] as const);
    sums = new Map([...larger.filter(([sum]) => sum <= totalMiB), ...sums]);
  }
  return sums.get(totalMiB);
}
