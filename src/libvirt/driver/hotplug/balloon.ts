/** The balloon: how much of its memory a guest leaves to the host. */
import { InvalidArgumentError, NotSupportedError, throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { readDomainOf } from "./find-device.js";
import { memoryOf } from "./guest-size.js";

const KIB_PER_MIB = 1024;

/**
 * Asks the guest to use no more than `memoryMiB`; it may take long, or never comply. Not durable. `virDomainSetMemoryFlags`.
 * @throws InvalidArgumentError outside 1 to the guest's memory; NotSupportedError without a balloon; InvalidStateError when it is not in memory
 */
export async function setBalloon(core: GuestCore, memoryMiB: number, { signal }: CommonOptions): Promise<void> {
  const { definition, instance, host } = core;
  core.requireInMemory("setBalloon");
  throwIfAborted(signal, "asking the guest for memory");
  if (definition.hardware?.balloon === false)
    throw new NotSupportedError({ capability: "balloon", message: "the guest has no balloon", instance });
  if (!Number.isInteger(memoryMiB) || memoryMiB < 1 || memoryMiB > definition.memoryMiB)
    throw new InvalidArgumentError({
      field: "memoryMiB",
      value: memoryMiB,
      expected: `1 to ${definition.memoryMiB}, what the guest has`,
    });
  await asDriverErrors({ operation: "setBalloon", instance }, async () => {
    const ballooned = Math.max(1, memoryMiB - (await outOfReachMiB(core)));
    await core.domain.setMemoryFlags(ballooned * KIB_PER_MIB, { flags: ["live"], deadlineMs: host.timeouts.callMs });
  });
}

/** What a guest has of a virtio-mem device is none of the balloon's. */
async function outOfReachMiB(core: GuestCore): Promise<number> {
  if (core.definition.hardware?.memory?.hotplug !== "virtio-mem") return 0;
  const { devices = [] } = memoryOf(await readDomainOf(core, "live")) ?? {};
  return devices.reduce((sum, { model, requestedMiB }) => sum + (model === "virtio-mem" ? requestedMiB : 0), 0);
}
