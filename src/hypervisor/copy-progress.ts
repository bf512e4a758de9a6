/** Telling how far a copy is, of hypervisors that say so only when asked. */
import type { Clock, TimerHandle } from "../core/index.js";
import type { CopyProgress } from "../driver/index.js";

/** Where the work goes on. */
export interface WorkHost {
  readonly clock: Clock;
  /** `progressMs`: time between two looks. */
  readonly timeouts: { readonly progressMs: number };
}

export type OnCopyProgress = (progress: CopyProgress) => void;

/** Runs work and tells meanwhile how far it is. `ask` never rejects; it gives undefined where nobody knows. */
export async function withCopyProgress<T>(
  { clock, timeouts }: WorkHost,
  ask: () => Promise<CopyProgress | undefined>,
  onCopyProgress: OnCopyProgress | undefined,
  work: () => Promise<T>,
): Promise<T> {
  if (onCopyProgress === undefined) return work();
  let over = false;
  let timer: TimerHandle | undefined;
  const tell = (): void => {
    timer = clock.setTimeout(() => {
      void ask().then((progress) => {
        if (over) return;
        if (progress !== undefined) notify(onCopyProgress, progress);
        tell();
      });
    }, timeouts.progressMs);
  };
  tell();
  try {
    return await work();
  } finally {
    over = true;
    timer?.cancel();
  }
}

/** Calls a listener; what it throws is its own affair. */
export function notify<A extends readonly unknown[]>(listener: ((...args: A) => void) | undefined, ...args: A): void {
  try {
    listener?.(...args);
  } catch {
    return;
  }
}
