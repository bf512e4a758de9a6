/** What can be asked for at a daemon: one kind of event about one object or all, as a call that begins and one that ends it. */
import { InvalidArgumentError } from "../../../core/index.js";
import { procedureNamed } from "../procedures.js";
import type { Procedure } from "../procedure.js";
import { EVENT_FAMILIES } from "./event-families.js";
import type { EventFamily } from "./event-families.js";

/** Where events come from, in the terms of the protocol. */
export interface EventSource {
  /** The same for what one registration at the daemon serves. */
  readonly key: string;
  /** In which numbers of registrations are given out: each family of each program has its own. */
  readonly family: string;
  /** The event's name as its reader knows it. */
  readonly name: string;
  readonly register: Procedure;
  readonly registerArguments: object;
  readonly deregister: Procedure;
  /** The message that brings the event. */
  readonly message: Procedure;
  /** Whether the daemon gives out a number; the close callback has none. */
  readonly numbered: boolean;
}

/** The source of one of a family's events. @throws InvalidArgumentError for names that libvirt does not have */
export function familySource(family: EventFamily, name: string, object: object | undefined): EventSource {
  const shape = Object.hasOwn(EVENT_FAMILIES, family) ? EVENT_FAMILIES[family] : undefined;
  if (shape === undefined)
    throw new InvalidArgumentError({
      field: "family",
      value: family,
      expected: Object.keys(EVENT_FAMILIES).join(", "),
    });
  const events: Readonly<Record<string, readonly [number, string]>> = shape.events;
  const event = Object.hasOwn(events, name) ? events[name] : undefined;
  if (event === undefined)
    throw new InvalidArgumentError({ field: "event", value: name, expected: Object.keys(events).join(", ") });
  const [eventId, message] = event;
  return {
    key: `${family}/${eventId}/${objectKey(object)}`,
    family: `remote/${family}`,
    name,
    register: procedureNamed("remote", shape.register),
    registerArguments: { eventId, [shape.object]: object },
    deregister: procedureNamed("remote", shape.deregister),
    message: procedureNamed("remote", message),
    numbered: true,
  };
}

/** Which events of QEMU's monitor. */
export interface MonitorEventFilter {
  /** One domain; all when absent. */
  readonly dom?: { readonly name: string; readonly uuid: string; readonly id: number } | undefined;
  /** The event's name in QMP, or with `regex` a pattern for it; all when absent. */
  readonly event?: string | undefined;
  /** Whether `event` is a regular expression. Default: false. */
  readonly regex?: boolean | undefined;
  /** Whether a regular expression ignores case. Default: false. */
  readonly ignoreCase?: boolean | undefined;
}

/** The source of events of QEMU's monitors. */
export function monitorSource(filter: MonitorEventFilter): EventSource {
  const { dom, event } = filter;
  const flags = (filter.regex === true ? 1 : 0) | (filter.ignoreCase === true ? 2 : 0);
  return {
    key: `monitor/${flags}/${objectKey(dom)}/${event ?? ""}`,
    family: "qemu/domain",
    name: "monitor",
    register: procedureNamed("qemu", "connectDomainQemuMonitorEventRegister"),
    registerArguments: { dom, event, flags },
    deregister: procedureNamed("qemu", "connectDomainQemuMonitorEventDeregister"),
    message: procedureNamed("qemu", "domainMonitorEvent"),
    numbered: true,
  };
}

/** The source of the event by which a daemon tells that it lost its own connection to the hypervisor. */
export function closeSource(): EventSource {
  return {
    key: "connection/closed",
    family: "remote/connection",
    name: "closed",
    register: procedureNamed("remote", "connectRegisterCloseCallback"),
    registerArguments: {},
    deregister: procedureNamed("remote", "connectUnregisterCloseCallback"),
    message: procedureNamed("remote", "connectEventConnectionClosed"),
    numbered: false,
  };
}

/** In which family's numbers a message speaks; undefined for messages that nobody here asks for. */
export function familyOfMessage(procedure: Procedure): string | undefined {
  return messageFamilies().get(`${procedure.program}/${procedure.name}`);
}

let families: ReadonlyMap<string, string> | undefined;

function messageFamilies(): ReadonlyMap<string, string> {
  families ??= new Map([
    ...Object.entries(EVENT_FAMILIES).flatMap(([family, { events }]) =>
      Object.values(events).map(([, message]): [string, string] => [`remote/${message}`, `remote/${family}`]),
    ),
    ["qemu/domainMonitorEvent", "qemu/domain"],
    ["remote/connectEventConnectionClosed", "remote/connection"],
  ]);
  return families;
}

/** Domains change their id with each start; the uuid, or else the name, is what they are known by. */
function objectKey(object: object | undefined): string {
  if (object === undefined) return "*";
  const { uuid, name } = object as { readonly uuid?: unknown; readonly name?: unknown };
  return typeof uuid === "string" ? uuid : JSON.stringify(name);
}
