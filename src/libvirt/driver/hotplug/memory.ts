/** Giving memory to a guest and taking it back, in memory or not: by modules, or by its virtio-mem device. */
import { InvalidArgumentError, NotSupportedError, isHyperviseError, throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { DeviceAttachError, DeviceDetachError, NoFreeSlotError } from "../../../driver/index.js";
import { chooseModules } from "../../../hypervisor/index.js";
import { LibvirtError } from "../../rpc/index.js";
import { formatDeviceXml } from "../../xml/index.js";
import { asDriverError } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { deviceAlias } from "../plan/index.js";
import { readDomainOf } from "./find-device.js";
import { maxMemoryMiB, memoryOf, withMemory } from "./guest-size.js";
import type { LiveMemory, MemoryDevice } from "./guest-size.js";
import { redefineStopped } from "./redefine-stopped.js";
import { requireNotSaved } from "./require-state.js";
import { settleSizes } from "./settle-sizes.js";
import { resizeVirtioMem } from "./virtio-mem.js";

/** What memory can be plugged in and out by: x86 guests take it in blocks of this. */
const STEP_MIB = 128;
const KIB_PER_MIB = 1024;
/** libvirt gives a guest that says nothing else as many. */
const DEFAULT_SLOTS = 16;

/**
 * Brings a guest's memory to `memoryMiB`. Memory that the guest was started with can't be taken from it while it runs.
 * @throws InvalidArgumentError outside 1 to the guest's most, for what no set of modules makes up, and for steps that are no multiple of 128 MiB; NoFreeSlotError;
 * NotSupportedError; InvalidStateError while the guest's memory is on disk; DeviceAttachError; DeviceDetachError when the guest does not let go in time; AbortedError,
 * after which it may still let go. The definition then says what the guest has
 */
export async function setMemory(core: GuestCore, memoryMiB: number, options: CommonOptions): Promise<void> {
  const { definition } = core;
  const most = maxMemoryMiB(definition);
  if (!Number.isInteger(memoryMiB) || memoryMiB < 1 || memoryMiB > most)
    throw new InvalidArgumentError({ field: "memoryMiB", value: memoryMiB, expected: `1 to ${most}` });
  requireNotSaved(core, "setMemory");
  throwIfAborted(options.signal, "changing the guest's memory");
  const change = memoryMiB - definition.memoryMiB;
  if (change === 0) return;
  if (!core.inMemory) return redefineStopped(core, (current) => withMemory(current, memoryMiB));
  if (change % STEP_MIB !== 0) {
    const expected = `${definition.memoryMiB} plus or minus a multiple of ${STEP_MIB}`;
    throw new InvalidArgumentError({ field: "memoryMiB", value: memoryMiB, expected });
  }
  await core.devices.whileSizing(async () => {
    const live = await readMemory(core);
    const device = live.devices.find(({ model }) => model === "virtio-mem");
    if (device !== undefined) return resizeVirtioMem(core, live, device, memoryMiB, options);
    if (change > 0) return plugModule(core, live, change);
    for (const module of modulesToTake(core, live, -change)) await takeModule(core, module, options);
  });
}

async function readMemory(core: GuestCore): Promise<LiveMemory> {
  const { instance } = core;
  const found = await readDomainOf(core, "live").then(memoryOf, (error: unknown) => {
    throw asDriverError(error, { operation: "setMemory", instance });
  });
  if (found !== undefined) return found;
  throw new NotSupportedError({
    capability: "hot plug of memory",
    message: "libvirt does not tell its memory",
    instance,
  });
}

async function plugModule(core: GuestCore, { devices }: LiveMemory, sizeMiB: number): Promise<void> {
  const { domain, host, instance, definition } = core;
  const slots = definition.hardware?.memory?.slots ?? DEFAULT_SLOTS;
  if (devices.length >= slots) throw new NoFreeSlotError("no slot for a memory module is free", { instance });
  const alias = freeAlias(devices);
  const size = { unit: "KiB", $text: sizeMiB * KIB_PER_MIB };
  const xml = formatDeviceXml("memory", { model: "dimm", target: { size, node: 0 }, alias: { name: alias } });
  const memoryMiB = definition.memoryMiB + sizeMiB;
  try {
    await domain.attachDeviceFlags(xml, { flags: ["live", "config"], deadlineMs: host.timeouts.callMs });
  } catch (thrown) {
    // What failed may have been done.
    await readDomainOf(core, "live")
      .then((domain) => settleSizes(core, domain))
      .catch(() => undefined);
    if (core.definition.memoryMiB === memoryMiB) return;
    const error = asDriverError(thrown, { operation: "setMemory", instance });
    if (!(error instanceof LibvirtError)) throw error;
    const { detail } = error;
    throw new DeviceAttachError("libvirt did not give the guest a memory module", {
      instance,
      device: alias,
      cause: error,
      ...(detail === undefined ? {} : { detail }),
    });
  }
  await core.update((state) => ({ ...state, definition: withMemory(state.definition, memoryMiB) }));
}

/** libvirt waits some seconds by itself, and tells of what comes later. */
async function takeModule(core: GuestCore, module: MemoryDevice, { signal, deadline }: CommonOptions): Promise<void> {
  const { domain, host, instance } = core;
  const { alias, xml } = module;
  throwIfAborted(signal, "taking memory from the guest");
  const limits = { deadlineMs: host.timeouts.callMs };
  const listener = core.listen();
  try {
    if (alias === undefined)
      await domain.detachDeviceFlags(formatDeviceXml("memory", xml), { flags: ["live"], ...limits });
    else await domain.detachDeviceAlias(alias, { flags: ["live"], ...limits });
    await listener.until(async () => ((await hasModule(core, module)) ? undefined : true), {
      operation: "waiting until the guest lets go of memory",
      deadlineMs: deadline ?? host.timeouts.letGoMs,
      signal,
    });
  } catch (thrown) {
    const error = asDriverError(thrown, { operation: "setMemory", instance });
    const late = isHyperviseError(error, "DEADLINE_EXCEEDED") && signal?.aborted !== true;
    if (!late && !(error instanceof LibvirtError)) throw error;
    throw new DeviceDetachError("the guest has not let go of memory; it still may", {
      instance,
      cause: error,
      ...(alias === undefined ? {} : { device: alias }),
    });
  } finally {
    listener.close();
  }
  await settleSizes(core, await readDomainOf(core, "live"));
}

async function hasModule(core: GuestCore, { alias, xml }: MemoryDevice): Promise<boolean> {
  if (!core.inMemory) return false;
  const { devices = [] } = memoryOf(await readDomainOf(core, "live")) ?? {};
  const slot = xml.address?.["slot"];
  return devices.some((one) => (alias === undefined ? one.xml.address?.["slot"] === slot : one.alias === alias));
}

function modulesToTake(
  { definition }: GuestCore,
  { devices, bootMiB }: LiveMemory,
  sizeMiB: number,
): readonly MemoryDevice[] {
  const chosen = chooseModules(devices, sizeMiB);
  if (chosen !== undefined) return chosen;
  const sizes = devices.map((module) => module.sizeMiB);
  throw new InvalidArgumentError({
    field: "memoryMiB",
    value: definition.memoryMiB - sizeMiB,
    expected: `${bootMiB} and some of the modules of ${sizes.join(", ") || "none"} MiB`,
  });
}

function freeAlias(devices: readonly MemoryDevice[]): string {
  const taken = new Set(devices.map(({ alias }) => alias));
  for (let number = 0; ; number += 1) {
    const alias = deviceAlias("part", `dimm${number}`);
    if (!taken.has(alias)) return alias;
  }
}
