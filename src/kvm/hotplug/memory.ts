/** Giving memory to a guest and taking it back, in memory or not: by modules, or by its virtio-mem device. */
import { InvalidArgumentError, NotSupportedError, throwIfAborted } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { DeviceDetachError } from "../../driver/index.js";
import { chooseModules } from "../../hypervisor/index.js";
import type { QmpArguments } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import { bindMemory, bindingOf } from "../plan/hardware.js";
import type { DeviceBinding } from "../plan/hardware.js";
import {
  MEMORY_STEP_MIB,
  VIRTIO_MEM,
  bootMemoryMiB,
  maxMemoryMiB,
  memoryBackend,
  memoryDevice,
  memoryObject,
  memoryOf,
  memorySlots,
} from "../plan/memory-slots.js";
import type { GuestSession } from "../session.js";
import type { GuestState } from "../state/guest-state.js";
import { addCold, plug, requireHotplug } from "./plug.js";
import { removeBackend, unplug } from "./unplug.js";
import { resizeVirtioMem } from "./virtio-mem.js";

/**
 * Brings a guest's memory to `memoryMiB`. Memory that the guest booted with can't be taken from it while it runs.
 * @throws InvalidArgumentError outside 1 to the guest's most, for what no set of modules makes up, and for steps that are no multiple of 128 MiB; NoFreeSlotError;
 * NotSupportedError; DeviceAttachError; DeviceDetachError when the guest does not let go in time; AbortedError, after which it may still let go.
 * The definition then says what the guest has.
 */
export async function setMemory(core: GuestCore, memoryMiB: number, options: CommonOptions): Promise<void> {
  const { definition, session } = core;
  const most = maxMemoryMiB(definition);
  if (!Number.isInteger(memoryMiB) || memoryMiB < 1 || memoryMiB > most)
    throw new InvalidArgumentError({ field: "memoryMiB", value: memoryMiB, expected: `1 to ${most}` });
  const change = memoryMiB - definition.memoryMiB;
  if (change === 0) return;
  if (session === undefined) return addCold(core, (state) => withMemory(state, memoryMiB));
  if (change % MEMORY_STEP_MIB !== 0) {
    const expected = `${definition.memoryMiB} plus or minus a multiple of ${MEMORY_STEP_MIB}`;
    throw new InvalidArgumentError({ field: "memoryMiB", value: memoryMiB, expected });
  }
  const device = bindingOf(core.state.hardware, "memory", VIRTIO_MEM);
  if (device !== undefined) return resizeVirtioMem(core, session, memoryMiB, options);
  if (change > 0) return plugModule(core, session, change, options);
  for (const module of modulesToTake(core, memoryMiB)) await takeModule(core, session, module, options);
}

async function plugModule(
  core: GuestCore,
  session: GuestSession,
  sizeMiB: number,
  options: CommonOptions,
): Promise<void> {
  requireHotplug(core, "dimm", "hot plug of memory");
  const slots = memorySlots(core.definition);
  if (slots === 0) throw new NotSupportedError({ capability: "hot plug of memory", instance: core.instance });
  const { memoryMiB } = core.definition;
  await plug(
    core,
    session,
    (state) => withMemory(state, state.definition.memoryMiB + sizeMiB),
    (hardware) => bindMemory(hardware, slots, sizeMiB, memoryMiB),
    options,
    async (binding, undo) => {
      const id = memoryBackend(binding.handle);
      const object = memoryObject(id, sizeMiB, memoryOf(core.definition));
      await session.execute("object-add", object as unknown as QmpArguments<"object-add">);
      undo.defer("memory", () => removeBackend(session, binding));
      throwIfAborted(options.signal);
      return memoryDevice(binding, {});
    },
  );
}

async function takeModule(
  core: GuestCore,
  session: GuestSession,
  module: DeviceBinding,
  { signal, deadline }: CommonOptions,
): Promise<void> {
  throwIfAborted(signal, "taking memory from the guest");
  const timeoutMs = deadline ?? core.host.timeouts.letGoMs;
  const outcome = await unplug(core, session, module, { signal, timeoutMs });
  if (outcome === "detached" || outcome === "absent") return;
  throw new DeviceDetachError(
    outcome === "refused"
      ? "the guest refuses to let go of memory"
      : "the guest has not let go of memory in time; it still may",
    { instance: core.instance, device: module.id },
  );
}

function modulesToTake(core: GuestCore, memoryMiB: number): readonly DeviceBinding[] {
  const { definition, state } = core;
  const modules = state.hardware.bindings.filter(({ pool }) => pool === "dimm");
  const chosen = chooseModules(modules, definition.memoryMiB - memoryMiB);
  if (chosen !== undefined) return chosen;
  const sizes = modules.map(({ sizeMiB = 0 }) => sizeMiB);
  throw new InvalidArgumentError({
    field: "memoryMiB",
    value: memoryMiB,
    expected: `${bootMemoryMiB(definition, state.hardware)} and some of the modules of ${sizes.join(", ") || "none"} MiB`,
  });
}

function withMemory(state: GuestState, memoryMiB: number): GuestState {
  return { ...state, definition: { ...state.definition, memoryMiB } };
}
