/** Events as a reader gets them: QEMU's own, and the two that the client adds where a reader would otherwise wait in vain. */
import type { Events } from "./generated/qapi.gen.js";
import type { QmpDisconnectedError, QmpProtocolError } from "./errors.js";
import { isQmpObject } from "./qmp-value.js";
import type { QmpObject } from "./qmp-value.js";

/** The events that QEMU's schema names. */
export type QmpEventName = keyof Events & string;

/** When QEMU says that it happened, by its host's clock. Both are -1 when QEMU could not read its clock. */
export interface QmpTimestamp {
  readonly seconds: number;
  readonly microseconds: number;
}

/** An event of QEMU; for a name that is in the schema, `data` is typed after it. */
export interface QmpEvent<N extends string = string> {
  readonly event: N;
  /** Empty for an event without data. */
  readonly data: N extends QmpEventName ? Events[N] : QmpObject;
  readonly timestamp: QmpTimestamp;
}

/** One event type for each name, so that comparing `event` narrows `data`. */
export type QmpEventOf<N extends string> = N extends string ? QmpEvent<N> : never;

/** The reader was slower than its capacity; `dropped` events were lost at this place. */
export interface QmpOverflowEvent {
  readonly event: "overflow";
  readonly data: { readonly dropped: number };
}

/** Why a session ended. */
export interface QmpClosure {
  /**
   * `closed`: by this side. `quit`: QEMU exited because this client asked it to. `lost`: by the peer, or its death.
   * `protocol`: the peer broke the protocol.
   */
  readonly reason: "closed" | "quit" | "lost" | "protocol";
  readonly error?: QmpDisconnectedError | QmpProtocolError;
}

/** The session is over; the last event of every reader. */
export interface QmpDisconnectedEvent {
  readonly event: "disconnected";
  readonly data: QmpClosure;
}

/** What a reader of events gets. The client's own events have names in lower case, which QEMU's never have. */
export type QmpStreamEvent<N extends string = QmpEventName> = QmpEventOf<N> | QmpOverflowEvent | QmpDisconnectedEvent;

const NO_TIMESTAMP: QmpTimestamp = { seconds: -1, microseconds: -1 };

/** Reads an event message; undefined when it is none. */
export function readEvent(message: QmpObject): QmpEvent | undefined {
  const { event, data, timestamp } = message;
  if (typeof event !== "string" || !isUpperCase(event.charCodeAt(0))) return undefined;
  return { event, data: isQmpObject(data) ? data : {}, timestamp: readTimestamp(timestamp) };
}

function isUpperCase(code: number): boolean {
  return code >= 0x41 && code <= 0x5a;
}

function readTimestamp(value: unknown): QmpTimestamp {
  if (!isQmpObject(value)) return NO_TIMESTAMP;
  const { seconds, microseconds } = value;
  return typeof seconds === "number" && typeof microseconds === "number" ? { seconds, microseconds } : NO_TIMESTAMP;
}
