/** Memory of a virtio-mem device: the guest is asked to take more or less of it, and does so piece by piece. */
import { DeadlineExceededError, InvalidArgumentError, withDeadline } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { DeviceDetachError } from "../../driver/index.js";
import { toNumber } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import { MEMORY_STEP_MIB, VIRTIO_MEM, bootMemoryMiB, memoryObjectMiB } from "../plan/memory-slots.js";
import { bindingOf } from "../plan/hardware.js";
import type { GuestSession } from "../session.js";
import type { GuestState } from "../state/guest-state.js";

const PATH = `/machine/peripheral/${VIRTIO_MEM}`;
const BYTES_PER_MIB = 1_048_576;

/**
 * Asks for more at once, and waits for the guest to give back what is too much.
 * @throws InvalidArgumentError; DeviceDetachError when it does not in time: then it is asked for no more than it has given back. AbortedError likewise
 */
export async function resizeVirtioMem(
  core: GuestCore,
  session: GuestSession,
  memoryMiB: number,
  { signal, deadline }: CommonOptions,
): Promise<void> {
  const { definition, state } = core;
  const boot = bootMemoryMiB(definition, state.hardware);
  const binding = bindingOf(state.hardware, "memory", VIRTIO_MEM);
  const most = binding === undefined ? 0 : memoryObjectMiB(binding, definition, state.hardware);
  if (memoryMiB < boot || memoryMiB > boot + most)
    throw new InvalidArgumentError({ field: "memoryMiB", value: memoryMiB, expected: `${boot} to ${boot + most}` });
  const wanted = memoryMiB - boot;
  const shrinks = memoryMiB < definition.memoryMiB;
  await request(session, wanted);
  if (!shrinks) return core.update((current) => withVirtioMem(current, wanted));
  try {
    await shrunk(core, session, wanted, deadline ?? core.host.timeouts.letGoMs, signal);
  } catch (error) {
    if (!session.process.over) await settleFor(core, session);
    if (!(error instanceof DeadlineExceededError) || signal?.aborted === true) throw error;
    throw new DeviceDetachError("the guest has not given back all of the memory in time", {
      instance: core.instance,
      device: VIRTIO_MEM,
    });
  }
  await core.update((current) => withVirtioMem(current, wanted));
}

/** Takes what QEMU was asked for last for what the guest has, after a process that died in the middle. */
export async function reconcileVirtioMem(core: GuestCore, session: GuestSession): Promise<void> {
  if (bindingOf(core.state.hardware, "memory", VIRTIO_MEM) === undefined) return;
  const requested = toNumber((await read(session, "requested-size")) as number) / BYTES_PER_MIB;
  await core.update((state) => withVirtioMem(state, requested));
}

/** Leaves the guest what it has not given back. */
async function settleFor(core: GuestCore, session: GuestSession): Promise<void> {
  const has = toNumber((await read(session, "size")) as number) / BYTES_PER_MIB;
  const kept = Math.ceil(has / MEMORY_STEP_MIB) * MEMORY_STEP_MIB;
  await request(session, kept);
  await core.update((state) => withVirtioMem(state, kept));
}

async function shrunk(
  core: GuestCore,
  session: GuestSession,
  wantedMiB: number,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const wanted = wantedMiB * BYTES_PER_MIB;
  const isSmall = async (): Promise<boolean> => toNumber((await read(session, "size")) as number) <= wanted;
  let stop = (): void => undefined;
  const small = new Promise<void>((resolve, reject) => {
    stop = session.watch((event) => {
      const named = event?.event === "MEMORY_DEVICE_SIZE_CHANGE" && event.data["id"] === VIRTIO_MEM;
      if (event === undefined || named) isSmall().then((yes) => (yes ? resolve() : undefined), reject);
    });
    isSmall().then((yes) => (yes ? resolve() : undefined), reject);
  });
  const wait = { operation: "waiting for the guest to give memory back", clock: core.host.clock, signal };
  await withDeadline(timeoutMs, wait, () => small).finally(stop);
}

async function request(session: GuestSession, sizeMiB: number): Promise<void> {
  await session.execute("qom-set", { path: PATH, property: "requested-size", value: sizeMiB * BYTES_PER_MIB });
}

function read(session: GuestSession, property: string): Promise<unknown> {
  return session.execute("qom-get", { path: PATH, property });
}

function withVirtioMem(state: GuestState, sizeMiB: number): GuestState {
  const { definition, hardware } = state;
  const memoryMiB = bootMemoryMiB(definition, hardware) + sizeMiB;
  if (memoryMiB === definition.memoryMiB) return state;
  const bindings = hardware.bindings.map((binding) => (binding.id === VIRTIO_MEM ? { ...binding, sizeMiB } : binding));
  return { ...state, definition: { ...definition, memoryMiB }, hardware: { ...hardware, bindings } };
}
