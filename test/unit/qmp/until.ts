/** Waits, turn by turn of the event loop, until something is so; fails when it does not come to be. */
export async function until(condition: () => boolean, patienceMs = 8_000): Promise<void> {
  const end = performance.now() + patienceMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`never came to be: ${condition.toString()}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
