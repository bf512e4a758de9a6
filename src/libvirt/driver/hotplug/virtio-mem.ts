/** Memory of a virtio-mem device: the guest is asked to take more or less of it, and does so piece by piece. */
import { InvalidArgumentError, isHyperviseError, throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { DeviceAttachError, DeviceDetachError } from "../../../driver/index.js";
import { LibvirtError } from "../../rpc/index.js";
import { formatDeviceXml } from "../../xml/index.js";
import { asDriverError } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { readDomainOf } from "./find-device.js";
import { memoryOf } from "./guest-size.js";
import type { LiveMemory, MemoryDevice } from "./guest-size.js";
import { settleSizes } from "./settle-sizes.js";

const KIB_PER_MIB = 1024;
/** Guests give memory back in blocks of this. */
const BLOCK_MIB = 128;

/**
 * Asks for more at once, and waits for the guest to give back what is too much. `virDomainUpdateDeviceFlags`.
 * @throws InvalidArgumentError; DeviceDetachError when it does not in time: then it is asked for no more than it has given back. AbortedError likewise
 */
export async function resizeVirtioMem(
  core: GuestCore,
  { bootMiB }: LiveMemory,
  device: MemoryDevice,
  memoryMiB: number,
  { signal, deadline }: CommonOptions,
): Promise<void> {
  const { host, instance } = core;
  const most = bootMiB + device.sizeMiB;
  if (memoryMiB < bootMiB || memoryMiB > most)
    throw new InvalidArgumentError({ field: "memoryMiB", value: memoryMiB, expected: `${bootMiB} to ${most}` });
  const wanted = memoryMiB - bootMiB;
  const fewer = wanted < device.requestedMiB;
  const listener = core.listen();
  try {
    throwIfAborted(signal, "changing the guest's memory");
    await request(core, device, wanted);
    if (fewer)
      await listener.until(async () => ((await currentMiB(core)) <= wanted ? true : undefined), {
        operation: "waiting for the guest to give memory back",
        deadlineMs: deadline ?? host.timeouts.letGoMs,
        signal,
      });
  } catch (thrown) {
    const error = asDriverError(thrown, { operation: "setMemory", instance });
    if (!(error instanceof LibvirtError)) await leaveWhatItHas(core, device).catch(() => undefined);
    const late = isHyperviseError(error, "DEADLINE_EXCEEDED") && signal?.aborted !== true;
    if (!late && !(error instanceof LibvirtError)) throw error;
    const context = { instance, ...(device.alias === undefined ? {} : { device: device.alias }), cause: error };
    throw fewer
      ? new DeviceDetachError("the guest has not given back all of the memory in time", context)
      : new DeviceAttachError("libvirt did not give the guest memory", context);
  } finally {
    listener.close();
  }
  await settleSizes(core, await readDomainOf(core, "live"));
}

async function leaveWhatItHas(core: GuestCore, device: MemoryDevice): Promise<void> {
  if (core.inMemory) await request(core, device, Math.ceil((await currentMiB(core)) / BLOCK_MIB) * BLOCK_MIB);
  await settleSizes(core, await readDomainOf(core, "live"));
}

async function request({ domain, host }: GuestCore, { xml }: MemoryDevice, requestedMiB: number): Promise<void> {
  const { current: _, ...target } = xml.target ?? {};
  const requested = { unit: "KiB", $text: requestedMiB * KIB_PER_MIB };
  const element = formatDeviceXml("memory", { ...xml, target: { ...target, requested } });
  await domain.updateDeviceFlags(element, { flags: ["live"], deadlineMs: host.timeouts.callMs });
}

async function currentMiB(core: GuestCore): Promise<number> {
  if (!core.inMemory) return 0;
  const { devices = [] } = memoryOf(await readDomainOf(core, "live")) ?? {};
  return devices.find(({ model }) => model === "virtio-mem")?.currentMiB ?? 0;
}
