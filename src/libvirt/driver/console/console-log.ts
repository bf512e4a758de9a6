/** What guests write to their consoles, kept by QEMU or virtlogd in a file of its own, and held short by us. */
import { traceMessage } from "../../../core/index.js";
import type { ConsoleLog } from "../../../driver/index.js";
import { readKeptLog, watchKeptLog } from "../../../host/index.js";
import type { KeptLog } from "../../../host/index.js";
import type { GuestCore } from "../guest-core.js";

/** As many as virtlogd may be told to keep. */
const OLDER = 9;

/** The last bytes of a guest's console, whether it is in memory or not; empty when it never was. @throws HostIoError */
export function readConsoleLog(core: GuestCore, maxBytes: number): Promise<ConsoleLog> {
  return readKeptLog(consoleLogOf(core), maxBytes);
}

/** Holds a guest's log short until the returned function is called: a guest must not be able to fill its host's disk. */
export function watchConsoleLog(core: GuestCore): () => void {
  return watchKeptLog(consoleLogOf(core), {
    maxBytes: core.host.options.consoleLogBytes,
    // Its file is there from the first start on, and virtlogd puts others in its place.
    watched: core.files.directory,
    onFailure: (error) =>
      traceMessage("hypervise:libvirt:background-failure", () => ({ instance: core.instance, error: String(error) })),
  });
}

/** Older parts have the names that virtlogd gives them. */
function consoleLogOf({ files: { consoleLog } }: GuestCore): KeptLog {
  const [first = "", ...rest] = Array.from({ length: OLDER }, (_, age) => `${consoleLog}.${age}`);
  return { path: consoleLog, older: [first, ...rest] };
}
