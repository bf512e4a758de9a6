/** A guest's way to another host, seen from the source: libvirt copies memory and disks while it runs, then it is handed over; until then it can always stay. */
import {
  AbortedError,
  ConflictError,
  Deadline,
  InvalidArgumentError,
  NotSupportedError,
  abortErrorOf,
  asError,
  joinSignals,
  throwIfAborted,
} from "../../../core/index.js";
import { MigrationError, NoActiveMigrationError } from "../../../driver/index.js";
import type {
  GuestMigrationOptions,
  GuestMigrationRequest,
  MigrationOutcome,
  MigrationPhase,
} from "../../../driver/index.js";
import { StallWatch, beginConvergence, converge, downtimeLimit } from "../../../hypervisor/index.js";
import type { Convergence } from "../../../hypervisor/index.js";
import { DomainPausedReason, LibvirtError } from "../../rpc/index.js";
import type { LibvirtClient } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import type { OutgoingRecord } from "../state/migration-record.js";
import { depart, settleOutgoing, stay, unsettled } from "./conclude.js";
import { checkToken, mustStandStill, planDeparture } from "./departure.js";
import { explained } from "./explain.js";
import { followPasses, readFigures } from "./figures.js";
import { outgoingOf, requireHere, withMigration } from "./guard.js";
import { isMoving, whileMoving } from "./moving.js";
import { Nudge } from "./nudge.js";
import { PostcopyLink } from "./postcopy-link.js";
import { progressOf } from "./progress.js";
import type { JobFigures } from "./progress.js";
import { MigrationSteps } from "./steps.js";
import type { MigrationPlan } from "./steps.js";
import { hasArrived, openDestination } from "./whereabouts.js";

const migrations = new WeakMap<GuestCore, OutgoingMigration>();

/**
 * Migrates a guest to the destination that gave the token.
 * @throws MigrationError when it failed, AbortedError when the caller's signal ended it: the guest is here as before. MigrationPreCheckError, InvalidArgumentError,
 * InvalidStateError, BusyError: nothing was begun. GuestCrashedError when it ended before it was handed over. HypervisorUnavailableError, DeadlineExceededError when a daemon can't be
 * asked what has become of it: it stands still then
 */
export function migrateGuest(
  core: GuestCore,
  request: GuestMigrationRequest,
  options: GuestMigrationOptions,
): Promise<MigrationOutcome> {
  return whileMoving(core, async () => {
    const migration = new OutgoingMigration(core, request, options);
    migrations.set(core, migration);
    try {
      return await migration.run();
    } finally {
      migrations.delete(core);
    }
  });
}

/** Resolves when no migration is under way and the guest is here as before; success when none was. @throws ConflictError once the guest is being handed over */
export async function abortMigration(core: GuestCore): Promise<void> {
  const migration = migrations.get(core);
  if (migration !== undefined) await migration.abort();
  else if (!isMoving(core) && (await settleOutgoing(core)) === "completed") throw tooLate(core);
}

/** @throws NoActiveMigrationError, InvalidArgumentError, NotSupportedError */
export async function forceCompletion(core: GuestCore, mode: "postcopy" | "pause"): Promise<void> {
  const migration = migrations.get(core);
  if (migration === undefined)
    throw new NoActiveMigrationError("no migration of the guest is under way", { instance: core.instance });
  migration.force(mode);
}

/** How the last migration ended, or is ended now, as far as it can be; undefined when the guest is not leaving and has not left. */
export async function migrationOutcome(core: GuestCore): Promise<MigrationOutcome | undefined> {
  const migration = migrations.get(core);
  if (migration !== undefined) return migration.ended.catch(() => undefined);
  return settleOutgoing(core);
}

function tooLate(core: GuestCore): ConflictError {
  return new ConflictError("the migration can't be aborted any more", { instance: core.instance });
}

class OutgoingMigration {
  readonly ended: Promise<MigrationOutcome>;
  readonly #core: GuestCore;
  readonly #request: GuestMigrationRequest;
  readonly #options: GuestMigrationOptions;
  readonly #nudge = new Nudge();
  readonly #stop = new AbortController();
  readonly #stall: StallWatch;
  #phase: MigrationPhase = "preparing";
  #convergence: Convergence;
  /** What libvirt was last told of the longest standstill. */
  #toldDowntimeMs = 0;
  #forced: "postcopy" | "pause" | undefined;
  /** False where it is not allowed, or the destination can't. */
  #postcopy: boolean;
  #tunnel = false;
  /** Set when nobody there can be told to run the guest: its daemon drops what it was brought. */
  #destinationLost: Error | undefined;
  /** True once the choreography knows that the guest may go. */
  #mayGo = false;
  /** True from when the destination may have been told to run the guest, or the source to go over to post-copy. */
  #handedOver = false;
  #settle: (outcome: Promise<MigrationOutcome>) => void = () => undefined;

  constructor(core: GuestCore, request: GuestMigrationRequest, options: GuestMigrationOptions) {
    this.#core = core;
    this.#request = request;
    this.#postcopy = request.allowPostcopy;
    this.#options = options;
    this.#stall = new StallWatch(core);
    this.#convergence = beginConvergence(request.downtimeMs);
    this.ended = new Promise((resolve) => (this.#settle = resolve));
    this.ended.catch(() => undefined);
  }

  /** libvirt undoes what its daemons do among themselves, and only they know how that ended. */
  get #mayStop(): boolean {
    return !this.#handedOver || this.#tunnel;
  }

  run(): Promise<MigrationOutcome> {
    const outcome = this.#run();
    this.#settle(outcome);
    return outcome;
  }

  async abort(): Promise<void> {
    if (!this.#mayStop) throw tooLate(this.#core);
    this.#stop.abort(new AbortedError({ operation: "migrate", instance: this.#core.instance }));
    const outcome = await this.ended.catch(() => "failed" as const);
    if (outcome === "completed") throw tooLate(this.#core);
  }

  force(mode: "postcopy" | "pause"): void {
    const { instance } = this.#core;
    if (mode === "postcopy" && !this.#request.allowPostcopy)
      throw new InvalidArgumentError({
        field: "mode",
        value: mode,
        expected: "pause, as the migration does not allow post-copy",
        instance,
      });
    if (mode === "postcopy" && !this.#postcopy)
      throw new NotSupportedError({
        capability: "postcopy",
        message: "the destination's host can't receive a guest by post-copy",
        instance,
      });
    this.#forced = mode;
    this.#nudge.poke();
  }

  async #run(): Promise<MigrationOutcome> {
    const core = this.#core;
    const { clock, timeouts } = core.host;
    requireHere(core, "migrate");
    core.requireInMemory("migrate");
    const token = checkToken(core, this.#request);
    const plan = await planDeparture(core, token, this.#request);
    const { wasRunning } = plan;
    this.#postcopy = plan.postcopy;
    this.#tunnel = token.tunnel;
    const record: OutgoingRecord = {
      role: "source",
      phase: "outgoing",
      wasRunning,
      connectionUri: token.connectionUri,
    };
    const joined = joinSignals([this.#options.signal, this.#stop.signal]);
    const limitMs = this.#options.deadline ?? timeouts.migrationMs;
    const deadline = Deadline.after(limitMs, { operation: "migrate", clock, signal: joined.signal });
    let peer: LibvirtClient | undefined;
    let steps: MigrationSteps | undefined;
    try {
      throwIfAborted(deadline.signal, "migrate");
      await core.update((state) => withMigration(state, record));
      core.see({ moving: true });
      core.emit({ type: "lifecycle", transition: "migrationStarted", cause: "self" });
      this.#report({});
      peer = await openDestination(core, token.connectionUri, {
        signal: deadline.signal,
        deadlineMs: timeouts.callMs,
      });
      steps = new MigrationSteps(core, peer, plan);
      const beginning = this.#tunnel ? this.#letGo(record, deadline.signal) : steps.beginAndPrepare();
      if (!this.#tunnel) void peer.closed.then(() => this.#loseDestination());
      await beginning.catch(async (error: unknown) => {
        if (!plan.postcopy || !(error instanceof LibvirtError) || deadline.signal.aborted) throw error;
        // A destination whose kernel can't do it refuses the whole.
        await steps?.cancel();
        this.#postcopy = false;
        steps = new MigrationSteps(core, peer as LibvirtClient, { ...plan, postcopy: false });
        await steps.beginAndPrepare();
      });
      throwIfAborted(deadline.signal, "migrate");
      if (wasRunning && (await mustStandStill(core.host))) await this.#halt();
      await this.#copy(steps, record, plan, deadline.signal);
      return await this.#switchOver(steps, record, deadline.signal);
    } catch (error) {
      return await this.#giveUp(asError(error), record, steps);
    } finally {
      deadline.dispose();
      joined.release();
      await peer?.close();
    }
  }

  /** Resolves when the guest stands still here and all of it has been copied, or the rest is to follow by post-copy. */
  async #copy(steps: MigrationSteps, record: OutgoingRecord, plan: MigrationPlan, signal: AbortSignal): Promise<void> {
    const { clock, timeouts } = this.#core.host;
    this.#phase = plan.targets.length > 0 ? "disks" : "memory";
    this.#report({});
    let over = false;
    const performing = steps.perform(timeouts.migrationMs).finally(() => {
      over = true;
      this.#nudge.poke();
    });
    performing.catch(() => undefined);
    const stopListening = followPasses(this.#core, this.#nudge);
    let failure: Error | undefined;
    let giveUpAt = Number.POSITIVE_INFINITY;
    try {
      for (;;) {
        await this.#nudge.wait(clock, timeouts.progressMs, failure === undefined ? signal : undefined);
        if (over || clock.monotonic() > giveUpAt) break;
        if (failure === undefined && this.#mayStop && signal.aborted) failure = abortErrorOf(signal, "migrate");
        if (failure === undefined && this.#mayStop) failure = this.#destinationLost;
        failure ??= await this.#look(record, signal).then(
          () => undefined,
          (error: unknown) => asError(error),
        );
        if (failure === undefined || !this.#mayStop) continue;
        if (giveUpAt === Number.POSITIVE_INFINITY) giveUpAt = clock.monotonic() + timeouts.cancelMs;
        // Refused as long as libvirt has not begun.
        await this.#core.domain.abortJob({ deadlineMs: timeouts.queryMs }).catch(() => undefined);
      }
    } finally {
      stopListening();
    }
    // Once it may have gone over there is no way back.
    if (failure !== undefined && this.#mayStop) throw failure;
    await performing;
  }

  #loseDestination(): void {
    this.#destinationLost = new MigrationError("the connection to the destination's daemon was lost", {
      instance: this.#core.instance,
    });
    this.#nudge.poke();
  }

  async #look(record: OutgoingRecord, signal: AbortSignal): Promise<void> {
    const figures = await readFigures(this.#core);
    const progress = progressOf(this.#phase, figures ?? {});
    if (figures !== undefined) {
      const { iteration, memoryTransferredBytes, diskTransferredBytes, diskRemainingBytes } = progress;
      if (this.#phase === "disks" && iteration > 0 && diskRemainingBytes === 0) this.#phase = "memory";
      this.#report(figures);
      if (this.#mayStop) this.#stall.look(iteration, memoryTransferredBytes, diskTransferredBytes);
    }
    await this.#hasten(record, progress.iteration, progress.memoryRemainingBytes, signal);
  }

  /** Does what was asked for to make the migration end, and allows a longer standstill when it does not get on. */
  async #hasten(record: OutgoingRecord, iteration: number, remainingBytes: number, signal: AbortSignal): Promise<void> {
    const { domain, host } = this.#core;
    this.#convergence = converge(this.#convergence, iteration, remainingBytes);
    const limit = downtimeLimit(this.#convergence);
    const limits = { deadlineMs: host.timeouts.queryMs };
    if (limit !== this.#toldDowntimeMs) {
      // It is an advice; libvirt refuses it where there is nothing to be advised.
      const told = await domain.migrateSetMaxDowntime(limit, limits).then(
        () => true,
        () => false,
      );
      if (told) this.#toldDowntimeMs = limit;
    }
    const forced = this.#forced;
    this.#forced = undefined;
    if (forced === "pause") await this.#halt();
    if (forced === "postcopy" && this.#postcopy && !this.#handedOver) await this.#goOver(record, signal);
  }

  async #halt(): Promise<void> {
    await this.#core.domain.suspend({ deadlineMs: this.#core.host.timeouts.callMs });
  }

  /** libvirt does not wait between the last of the copying and the first of post-copy: the guest is stopped before, and there is no way back afterwards. */
  async #goOver(record: OutgoingRecord, signal: AbortSignal): Promise<void> {
    if (record.wasRunning) await this.#halt();
    await this.#letGo({ ...record, postcopy: true, token: this.#request.token }, signal);
    try {
      await this.#core.domain.migrateStartPostCopy({ deadlineMs: this.#core.host.timeouts.callMs });
    } catch (error) {
      // All was copied before.
      if (!(error instanceof LibvirtError)) throw error;
      await this.#note(record);
    }
  }

  /** The last moment in which the guest can stay by its owner's wish. */
  async #letGo(record: OutgoingRecord, signal: AbortSignal): Promise<void> {
    if (!this.#mayGo) await this.#options.beforeSwitchover?.();
    this.#mayGo = true;
    throwIfAborted(signal, "migrate");
    await this.#note(record);
    this.#handedOver = true;
  }

  async #note(record: OutgoingRecord): Promise<void> {
    await this.#core.update((state) => withMigration(state, { ...record, phase: "switchover" }));
  }

  async #switchOver(steps: MigrationSteps, record: OutgoingRecord, signal: AbortSignal): Promise<MigrationOutcome> {
    const core = this.#core;
    const { arrivalMs, migrationMs } = core.host.timeouts;
    if (!this.#handedOver) await this.#letGo(record, signal);
    const postcopy = await this.#isPostcopy();
    this.#phase = postcopy ? "postcopy" : "switchover";
    const { token, bandwidthMiBps = 0 } = this.#request;
    const now: OutgoingRecord = { ...record, phase: "switchover", ...(postcopy ? { postcopy, token } : {}) };
    if (postcopy) {
      await core.update((state) => withMigration(state, now));
      core.emit({ type: "lifecycle", transition: "postcopyStarted", cause: "self" });
    }
    this.#report((await readFigures(core)) ?? {});
    const finishing = steps.finish(postcopy ? migrationMs : arrivalMs);
    const tell = (figures: JobFigures): void => this.#report(figures);
    const link = postcopy ? new PostcopyLink(core, now, { bandwidthMiBps, tell }) : undefined;
    const error = await (link === undefined ? finishing : link.follow(finishing)).then(
      () => undefined,
      (cause: unknown) => asError(cause),
    );
    if (error !== undefined && (core.released || !(await this.#hasGone(record, link)))) throw error;
    // Refused where post-copy has failed: what is left of the guest here is of no use to anybody.
    if (error === undefined) await steps.confirm().catch(() => undefined);
    await depart(core, now);
    this.#phase = "completed";
    this.#report({});
    return "completed";
  }

  /** One that is lost is the destination's, too, which says what has become of it. */
  async #hasGone({ connectionUri }: OutgoingRecord, link: PostcopyLink | undefined): Promise<boolean> {
    return link === undefined ? hasArrived(this.#core, connectionUri) : (await link.end()) !== "absent";
  }

  /** Whether the guest goes on there without all of its memory. */
  async #isPostcopy(): Promise<boolean> {
    const { domain, host } = this.#core;
    if (!this.#postcopy) return false;
    const { reason } = await domain.getState({ deadlineMs: host.timeouts.callMs });
    return reason === DomainPausedReason.postcopy || reason === DomainPausedReason.postcopyFailed;
  }

  /** The guest stays, unless it has gone. */
  async #giveUp(error: Error, record: OutgoingRecord, steps: MigrationSteps | undefined): Promise<MigrationOutcome> {
    const core = this.#core;
    // Who comes next sees it through.
    if (core.released) throw error;
    // Nothing was begun.
    if (outgoingOf(core) === undefined) throw error;
    if (this.#handedOver) {
      if (steps !== undefined) unsettled.set(core, steps);
      if ((await settleOutgoing(core)) === "completed") return "completed";
    } else {
      await steps?.cancel();
      await stay(core, record);
    }
    const { signal } = this.#options;
    if (signal?.aborted === true) throw abortErrorOf(signal, "migrate");
    if (this.#stop.signal.aborted) return "aborted";
    throw explained(core, error);
  }

  #report(figures: JobFigures): void {
    try {
      this.#options.onMigrationProgress?.(progressOf(this.#phase, figures));
    } catch {
      // A caller's broken callback is not a reason to fail the caller's migration.
    }
  }
}
