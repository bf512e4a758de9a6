/** What of a pinning this host can do. */
import type { CpuPinning, GuestDefinition } from "../../driver/index.js";
import { checkCpus, defaultAffinitySetter } from "../../host/index.js";

/**
 * Refuses a pinning that this host can't do.
 * @throws InvalidArgumentError for a CPU that is not there; NativeModuleMissingError without `koffi`
 */
export function checkPinning({ hardware }: Pick<GuestDefinition, "hardware">): void {
  const pinning = hardware?.cpu?.pinning;
  if (pinning === undefined) return;
  const path = "definition.hardware.cpu.pinning";
  for (const [field, cpus] of listsOf(pinning)) if (cpus.length > 0) checkCpus(cpus, `${path}.${field}`);
  defaultAffinitySetter();
}

function listsOf({ vcpus = [], emulator = [], ioThreads = [] }: CpuPinning): [string, readonly number[]][] {
  return [
    ...vcpus.map((cpus, index): [string, readonly number[]] => [`vcpus[${index}]`, cpus]),
    ["emulator", emulator],
    ...ioThreads.map((cpus, index): [string, readonly number[]] => [`ioThreads[${index}]`, cpus]),
  ];
}
