/** A call on one guest: passes its fault point, finds the guest, and waits for a hypervisor process that does not answer. */
import type { FaultPoint } from "./fault-points.js";
import { nextChange } from "./guest-power.js";
import type { GuestRecord } from "./guest-record.js";
import type { FakeHost } from "./host.js";
import type { FakeProcess, Halfway } from "./process.js";

export interface GuestCallOptions {
  readonly signal?: AbortSignal | undefined;
  /** The disk or NIC that it is about. */
  readonly subject?: string;
  /** Does not need the guest's process: it is answered although that hangs. */
  readonly evenHung?: boolean;
}

export type GuestWork<T> = (record: GuestRecord, host: FakeHost, halfway: Halfway) => T | Promise<T>;

/** @throws InstanceNotFoundError when the guest is not there any more. */
export function guestCall<T>(
  process: FakeProcess,
  uuid: string,
  point: FaultPoint,
  options: GuestCallOptions,
  work: GuestWork<T>,
): Promise<T> {
  const { signal, subject } = options;
  return process.onHypervisor(point, { instanceUuid: uuid, signal, subject }, (halfway) => {
    const record = process.host.guest(uuid);
    if (!record.hung || options.evenHung === true) return work(record, process.host, halfway);
    return afterHang(process, record, signal).then(() => work(process.host.guest(uuid), process.host, halfway));
  });
}

async function afterHang(process: FakeProcess, record: GuestRecord, signal: AbortSignal | undefined): Promise<void> {
  while (record.hung) await process.wait(nextChange(record), signal);
}
