/** Subscribing to the driver's events. */
import { check } from "../../core/index.js";
import { checkUuid } from "../operation-options.js";
import type { DriverEvent } from "../events.js";
import type { EventOptions } from "../compute-driver.js";
import type { HostContext } from "../host-context.js";

const capacityCheck = check.integer({ min: 1, max: 1_048_576 });
const signalCheck = check.guarded((value): value is AbortSignal => value instanceof AbortSignal, "an AbortSignal");

/** May be called before `initHost`, so as to miss nothing. @throws InvalidArgumentError, ClosedError */
export function subscribe(host: HostContext, options: EventOptions = {}): AsyncIterableIterator<DriverEvent> {
  host.lifecycle.assertOpenable();
  if (options.capacity !== undefined) capacityCheck(options.capacity, "options.capacity");
  if (options.signal !== undefined) signalCheck(options.signal, "options.signal");
  if (options.instance !== undefined) checkUuid(options.instance);
  return host.events.subscribe(options);
}
