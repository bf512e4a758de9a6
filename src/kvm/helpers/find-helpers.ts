/** Finding and ending the processes that guests need beside QEMU, whoever started them. */
import { readFile, readdir } from "node:fs/promises";
import { isHyperviseError } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import { GuestStuckError } from "../../driver/index.js";
import { identityOf, killProcess, waitForExit } from "../../host/index.js";
import type { ProcessIdentity } from "../../host/index.js";

/** In a helper's environment: the directory of its guest. */
export const HELPER_MARK = "HYPERVISE_GUEST_DIRECTORY";

export interface EndHelpersOptions {
  readonly clock: Clock;
  /** What they are given to end by themselves. */
  readonly quitMs: number;
  /** From SIGKILL until they are gone. */
  readonly killMs: number;
}

/** Ends the helpers of guests with these directories; success when there are none. @throws GuestStuckError, HostIoError */
export async function endHelpers(isOf: (directory: string) => boolean, options: EndHelpersOptions): Promise<void> {
  const helpers = await findHelpers(isOf);
  await Promise.all(helpers.map((helper) => endHelper(helper, options)));
}

/** Processes that bear the mark of such a directory; with a helper also those that it has split off. */
export async function findHelpers(isOf: (directory: string) => boolean): Promise<readonly ProcessIdentity[]> {
  const found: ProcessIdentity[] = [];
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const environment = (await readFile(`/proc/${entry}/environ`, "utf8").catch(() => "")).split("\0");
    const directory = environment.find((member) => member.startsWith(`${HELPER_MARK}=`))?.slice(HELPER_MARK.length + 1);
    if (directory === undefined || !isOf(directory)) continue;
    const identity = await identityOf(Number(entry));
    if (identity !== undefined) found.push(identity);
  }
  return found;
}

async function endHelper(helper: ProcessIdentity, { clock, quitMs, killMs }: EndHelpersOptions): Promise<void> {
  await killProcess(helper, "SIGTERM");
  const gone = await waitForExit(helper, { timeoutMs: quitMs, clock }).then(
    () => true,
    (error: unknown) => {
      if (!isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
      return false;
    },
  );
  if (gone) return;
  await killProcess(helper, "SIGKILL");
  await waitForExit(helper, { timeoutMs: killMs, clock }).catch((error: unknown) => {
    if (!isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
    throw new GuestStuckError("a process beside QEMU does not end although it was killed", { cause: error });
  });
}
