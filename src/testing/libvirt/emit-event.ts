/** Sends events to the clients of a fake daemon that have asked for them. */
import type { EventFamily, LibvirtProtocol } from "../../libvirt/rpc/index.js";
import type { LibvirtRpc } from "./libvirt-rpc.js";
import type { ServedClient } from "./served-client.js";

/** Domain events up to this one carry what older messages brought as a member of its own, `msg`. */
const LAST_WRAPPED = 15;

/** Tells everybody who is interested. @throws InvalidArgumentError for data that the event does not have */
export function emitEvent(
  rpc: LibvirtRpc,
  clients: Iterable<ServedClient>,
  family: EventFamily,
  name: string,
  data: object,
): void {
  const shape = rpc.EVENT_FAMILIES[family];
  const events: Readonly<Record<string, readonly [id: number, message: string]>> = shape.events;
  const event = Object.hasOwn(events, name) ? events[name] : undefined;
  if (event === undefined) throw new TypeError(`${family} has no event ${name}`);
  const [eventId, message] = event;
  const procedure = rpc.procedureNamed("remote", message);
  const about = (data as Readonly<Record<string, unknown>>)[shape.object] as object | undefined;
  const payload = family === "domain" && eventId <= LAST_WRAPPED ? wrapped(data) : data;
  for (const client of clients)
    for (const callbackId of client.events.interested(family, eventId, about))
      client.sendEvent(procedure, { callbackId, ...payload });
}

/** Tells of an event of QEMU's monitor. */
export function emitMonitorEvent(
  rpc: LibvirtRpc,
  clients: Iterable<ServedClient>,
  event: { readonly dom: LibvirtProtocol.RemoteDomain; readonly event: string; readonly details?: string | undefined },
  now: number,
): void {
  const procedure = rpc.procedureNamed("qemu", "domainMonitorEvent");
  const time = { seconds: BigInt(Math.floor(now / 1000)), micros: (now % 1000) * 1000 };
  for (const client of clients)
    for (const callbackId of client.events.interestedInMonitor(event.event, event.dom))
      client.sendEvent(procedure, { callbackId, ...time, ...event });
}

/** Power management events have their reason beside the message, the others all in it. */
function wrapped(data: object): object {
  const { reason, ...rest } = data as { readonly reason?: unknown; readonly dom?: unknown };
  const outside = "dom" in rest && Object.keys(rest).length === 1 && reason !== undefined;
  return outside ? { reason, msg: rest } : { msg: data };
}
