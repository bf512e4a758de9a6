/** Waiting for what goes on by itself, but not for ever. */
import type { LibvirtHost } from "../host.js";

/** Resolves when the work has ended, however it did, or the time is over. */
export async function waitAtMost({ clock }: LibvirtHost, limitMs: number, work: Promise<unknown>): Promise<void> {
  const limit = new AbortController();
  const time = clock.sleep(limitMs, { signal: limit.signal }).catch(() => undefined);
  await Promise.race([work.catch(() => undefined), time]);
  limit.abort();
}
