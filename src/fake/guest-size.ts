/** vCPUs and memory of a simulated guest, given and taken while it runs or not. */
import { InvalidArgumentError } from "../core/index.js";
import { DeviceDetachError, InvalidStateError, NoCapacityError } from "../driver/index.js";
import { nextChange, notify } from "./guest-power.js";
import { extrasOf, inMemory } from "./guest-record.js";
import type { GuestRecord } from "./guest-record.js";
import type { FakeHost } from "./host.js";
import type { FakeProcess, Halfway } from "./process.js";

/** A guest that never answers keeps a caller no longer than this. */
const RELEASE_LIMIT_MS = 60_000;

type Size = "vcpus" | "memoryMiB";

/** Goes half of the way first, so that a fault can strike in the middle. */
export async function resizeGuest(
  process: FakeProcess,
  record: GuestRecord,
  size: Size,
  wanted: number,
  signal: AbortSignal | undefined,
  halfway: Halfway,
): Promise<void> {
  const { host } = process;
  if (record.state === "suspended") {
    const expected = ["running", "paused", "shutdown", "crashed"];
    throw new InvalidStateError({ operation: "resize", state: record.state, expected, instance: record.definition });
  }
  const present = record.definition[size];
  if (wanted === present) return;
  if (!inMemory(record)) return change(host, record, size, wanted);
  checkRange(record, size, wanted);
  extrasOf(record).startedWith ??= { vcpus: record.definition.vcpus, memoryMiB: record.definition.memoryMiB };
  const middle = Math.round((present + wanted) / 2);
  for (const step of middle === wanted || middle === present ? [wanted] : [middle, wanted]) {
    if (step < record.definition[size]) await askToGiveBack(process, record, signal);
    else refuseUnlessFree(host, record, size, step);
    change(host, record, size, step);
    if (step !== wanted) await halfway();
  }
  notify(record);
}

/** As with QEMU: no more than the machine has places for, and what it started with is not memory that can be unplugged. */
function checkRange(record: GuestRecord, size: Size, wanted: number): void {
  const { definition } = record;
  const started = record.extras?.startedWith ?? definition;
  const { cpu, memory } = definition.hardware ?? {};
  const most = size === "vcpus" ? (cpu?.maxVcpus ?? started.vcpus) : (memory?.maxMiB ?? started.memoryMiB);
  const least = size === "vcpus" ? 1 : started.memoryMiB;
  if (wanted >= least && wanted <= most) return;
  throw new InvalidArgumentError({ field: size, value: wanted, expected: `${least} to ${most} while the guest runs` });
}

function refuseUnlessFree(host: FakeHost, record: GuestRecord, size: Size, wanted: number): void {
  const more = wanted - record.definition[size];
  const [claimed, most] =
    size === "vcpus" ? [host.claimed.vcpus, host.guestVcpus] : [host.claimed.memoryMiB, host.guestMemoryMiB];
  if (claimed + more <= most) return;
  throw new NoCapacityError(`The host has not ${more} ${size === "vcpus" ? "vCPUs" : "MiB of memory"} left`, {
    instance: record.definition,
  });
}

async function askToGiveBack(
  process: FakeProcess,
  record: GuestRecord,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { host } = process;
  const { detach, detachMs } = host.behaviourOf(record.definition.uuid);
  while (inMemory(record) && !record.booted && detach === "release") await process.wait(nextChange(record), signal);
  const waitMs = detach === "ignore" ? RELEASE_LIMIT_MS : detachMs;
  if (waitMs > 0) await process.sleep(waitMs, signal);
  if (!inMemory(record) || detach === "release") return;
  throw new DeviceDetachError("The guest does not let go", { instance: record.definition });
}

function change(host: FakeHost, record: GuestRecord, size: Size, wanted: number): void {
  const { definition } = record;
  if (inMemory(record)) host.claimed[size] += wanted - definition[size];
  record.definition = { ...definition, [size]: wanted };
}
