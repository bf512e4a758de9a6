/** What guests write to their serial consoles, kept by QEMU in a file of its own and held short by us. */
import type { ConsoleLog } from "../../driver/index.js";
import { readKeptLog, shortenKeptLog } from "../../host/index.js";
import type { KeptLog } from "../../host/index.js";
import type { GuestCore } from "../guest-core.js";

/** The last bytes of a guest's console, whether it is in memory or not; empty when it never was. @throws HostIoError */
export function readConsoleLog(core: GuestCore, maxBytes: number): Promise<ConsoleLog> {
  return readKeptLog(consoleLogOf(core), maxBytes);
}

/** Holds a console's log short, to `consoleLogBytes`. @throws HostIoError */
export function trimConsoleLog(core: GuestCore): Promise<void> {
  return shortenKeptLog(consoleLogOf(core), core.host.consoleLogBytes);
}

export function consoleLogOf({ files: { consoleLog } }: GuestCore): KeptLog {
  return { path: consoleLog, older: [`${consoleLog}.1`] };
}
