/** Times of pieces of work, in milliseconds. */

export async function timed(work: () => unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
}

/** To one decimal. */
export function ms(value: number): number {
  return Number(value.toFixed(1));
}

/** How much of `of`, to two decimals. */
export function ratio(value: number, of: number): number {
  return Number((value / of).toFixed(2));
}

/** The median of some rounds; one before them does not count. */
export async function medianOf(rounds: number, work: (round: number) => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const took = await timed(() => work(round));
    if (round > 0) times.push(took);
  }
  return ms(median(times));
}
