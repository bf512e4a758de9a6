/** Holds console logs short while their guests write: a guest must not be able to fill its host's disk. */
import { watch } from "node:fs";
import type { FSWatcher } from "node:fs";
import { traceMessage } from "../../core/index.js";
import type { GuestCore } from "../guest-core.js";
import { trimConsoleLog } from "./console-log.js";

/** Watches a guest's console log until the returned function is called. One look at a time, and none while nothing is written. */
export function watchConsoleLog(core: GuestCore): () => void {
  let busy = false;
  let again = false;
  const look = async (): Promise<void> => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    do {
      again = false;
      await trimConsoleLog(core).catch((error: unknown) => {
        traceMessage("hypervise:kvm:background-failure", () => ({ instance: core.instance, error: String(error) }));
      });
    } while (again);
    busy = false;
  };
  const watcher = openWatcher(core.files.consoleLog, () => void look());
  void look();
  return () => watcher?.close();
}

/** Without a watch the log is still shortened whenever its guest is started, found again or its console read. */
function openWatcher(path: string, onChange: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(path, { persistent: false }, onChange);
    watcher.on("error", () => watcher.close());
    return watcher;
  } catch {
    return undefined;
  }
}
