/** Both directions of a guest's serial console. */
import { connect } from "node:net";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { open } from "node:fs/promises";
import { ConflictError, abortErrorOf, onAbort, withDeadline } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { ConsoleUnavailableError } from "../../driver/index.js";
import { ConsoleStream } from "../../host/index.js";
import type { GuestCore } from "../guest-core.js";
import { GUEST_FILES, PARTS } from "../plan/command-line.js";

/**
 * Opens a guest's console. It ends with the guest.
 * @throws InvalidStateError when the guest is not in memory; ConflictError when somebody has its console open; ConsoleUnavailableError
 */
export async function openConsole(core: GuestCore, { signal, deadline }: CommonOptions): Promise<Duplex> {
  const session = core.requireSession("openConsole");
  const { consoleMs } = core.host.timeouts;
  if (core.consoleOpen) throw taken(core);
  core.consoleOpen = true;
  try {
    const limits = { operation: "opening the console", clock: core.host.clock, signal };
    const socket = await withDeadline(Math.min(deadline ?? consoleMs, consoleMs), limits, async (limit) => {
      const chardevs = await session.execute("query-chardev", {}, { signal: limit.signal });
      const chardev = chardevs.find(({ label }) => label === PARTS.consoleChardev);
      // QEMU serves one; a second would connect and hear nothing.
      if (chardev?.filename.startsWith("disconnected:") !== true) throw taken(core);
      return connectSocket(core, limit.signal);
    });
    const stream = new ConsoleStream(socket);
    stream.once("close", () => (core.consoleOpen = false));
    return stream;
  } catch (error) {
    core.consoleOpen = false;
    throw error;
  }
}

/** By way of the directory, so that its path may be longer than socket addresses can be. */
async function connectSocket(core: GuestCore, signal: AbortSignal): Promise<Socket> {
  const directory = await open(core.files.directory, "r");
  try {
    return await new Promise<Socket>((resolve, reject) => {
      const socket = connect({ path: `/proc/self/fd/${directory.fd}/${GUEST_FILES.console}` });
      const forget = onAbort(signal, () => {
        socket.destroy();
        reject(abortErrorOf(signal, "opening the console"));
      });
      socket.once("connect", () => {
        forget();
        resolve(socket);
      });
      socket.once("error", (error) => {
        forget();
        reject(
          new ConsoleUnavailableError("the guest's console can't be reached", {
            instance: core.instance,
            cause: error,
          }),
        );
      });
    });
  } finally {
    await directory.close();
  }
}

function taken(core: GuestCore): ConflictError {
  return new ConflictError("the guest's console is open already", { instance: core.instance });
}
