/** Suspending: a guest's memory to libvirt's file for it, and back. */
import {
  Deadline,
  asError,
  attachUndoFailures,
  isHyperviseError,
  throwIfAborted,
  traceMessage,
} from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { GuestStartError, InvalidStateError, MigrationError } from "../../../driver/index.js";
import type { GuestSuspend } from "../../../driver/index.js";
import { DiskFullError } from "../../../storage/index.js";
import { LibvirtError, isLibvirtError } from "../../rpc/index.js";
import { whenReachable } from "../block/reach-daemon.js";
import { asDriverError, asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { observe, reconcile } from "../lifecycle/reconcile.js";
import { hearOfStart } from "../lifecycle/start.js";
import { killGuest } from "../lifecycle/stop.js";
import { requireHere } from "../migration/guard.js";
import { isInMemory } from "../power.js";
import { provideSecrets, secretUsesOf } from "../secrets.js";
import { settleSaving, withoutSaving, writeMemory } from "./saving.js";

export class LibvirtSuspend implements GuestSuspend {
  readonly #core: GuestCore;
  readonly #onRestored: () => void;

  constructor(core: GuestCore, onRestored: () => void) {
    this.#core = core;
    this.#onRestored = onRestored;
  }

  /** `virDomainManagedSave`. @throws InvalidStateError, BusyError; DiskFullError, MigrationError when it could not be written; AbortedError */
  save(options: CommonOptions = {}): Promise<void> {
    return this.#core.workTurn.take(this.#core.instance, () => save(this.#core, options));
  }

  /** `virDomainCreateWithFlags`. What has left can't be stopped without risk to the memory: an abort waits for its end. @throws InvalidStateError, BusyError, GuestStartError */
  async restore(options: CommonOptions = {}): Promise<void> {
    await this.#core.workTurn.take(this.#core.instance, () => restore(this.#core, options));
    this.#onRestored();
  }

  /** `virDomainManagedSaveRemove`. */
  discard(): Promise<void> {
    return this.#core.workTurn.take(this.#core.instance, () => discard(this.#core));
  }
}

/** {@link settleSaving} of what an earlier process, or this one while the daemon was away, has left. Never rejects: it is tried again with the next saving and the next adoption. */
export async function settleLeftSaving(core: GuestCore): Promise<void> {
  if (core.state.saving === undefined || core.workTurn.isTaken || core.released) return;
  await core.workTurn
    .settle("saving", () => settleSaving(core))
    .catch((error: unknown) => {
      const { instance } = core;
      traceMessage("hypervise:libvirt:background-failure", () => ({ instance, error: asError(error).message }));
    });
}

async function save(core: GuestCore, options: CommonOptions): Promise<void> {
  const { host, instance } = core;
  const operation = "suspend";
  requireHere(core, operation);
  core.requireInMemory(operation);
  await asDriverErrors({ operation, instance }, async () => {
    await settleSaving(core);
    await reconcile(core);
  });
  core.requireInMemory(operation);
  const { memoryMs } = host.timeouts;
  const limits = { operation: "saving the guest's memory", clock: host.clock, signal: options.signal };
  const deadline = Deadline.after(Math.min(options.deadline ?? memoryMs, memoryMs), limits);
  try {
    deadline.throwIfExpired();
    // Whoever finds the guest standing still must know that it did not before.
    await core.update((state) => ({ ...state, saving: { wasRunning: core.powerState === "running" } }));
    core.see({ moving: true });
    await saveOrSettle(core, deadline);
  } finally {
    deadline.dispose();
  }
  core.see({ moving: false, state: "suspended" });
  await core.update(withoutSaving);
  core.emit({ type: "lifecycle", transition: "suspended", cause: "self" });
}

/** Resolves when the guest is saved, also when the daemon went away between that and saying so. */
async function saveOrSettle(core: GuestCore, deadline: Deadline): Promise<void> {
  try {
    await writeMemory(core, deadline);
  } catch (error) {
    // A driver that lets go of its guests leaves the rest to the next one.
    if (core.released) throw error;
    try {
      await whenReachable(core, "settling the saving of the guest's memory", () => settleSaving(core));
    } catch (failure) {
      throw attachUndoFailures(explainSaving(core, error), [{ name: "saved memory", error: asError(failure) }]);
    }
    if (core.powerState === "suspended") return;
    tellOfEnd(core);
    throw explainSaving(core, error);
  }
}

/** While a guest is saved its end is no news; afterwards it is. */
function tellOfEnd(core: GuestCore): void {
  const { powerState } = core;
  if (isInMemory(powerState)) return;
  if (powerState === "crashed") core.emit({ type: "lifecycle", transition: "crashed", cause: "crash" });
  else core.emit({ type: "lifecycle", transition: "stopped", cause: "external" });
}

async function restore(core: GuestCore, options: CommonOptions): Promise<void> {
  const { host, instance } = core;
  const operation = "resume";
  requireHere(core, operation);
  await asDriverErrors({ operation, instance }, async () => {
    await settleSaving(core);
    await reconcile(core);
  });
  const { powerState: state } = core;
  if (state !== "suspended") throw new InvalidStateError({ operation, state, expected: ["suspended"], instance });
  throwIfAborted(options.signal, operation);
  core.see({ starting: true, startTold: false });
  const listener = core.listen();
  try {
    await provideSecrets(host, instance.uuid, secretUsesOf(core.definition.disks.map(({ source }) => source)), options);
    throwIfAborted(options.signal, operation);
    await bringBack(core);
    await hearOfStart(core, listener);
  } catch (error) {
    throw explainRestoring(core, error);
  } finally {
    listener.close();
    core.see({ starting: false });
  }
  const startedAt = host.clock.now();
  await core.update((current) => ({ ...current, startedAt }));
  core.emit({ type: "lifecycle", transition: "resumed", cause: "self" });
}

/** Once the guest is in memory again its file is gone: from then on nothing may end it. */
async function bringBack(core: GuestCore): Promise<void> {
  const { domain, host } = core;
  try {
    await domain.createWithFlags({ deadlineMs: host.timeouts.memoryMs, dedicated: true });
    core.see({ state: "running" });
  } catch (error) {
    if (core.released) throw error;
    // One that is still being read has its file.
    if (isHyperviseError(error, "DEADLINE_EXCEEDED")) await killGuest(core, {});
    await whenReachable(core, "looking whether the guest is back", () => observe(core));
    if (!isInMemory(core.powerState)) throw error;
  }
}

async function discard(core: GuestCore): Promise<void> {
  const { domain, host, instance } = core;
  const limits = { deadlineMs: host.timeouts.callMs };
  await asDriverErrors({ operation: "discard", instance }, async () => {
    try {
      await settleSaving(core);
      if (await domain.hasManagedSaveImage(limits)) await domain.managedSaveRemove(limits);
      await observe(core);
    } catch (error) {
      if (!isLibvirtError(error, "domainNotFound")) throw error;
      core.see({ state: "shutdown" });
    }
  });
}

function explainSaving(core: GuestCore, thrown: unknown): Error {
  const { instance } = core;
  const error = asDriverError(thrown, { operation: "suspend", instance });
  if (!(error instanceof LibvirtError)) return error;
  const context = { instance, cause: error, ...(error.detail === undefined ? {} : { detail: error.detail }) };
  if (error.errno === "ENOSPC")
    return new DiskFullError("the file system that the guest's memory is written to is full", context);
  return new MigrationError("the guest's memory could not be written", context);
}

function explainRestoring(core: GuestCore, thrown: unknown): Error {
  const { instance } = core;
  const error = asDriverError(thrown, { operation: "resume", instance });
  if (!(error instanceof LibvirtError)) return error;
  const detail = error.detail === undefined ? {} : { detail: error.detail };
  return new GuestStartError("libvirt did not bring the guest back", { instance, cause: error, ...detail });
}
