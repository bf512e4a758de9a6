/** Asking libvirt how far a migration is, of which it tells little by itself. */
import { DomainJobType } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import type { Nudge } from "./nudge.js";
import type { JobFigures } from "./progress.js";

/** Undefined when libvirt has not begun, or does not answer now; whether it has failed its own call tells. */
export async function readFigures({ domain, host }: GuestCore): Promise<JobFigures | undefined> {
  try {
    const { type, params } = await domain.getJobStats({ deadlineMs: host.timeouts.queryMs });
    return type === DomainJobType.none ? undefined : params;
  } catch {
    return undefined;
  }
}

/** Tells how far it is for as long as the work takes. @returns what the work gives */
export async function tellWhile<T>(
  core: GuestCore,
  work: Promise<T>,
  nudge: Nudge,
  tell: (figures: JobFigures) => void | Promise<void>,
): Promise<T> {
  const { clock, timeouts } = core.host;
  let over = false;
  const done = work.finally(() => {
    over = true;
    nudge.poke();
  });
  done.catch(() => undefined);
  for (;;) {
    await nudge.wait(clock, timeouts.progressMs);
    if (over) return done;
    const figures = await readFigures(core);
    if (figures !== undefined) await tell(figures);
  }
}

/** Has each pass over memory looked at when it begins. @returns what ends that */
export function followPasses(core: GuestCore, nudge: Nudge): () => void {
  const listener = core.listen();
  const heard = listener.until<true>(
    (signal) => {
      if (signal?.type === "migrationIteration") nudge.poke();
      return undefined;
    },
    { operation: "following a migration", deadlineMs: core.host.timeouts.migrationMs },
  );
  // It ends with the listener.
  heard.catch(() => undefined);
  return () => listener.close();
}
