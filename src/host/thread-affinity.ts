/** Which CPUs a thread may run on: `sched_setaffinity(2)`, through `koffi`. */
import { readFileSync } from "node:fs";
import { InvalidArgumentError } from "../core/index.js";
import { HostIoError, errnoName } from "./errors.js";
import { declareFunction, lastError, loadKoffi, loadPackage } from "./koffi.js";
import type { LoadPackage } from "./koffi.js";

/** Sets the CPUs of a thread by its id, one bit a CPU. Throws an error with `code`. Tests replace it. */
export type AffinitySetter = (thread: number, mask: Buffer) => void;

/** More CPUs than any Linux has; the kernel leaves out those that are not there. */
const MASK_BYTES = 1_024;
const ONLINE_CPUS = "/sys/devices/system/cpu/online";

let chosen: AffinitySetter | undefined;

/**
 * The setter of this platform, loaded on the first call.
 * @throws NativeModuleMissingError when `koffi` can't be loaded
 */
export function defaultAffinitySetter(load: LoadPackage = loadPackage): AffinitySetter {
  if (load !== loadPackage) return makeSetter(load);
  return (chosen ??= makeSetter(load));
}

/**
 * Binds a thread to CPUs of the host, or frees it to run on all.
 * @throws InvalidArgumentError when a CPU is not there or not online; NativeModuleMissingError without `koffi`; HostIoError (`ESRCH`: the thread is
 * gone; `EPERM`: it is another user's)
 */
export function setThreadAffinity(
  thread: number,
  cpus: readonly number[] | "all",
  setter: AffinitySetter = defaultAffinitySetter(),
): void {
  if (cpus !== "all") checkCpus(cpus, "cpus");
  try {
    setter(thread, cpus === "all" ? Buffer.alloc(MASK_BYTES, 0xff) : maskOf(cpus));
  } catch (error) {
    if (errnoName(error) !== "EINVAL") throw new HostIoError({ operation: "binding a thread to CPUs", cause: error });
    throw new InvalidArgumentError({ field: "cpus", value: cpus, expected: "CPUs that this process may use" });
  }
}

/** @throws InvalidArgumentError that names the field when the list is empty or holds a CPU that is not online */
export function checkCpus(cpus: readonly number[], field: string): void {
  const online = onlineCpus();
  const known = new Set(online);
  const bad = cpus.findIndex((cpu) => !known.has(cpu));
  if (bad < 0 && cpus.length > 0) return;
  throw new InvalidArgumentError({
    field: bad < 0 ? field : `${field}[${bad}]`,
    value: bad < 0 ? cpus : cpus[bad],
    expected: `CPUs of this host: ${readOnline()}`,
  });
}

/** The host's CPUs that are online, by number. */
export function onlineCpus(): readonly number[] {
  return parseCpuList(readOnline());
}

/** `0-2,5` as numbers. */
export function parseCpuList(text: string): readonly number[] {
  return text
    .trim()
    .split(",")
    .filter((range) => range !== "")
    .flatMap((range) => {
      const [first = 0, last = first] = range.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

function readOnline(): string {
  return readFileSync(ONLINE_CPUS, "latin1").trim();
}

function maskOf(cpus: readonly number[]): Buffer {
  const mask = Buffer.alloc(MASK_BYTES);
  for (const cpu of cpus) mask.writeUInt8(mask.readUInt8(cpu >> 3) | (1 << (cpu & 7)), cpu >> 3);
  return mask;
}

function makeSetter(load: LoadPackage): AffinitySetter {
  const koffi = loadKoffi("binding threads to CPUs", load);
  const setAffinity = declareFunction(koffi, "int sched_setaffinity(int pid, size_t size, void *mask)");
  return (thread, mask) => {
    if (Number(setAffinity(thread, mask.length, mask)) < 0) throw lastError(koffi, "sched_setaffinity");
  };
}
