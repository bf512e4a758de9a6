/** Suspending: a guest's memory to disk and QEMU ended, and back. */
import { BusyError, throwIfAborted } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import { InvalidStateError } from "../../driver/index.js";
import type { GuestSuspend } from "../../driver/index.js";
import type { GuestCore } from "../guest-core.js";
import { endRemains } from "../lifecycle/stop.js";
import { requireHere } from "../migration/guard.js";
import { whileMoving } from "../migration/moving.js";
import type { GuestSession } from "../session.js";
import type { SavedMemory } from "../state/saved-memory.js";
import { withSavedMemory } from "../state/state-changes.js";
import { abandonSaving, putInPlace, removeMemoryFiles, saveMemory } from "./save-memory.js";
import type { SaveMemoryOptions } from "./save-memory.js";
import { startFromMemory } from "./start-from-memory.js";

export class KvmSuspend implements GuestSuspend {
  readonly #core: GuestCore;

  constructor(core: GuestCore) {
    this.#core = core;
  }

  save(options: SaveMemoryOptions = {}): Promise<void> {
    return whileMoving(this.#core, () => save(this.#core, options));
  }

  restore(options: CommonOptions = {}): Promise<void> {
    return whileMoving(this.#core, () => restore(this.#core, options));
  }

  discard(): Promise<void> {
    return whileMoving(this.#core, () => discard(this.#core));
  }
}

async function save(core: GuestCore, options: SaveMemoryOptions): Promise<void> {
  const { files, host } = core;
  requireHere(core, "suspend");
  const session = core.requireSession("suspend");
  requireSavable(core, session);
  throwIfAborted(options.signal, "suspending the guest");
  const saving: SavedMemory = {
    phase: "saving",
    wasRunning: session.view.state === "running",
    at: host.clock.now(),
  };
  await removeMemoryFiles([files.memoryPart, files.memory]);
  // Whoever finds QEMU standing still must know that it did not before.
  await core.update((state) => withSavedMemory(state, saving));
  session.setMoving(true);
  try {
    if (saving.wasRunning) await session.execute("stop", {}, { signal: options.signal });
    await saveMemory(core, session, files.memoryPart, options);
    throwIfAborted(options.signal, "suspending the guest");
    await putInPlace(files.memoryPart, files.memory);
    // From here on the guest is what stands in the file.
    await core.update((state) => withSavedMemory(state, { ...saving, phase: "saved" }));
  } catch (error) {
    if (!session.process.over) await abandonSaving(core, session, saving);
    throw error;
  }
  core.emit({ type: "lifecycle", transition: "suspended", cause: "self" });
  await endRemains(core);
}

/** @throws InvalidStateError for a guest that has broken; BusyError while a device is on its way: the memory would know it otherwise than the definition */
function requireSavable(core: GuestCore, { view }: GuestSession): void {
  const { instance } = core;
  if (view.state === "crashed") {
    throw new InvalidStateError({
      operation: "suspend",
      state: view.state,
      expected: ["running", "paused"],
      instance,
    });
  }
  if (core.state.work !== undefined || core.working)
    throw new BusyError("work on the guest's disks is under way", { instance });
  const moving = core.state.hardware.bindings.find(({ phase }) => phase !== undefined);
  if (moving !== undefined)
    throw new BusyError("a device of the guest is being plugged in or out", { instance, device: moving.id });
}

async function restore(core: GuestCore, options: CommonOptions): Promise<void> {
  const { instance, files } = core;
  if (core.state.saved?.phase !== "saved") {
    throw new InvalidStateError({ operation: "resume", state: core.powerState, expected: ["suspended"], instance });
  }
  await endRemains(core);
  // The vCPUs run only when it is on record that the file is not the guest any more: it must never be restored twice.
  const received = { received: (state: GuestCore["state"]) => withSavedMemory(state, undefined), run: true };
  await startFromMemory(core, files.memory, received, options);
  await removeMemoryFiles([files.memory]);
}

async function discard(core: GuestCore): Promise<void> {
  const { files } = core;
  if (core.state.saved?.phase === "saved") {
    await endRemains(core);
    await core.update((state) => withSavedMemory(state, undefined));
  }
  if (core.state.saved === undefined) await removeMemoryFiles([files.memory, files.memoryPart]);
}

/** What a process that died has left of memory that is no guest's. */
export async function sweepMemory(core: GuestCore): Promise<void> {
  const { files, state } = core;
  await removeMemoryFiles(state.saved?.phase === "saved" ? [files.memoryPart] : [files.memory, files.memoryPart]);
}
