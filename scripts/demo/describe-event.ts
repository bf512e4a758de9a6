/** Events of a driver as one line for people. */
import type { DriverEvent } from "hypervise";

const CAUSES = {
  self: "we did it",
  guest: "the guest did it",
  external: "somebody else did it",
  crash: "a fault",
} as const;

export function describeEvent(event: DriverEvent): string {
  switch (event.type) {
    case "lifecycle":
      return `guest ${event.transition} (${CAUSES[event.cause]})`;
    case "instance":
      return `instance ${event.change}`;
    case "device":
      return `device ${event.change}: ${event.device}`;
    case "agent":
      return `guest agent ${event.connected ? "answers" : "is gone"}`;
    case "ioError":
      return `I/O error on ${event.device}${event.reason === undefined ? "" : `: ${event.reason}`}`;
    case "connection":
      return `connection to the hypervisor ${event.state}`;
    case "overflow":
      return `${event.dropped} events were dropped`;
  }
}
