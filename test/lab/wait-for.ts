// Waits that end when something holds, and fail with what they waited for when it does not hold in time.
import { watch } from "node:fs";
import type { FSWatcher } from "node:fs";
import { dirname } from "node:path";

export interface WaitOptions {
  /** Default 10 000. */
  readonly timeoutMs?: number;
  /** What is waited for, for the error message. */
  readonly what?: string;
  /** Directories or files whose changes make the condition worth another look; without any, it is looked at every 25 ms. */
  readonly watch?: readonly string[];
  /** Added to the error message, such as the end of a log. */
  readonly detail?: () => string;
}

const RECHECK_MS = 25;
/** Between looks that a watched file announces, in case an announcement is lost. */
const WATCHED_RECHECK_MS = 500;
/** What one look may take beyond the limit. */
const GRACE_MS = 20_000;

/**
 * Resolves with the first value of `condition` that is neither `undefined` nor `false`.
 *
 * @throws Error when the time is over, and whatever `condition` throws.
 */
export async function waitFor<T>(
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  options: WaitOptions = {},
): Promise<T> {
  const { timeoutMs = 10_000, what = "a condition", detail } = options;
  const deadline = performance.now() + timeoutMs;
  const watched = options.watch ?? [];
  for (;;) {
    // Watching starts before looking, so that no change falls between the two.
    const change = nextChange(watched, watched.length > 0 ? WATCHED_RECHECK_MS : RECHECK_MS);
    try {
      const value = await answered(condition(), deadline - performance.now() + GRACE_MS, what);
      if (value !== undefined && value !== false) return value;
      if (performance.now() >= deadline) {
        const said = detail?.();
        throw new Error(`no sign of ${what} after ${timeoutMs} ms${said ? `; last seen:\n${said}` : ""}`);
      }
      await change.happened;
    } finally {
      change.stop();
    }
  }
}

/** A condition that never answers is told from one that does not hold. */
async function answered<T>(answer: T | Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`looking for ${what} never ended`)), timeoutMs);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}

/** Waits until `path` exists. */
export async function waitForFile(path: string, options: Omit<WaitOptions, "watch"> = {}): Promise<void> {
  const { existsSync } = await import("node:fs");
  await waitFor(() => existsSync(path), { what: path, ...options, watch: [dirname(path)] });
}

function nextChange(paths: readonly string[], atMostMs: number): { happened: Promise<void>; stop: () => void } {
  const watchers: FSWatcher[] = [];
  let timer: NodeJS.Timeout | undefined;
  const happened = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, atMostMs);
    for (const path of paths) {
      try {
        watchers.push(watch(path, { persistent: false }, () => resolve()).on("error", () => resolve()));
      } catch {
        // Not there yet: the timer looks again.
      }
    }
  });
  return {
    happened,
    stop() {
      clearTimeout(timer);
      for (const watcher of watchers) watcher.close();
    },
  };
}
