/** Holds console logs short while their guests write: a guest must not be able to fill its host's disk. */
import { traceMessage } from "../../core/index.js";
import { watchKeptLog } from "../../host/index.js";
import type { GuestCore } from "../guest-core.js";
import { consoleLogOf } from "./console-log.js";

/** Watches a guest's console log until the returned function is called; without a watch it is still shortened whenever its guest is started or found again. */
export function watchConsoleLog(core: GuestCore): () => void {
  return watchKeptLog(consoleLogOf(core), {
    maxBytes: core.host.consoleLogBytes,
    onFailure: (error) =>
      traceMessage("hypervise:kvm:background-failure", () => ({ instance: core.instance, error: String(error) })),
  });
}
