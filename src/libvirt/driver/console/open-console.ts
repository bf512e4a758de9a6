/** Both directions of a guest's console, by libvirt's stream. */
import type { Duplex } from "node:stream";
import { ConflictError, onAbort } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { ConsoleStream } from "../../../host/index.js";
import { ErrorNumber, isLibvirtError } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import { runsQemu } from "../host.js";
import { inMemoryCall } from "../in-memory-call.js";
import { serialAlias } from "../plan/index.js";

/**
 * Opens a guest's console; it ends with the guest. `virDomainOpenConsole`. It is read at once, whoever reads here: an unread stream would hold up
 * the connection that all guests share. @throws InvalidStateError when the guest is not in memory; ConflictError when somebody has its console open
 */
export async function openConsole(core: GuestCore, options: CommonOptions): Promise<Duplex> {
  const { domain, host, instance } = core;
  const { signal, deadlineMs } = core.limits(options, host.timeouts.consoleMs);
  // The caller's signal ends the opening; the console goes on after that.
  const opening = new AbortController();
  const forget = onAbort(signal, () => opening.abort(signal?.reason));
  try {
    return await inMemoryCall(core, "openConsole", async () => {
      // Where the others are TCP ports, the last one is a pseudo terminal.
      const port = core.state.serialConsole?.ports.length ?? 0;
      const devName = runsQemu(host) ? { devName: serialAlias(port) } : {};
      return new ConsoleStream(await domain.openConsole({ ...devName, signal: opening.signal, deadlineMs }));
    });
  } catch (error) {
    if (isLibvirtError(error) && error.libvirtCode === ErrorNumber.operationFailed)
      throw new ConflictError("the guest's console is open already", { instance, cause: error });
    throw error;
  } finally {
    forget();
  }
}
