/** Consoles of a simulated guest: its log, its serial line, and where its displays listen. */
import type { Duplex } from "node:stream";
import { ConflictError } from "../core/index.js";
import { ConsoleUnavailableError } from "../driver/index.js";
import type { ConsoleAddress, ConsoleLog, HypervisorFeature } from "../driver/index.js";
import { consoleText } from "./console-text.js";
import { CONSOLE_ENTRIES, extrasOf, inMemory, print } from "./guest-record.js";
import type { GuestRecord } from "./guest-record.js";
import { requireState } from "./guest-state.js";
import type { FakeHost } from "./host.js";
import { SerialConsole } from "./serial-console.js";

const FIRST_PORT = 5900;
const LAST_PORT = 65_535;
const FEATURE_OF = { vnc: "vncConsole", spice: "spiceConsole", serial: "serialConsole" } as const;

/** The last `maxBytes` bytes of what the guest has written. */
export function consoleLogOf(record: GuestRecord, maxBytes: number): ConsoleLog {
  const entries = record.boots === 0 && record.extras === undefined ? [] : extrasOf(record).console;
  const all = Buffer.from(entries.map((entry) => consoleText(record, entry)).join(""));
  const bytes = all.subarray(Math.max(0, all.length - maxBytes));
  return { bytes: new Uint8Array(bytes), truncated: all.length > maxBytes || entries.length >= CONSOLE_ENTRIES };
}

/** @throws ConflictError when somebody has the console open. */
export function openSerialConsole(record: GuestRecord): Duplex {
  const companions = (record.companions ??= new Set());
  for (const companion of companions) {
    if (companion instanceof SerialConsole) {
      throw new ConflictError("Somebody else has the console open", { instance: record.definition });
    }
  }
  const console = new SerialConsole(record, (text) => print(record, text));
  companions.add(console);
  console.once("close", () => record.companions?.delete(console));
  return console;
}

/** @throws ConsoleUnavailableError when the guest is not in memory, or the host has no port left. */
export function allocateConsole(
  host: FakeHost,
  record: GuestRecord,
  kind: "vnc" | "spice" | "serial",
  features: ReadonlySet<HypervisorFeature>,
): ConsoleAddress {
  if (!features.has(FEATURE_OF[kind]) || !inMemory(record)) {
    throw new ConsoleUnavailableError(`The guest has no ${kind} console now`, { instance: record.definition });
  }
  const { ports } = extrasOf(record);
  const port = (ports[kind] ??= takePort(host, record));
  return { kind, host: host.ipAddress, port };
}

function takePort(host: FakeHost, record: GuestRecord): number {
  const start = FIRST_PORT + host.consolePorts.size;
  for (let tried = 0; tried <= LAST_PORT - FIRST_PORT; tried++) {
    const port = start + tried > LAST_PORT ? start + tried - (LAST_PORT - FIRST_PORT + 1) : start + tried;
    if (host.consolePorts.has(port)) continue;
    host.consolePorts.add(port);
    return port;
  }
  throw new ConsoleUnavailableError("The host has no port left for consoles", { instance: record.definition });
}

/** @throws ConsoleUnavailableError when the guest has no console of the kind; InvalidStateError when it is not in memory. */
export function setConsolePassword(
  host: FakeHost,
  record: GuestRecord,
  kind: "vnc" | "spice",
  hash: string,
  features: ReadonlySet<HypervisorFeature>,
  validMs = Infinity,
): void {
  requireState(record, "setConsolePassword", ["running", "paused"]);
  if (!features.has(FEATURE_OF[kind]))
    throw new ConsoleUnavailableError(`The guest has no ${kind} console`, { instance: record.definition });
  const until = host.world.clock.now() + Math.min(validMs, Number.MAX_SAFE_INTEGER);
  const extras = extrasOf(record);
  extras.consolePasswords = { ...extras.consolePasswords, [kind]: { hash, until } };
}
