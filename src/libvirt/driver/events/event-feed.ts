/** Reads the domains' events of a connection, and gives each to the guest that it is about. */
import { traceMessage } from "../../../core/index.js";
import type { LibvirtConnection } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import { FOLLOWED_EVENTS } from "./followed-events.js";
import { receiveEvent } from "./receive-event.js";

/** A daemon may tell much while this process is busy. */
const CAPACITY = 65_536;

export interface EventFeedSubject {
  readonly connection: LibvirtConnection;
  readonly find: (uuid: string) => GuestCore | undefined | Promise<GuestCore | undefined>;
  /** Events were missed. */
  readonly onGap: () => Promise<void>;
}

/** Resolves when the daemon has registered all: whatever happens from then on is told. @returns what ends the reading */
export async function followEvents(
  { connection, find, onGap }: EventFeedSubject,
  signal?: AbortSignal,
): Promise<() => Promise<void>> {
  const reader = await connection.events("domain", FOLLOWED_EVENTS, { signal, capacity: CAPACITY });
  const read = async (): Promise<void> => {
    for await (const item of reader) {
      if (item.kind !== "event") await onGap();
      else {
        const { dom } = item.data;
        const core = await find(dom.uuid);
        if (core !== undefined) receiveEvent(core, item);
      }
    }
  };
  const reading = read().catch((error: unknown) => {
    traceMessage("hypervise:libvirt:background-failure", () => ({ error: String(error) }));
  });
  return async () => {
    await reader.return();
    await reading;
  };
}
