/** Drivers that only look: what they refuse, and how they follow the driver that changes what they look at. */
import { LatestRun } from "../core/index.js";
import { ReadOnlyError } from "./errors.js";
import type { HostContext } from "./host-context.js";
import type { Hypervisor } from "./hypervisor.js";

export function isReadOnly({ readOnly }: Pick<Hypervisor, "readOnly">): boolean {
  return readOnly === true;
}

/** The door of everything that changes something. @throws ReadOnlyError */
export function requireWritable({ hypervisor }: Pick<HostContext, "hypervisor">, operation: string): void {
  if (isReadOnly(hypervisor)) throw new ReadOnlyError(operation);
}

const readings = new WeakMap<HostContext, LatestRun>();

/** Reads the records as they are now: another driver writes them. */
export function readRecordsAnew(host: HostContext): Promise<void> {
  let reading = readings.get(host);
  if (reading === undefined) {
    reading = new LatestRun(() => host.records.load());
    readings.set(host, reading);
  }
  return reading.run();
}
