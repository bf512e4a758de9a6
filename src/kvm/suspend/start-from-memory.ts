/** Starting QEMU with the memory and devices that another has written to a file. */
import { closeSync, openSync } from "node:fs";
import type { CommonOptions } from "../../core/index.js";
import { HostIoError } from "../../host/index.js";
import type { GuestCore } from "../guest-core.js";
import { receiveGuest } from "../lifecycle/start.js";
import type { Arrival } from "../lifecycle/start.js";
import { setCapabilities } from "../migration/settings.js";
import { followMigration } from "../migration/watch.js";
import type { GuestSession } from "../session.js";

export interface StartFromMemory extends Pick<Arrival, "received" | "run" | "fresh"> {
  /** Done before anything of the memory is there. */
  readonly prepare?: (session: GuestSession, signal: AbortSignal | undefined) => Promise<void>;
  /** Done when the memory is there and before the vCPUs run: what the guest is to have that the one whose memory it is had not. */
  readonly arrange?: (core: GuestCore) => Promise<void>;
}

/**
 * Brings a guest that is not in memory there from a file, which is only read. The guest's definition and hardware have to be those that the memory was written with.
 * @throws GuestStartError when QEMU can't read it, with its own words; HostIoError when the file is not there; what `startGuest` throws. Then nothing runs and the guest is as before.
 */
export async function startFromMemory(
  core: GuestCore,
  path: string,
  { received, run, fresh, prepare, arrange }: StartFromMemory,
  options: CommonOptions,
): Promise<void> {
  const { memoryMs } = core.host.timeouts;
  const file = openForReading(path);
  try {
    await receiveGuest(
      core,
      {
        inherited: [file],
        receive: async (session, [descriptor], { signal, deadlineMs = memoryMs }) => {
          session.setMoving(true);
          await setCapabilities(session, new Set(["events", "late-block-activate"]), signal);
          await prepare?.(session, signal);
          await session.execute("migrate-incoming", { uri: `fd:${descriptor ?? -1}` }, { signal });
          const what = "reading the guest's memory";
          await followMigration(core, session, ({ status }) => (status === "completed" ? true : undefined), {
            what,
            limitMs: deadlineMs,
            signal,
          });
          await arrange?.(core);
          session.setMoving(false);
        },
        received,
        run,
        ...(fresh === undefined ? {} : { fresh }),
        limitMs: memoryMs,
      },
      options,
    );
  } finally {
    closeSync(file);
  }
}

function openForReading(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw new HostIoError({ operation: "opening a guest's memory", path, cause: error });
  }
}
