/** A guest's way to another host, seen from the source: memory and disks are copied while it runs, then it is handed over; until then it can always stay. */
import {
  AbortedError,
  ConflictError,
  InvalidArgumentError,
  NotSupportedError,
  abortErrorOf,
  asError,
  isHyperviseError,
  joinSignals,
} from "../../core/index.js";
import { MigrationError, NoActiveMigrationError } from "../../driver/index.js";
import type {
  GuestMigrationOptions,
  GuestMigrationRequest,
  MigrationOutcome,
  MigrationPhase,
} from "../../driver/index.js";
import { StallWatch, beginConvergence, converge, downtimeLimit } from "../../hypervisor/index.js";
import type { Convergence } from "../../hypervisor/index.js";
import { QmpCommandError } from "../../qmp/index.js";
import type { Qapi } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";
import type { OutgoingRecord } from "../state/migration-record.js";
import { withMigration } from "../state/state-changes.js";
import { checkGuest, checkToken } from "./departure-check.js";
import { afterCrash, depart, noteGoneOver, outgoingOf, settleOutgoing, stay } from "./conclude.js";
import { requireHere } from "./guard.js";
import { copiedDisks, finishMirrors, startMirror } from "./mirror.js";
import { isMoving, whileMoving } from "./moving.js";
import { PostcopyLink, isPostcopy } from "./postcopy-link.js";
import { NO_DISKS, progressOf } from "./progress.js";
import type { CopiedDisks } from "./progress.js";
import { reachDestination } from "./reach.js";
import type { Reached } from "./reach.js";
import { UNLIMITED_BYTES_PER_SECOND, agreedParameters, outgoingCapabilities, setCapabilities } from "./settings.js";
import { mustStandStill } from "./still-copy.js";
import { TLS_CREDENTIALS } from "./tls.js";
import type { MigrationToken } from "./token.js";
import { Nudge, cancelMigration, finalStatus, follow, followMigration } from "./watch.js";

const MIB = 1_048_576;
const migrations = new WeakMap<GuestCore, OutgoingMigration>();

/**
 * Migrates a guest to the destination that gave the token.
 * @throws MigrationError when it failed, AbortedError when the caller's signal ended it: the guest is here as before. MigrationPreCheckError, InvalidArgumentError,
 * InvalidStateError, BusyError: nothing was begun. GuestCrashedError when QEMU ended before the guest was handed over.
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
  await migration.force(mode);
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
  #phase: MigrationPhase = "preparing";
  #disks: CopiedDisks = NO_DISKS;
  #convergence: Convergence;
  #forced: "postcopy" | "pause" | undefined;
  #postcopy = false;
  /** When we stopped the guest, by the monotonic clock; undefined when only QEMU does. */
  #haltedAt: number | undefined;
  /** True from when QEMU may have begun. */
  #begun = false;
  /** True from when QEMU may have been told to hand the guest over. */
  #handedOver = false;
  /** True when QEMU has said that the migration has failed or was cancelled. */
  #over = false;
  #settle: (outcome: Promise<MigrationOutcome>) => void = () => undefined;

  constructor(core: GuestCore, request: GuestMigrationRequest, options: GuestMigrationOptions) {
    this.#core = core;
    this.#request = request;
    this.#options = options;
    this.#convergence = beginConvergence(request.downtimeMs);
    this.ended = new Promise((resolve) => (this.#settle = resolve));
    this.ended.catch(() => undefined);
  }

  run(): Promise<MigrationOutcome> {
    const outcome = this.#run();
    this.#settle(outcome);
    return outcome;
  }

  async abort(): Promise<void> {
    if (this.#handedOver) throw tooLate(this.#core);
    this.#stop.abort(new AbortedError({ operation: "migrate", instance: this.#core.instance }));
    const outcome = await this.ended.catch(() => "failed" as const);
    if (outcome === "completed") throw tooLate(this.#core);
  }

  async force(mode: "postcopy" | "pause"): Promise<void> {
    const { instance } = this.#core;
    if (mode === "postcopy" && !this.#request.allowPostcopy) {
      throw new InvalidArgumentError({
        field: "mode",
        value: mode,
        expected: "pause, as the migration does not allow post-copy",
        instance,
      });
    }
    if (mode === "postcopy" && this.#phase !== "preparing" && !this.#postcopy)
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
    requireHere(core, "migrate");
    const session = core.requireSession("migrate");
    const token = checkToken(core, this.#request);
    const record = await checkGuest(core, session, token);
    this.#postcopy = this.#request.allowPostcopy && token.postcopy;
    const { signal } = this.#options;
    const stop = joinSignals([signal, this.#stop.signal]);
    let reached: Reached | undefined;
    try {
      await core.update((state) => withMigration(state, record));
      session.setMoving(true);
      core.emit({ type: "lifecycle", transition: "migrationStarted", cause: "self" });
      this.#report({});
      reached = await reachDestination(core, session, token, stop.signal);
      await this.#prepare(session, token, reached, stop.signal);
      await this.#copyDisks(session, record, reached, stop.signal);
      if (record.wasRunning && mustStandStill(core.host)) await this.#halt(session, stop.signal);
      const uri = await reached.memoryUri(stop.signal);
      this.#begun = true;
      await session.execute("migrate", { uri }, { signal: stop.signal });
      await this.#copyMemory(session, stop.signal);
      return await this.#switchOver(session, record, token, stop.signal);
    } catch (error) {
      return await this.#giveUp(session, record, asError(error), reached);
    } finally {
      stop.release();
      await reached?.close();
    }
  }

  async #prepare(session: GuestSession, token: MigrationToken, reached: Reached, signal: AbortSignal): Promise<void> {
    const { autoConverge, bandwidthMiBps = 0 } = this.#request;
    await setCapabilities(session, outgoingCapabilities({ ...token, postcopy: this.#postcopy }, autoConverge), signal);
    const parameters = {
      ...agreedParameters(token),
      "max-bandwidth": bandwidthMiBps === 0 ? UNLIMITED_BYTES_PER_SECOND : bandwidthMiBps * MIB,
      "max-postcopy-bandwidth": bandwidthMiBps * MIB,
      "downtime-limit": downtimeLimit(this.#convergence),
      "tls-creds": reached.tlsHostname === undefined ? "" : TLS_CREDENTIALS,
      "tls-hostname": reached.tlsHostname ?? "",
    };
    await session.execute("migrate-set-parameters", parameters, { signal });
  }

  async #copyDisks(
    session: GuestSession,
    { copied }: OutgoingRecord,
    { disks: address, tlsHostname }: Reached,
    signal: AbortSignal,
  ): Promise<void> {
    if (copied.length === 0 || address === undefined) return;
    this.#phase = "disks";
    const bytesPerSecond = (this.#request.bandwidthMiBps ?? 0) * MIB;
    const target = { address, bytesPerSecond, ...(tlsHostname === undefined ? {} : { tlsHostname }) };
    for (const handle of copied) await startMirror(session, handle, target, signal);
    await follow(
      this.#core,
      session,
      (limit) => session.execute("query-jobs", {}, { signal: limit }),
      (jobs) => {
        const seen = copiedDisks(jobs, copied);
        this.#disks = seen;
        this.#report({});
        return seen.ready ? true : undefined;
      },
      { what: "copying disks", limitMs: this.#limitMs, signal, nudge: this.#nudge },
    );
  }

  /** Resolves when QEMU has stopped the guest and waits to be told to hand it over. */
  async #copyMemory(session: GuestSession, signal: AbortSignal): Promise<void> {
    this.#phase = "memory";
    const what = "copying memory";
    const stall = new StallWatch(this.#core);
    await followMigration(
      this.#core,
      session,
      async (info, limit) => {
        this.#report(info);
        if (info.status === "pre-switchover") return true;
        if (finalStatus(info) !== undefined) throw this.#failure(info);
        stall.look(info.status ?? "none", info.ram?.transferred ?? 0, info.ram?.["dirty-sync-count"] ?? 0);
        if (info.status === "active") await this.#hasten(session, info, limit);
        return undefined;
      },
      { what, limitMs: this.#limitMs, signal, nudge: this.#nudge },
    );
  }

  /** Has the guest stand still from now on. QEMU does not count that as part of its standstill. */
  async #halt(session: GuestSession, signal: AbortSignal): Promise<void> {
    this.#haltedAt ??= this.#core.host.clock.monotonic();
    await session.execute("stop", {}, { signal });
  }

  /** Does what was asked for to make the migration end, and allows a longer standstill when it does not get on. */
  async #hasten(session: GuestSession, info: Qapi.MigrationInfo, signal: AbortSignal): Promise<void> {
    const forced = this.#forced;
    this.#forced = undefined;
    if (forced === "pause") await this.#halt(session, signal);
    if (forced === "postcopy" && this.#postcopy) await session.execute("migrate-start-postcopy", {}, { signal });
    const before = downtimeLimit(this.#convergence);
    const { iteration, memoryRemainingBytes } = progressOf("memory", info, NO_DISKS);
    this.#convergence = converge(this.#convergence, iteration, memoryRemainingBytes);
    const limit = downtimeLimit(this.#convergence);
    if (limit !== before) await session.execute("migrate-set-parameters", { "downtime-limit": limit }, { signal });
  }

  async #switchOver(
    session: GuestSession,
    record: OutgoingRecord,
    token: MigrationToken,
    signal: AbortSignal,
  ): Promise<MigrationOutcome> {
    const core = this.#core;
    const { cancelMs, commandMs } = core.host.timeouts;
    await finishMirrors(core, session, record.copied, { limitMs: cancelMs, signal });
    this.#phase = "switchover";
    await this.#options.beforeSwitchover?.();
    if (signal.aborted) throw abortErrorOf(signal, "migrate");
    const switching: OutgoingRecord = { ...record, phase: "switchover" };
    await core.update((state) => withMigration(state, switching));
    this.#handedOver = true;
    this.#report(await session.execute("query-migrate"));
    // It may be over before anybody looks, but not before its event.
    const unwatch = session.watch((event) => {
      if (event?.event === "MIGRATION" && event.data["status"] === "postcopy-active") this.#noteSwitch(session);
    });
    const link = new PostcopyLink(core, session, token);
    try {
      await session.execute("migrate-continue", { state: "pre-switchover" }, { deadlineMs: commandMs });
      const end = await this.#seeOver(session, link);
      return await this.#handOver(switching, end);
    } finally {
      unwatch();
      await link.close();
    }
  }

  async #handOver(record: OutgoingRecord, end: Qapi.MigrationInfo): Promise<MigrationOutcome> {
    if (finalStatus(end) !== "completed") throw this.#failure(end);
    await depart(this.#core, { ...record, ...(this.#phase === "postcopy" ? { postcopy: true } : {}) });
    this.#phase = "completed";
    this.#report(end);
    return "completed";
  }

  #seeOver(session: GuestSession, link: PostcopyLink): Promise<Qapi.MigrationInfo> {
    const core = this.#core;
    const { migrationMs } = core.host.timeouts;
    return followMigration(
      core,
      session,
      async (info, signal) => {
        if (finalStatus(info) !== undefined) return info;
        if (isPostcopy(info)) this.#noteSwitch(session);
        this.#report(info);
        await link.look(info, signal);
        return undefined;
      },
      { what: "handing the guest over", limitMs: migrationMs, nudge: this.#nudge },
    );
  }

  /** The guest runs on the destination, and what it has not got of its memory follows. */
  #noteSwitch(session: GuestSession): void {
    if (this.#phase === "postcopy") return;
    this.#phase = "postcopy";
    noteGoneOver(this.#core);
    void session.execute("query-migrate").then(
      (info) => this.#report(info),
      () => undefined,
    );
  }

  /** The guest stays, unless it has gone. */
  async #giveUp(
    session: GuestSession,
    record: OutgoingRecord,
    error: Error,
    reached: Reached | undefined,
  ): Promise<MigrationOutcome> {
    const core = this.#core;
    // Who comes next sees it through.
    if (core.released) throw error;
    // The guest is the destination's, and never comes back here, whatever becomes of it there.
    if (this.#phase === "postcopy" && !session.process.over && !this.#over) {
      await depart(core, { ...record, postcopy: true });
      throw error;
    }
    if (session.process.over || isHyperviseError(error, "GUEST_CRASHED")) {
      const outcome = await afterCrash(core);
      if (outcome === undefined) throw error;
      return outcome;
    }
    // Not known to QEMU, and nothing was begun.
    if (outgoingOf(core) === undefined) throw error;
    if (this.#handedOver && !this.#over) return (await settleOutgoing(core)) ?? "failed";
    if (this.#begun && !this.#over) await cancelMigration(core, session);
    await stay(core, session, record);
    const { signal } = this.#options;
    if (signal?.aborted === true) throw abortErrorOf(signal, "migrate");
    if (this.#stop.signal.aborted) return "aborted";
    throw explained(core, reached?.failure() ?? error);
  }

  #failure({ "error-desc": words, status }: Qapi.MigrationInfo): MigrationError {
    this.#over = true;
    const { instance } = this.#core;
    return new MigrationError("the migration failed", { instance, detail: words ?? `QEMU says: ${status ?? "none"}` });
  }

  #report(info: Qapi.MigrationInfo): void {
    const phase = info.status === "pre-switchover" || info.status === "device" ? "switchover" : this.#phase;
    // Until the choreography knows of the switch-over it is not told of it.
    const told = phase === "switchover" && !this.#handedOver ? "memory" : phase;
    try {
      const halted = this.#haltedAt;
      const downtimeMs =
        halted === undefined ? {} : { downtimeMs: Math.round(this.#core.host.clock.monotonic() - halted) };
      this.#options.onMigrationProgress?.({ ...progressOf(told, info, this.#disks), ...downtimeMs });
    } catch {
      // A caller's broken callback is not a reason to fail the caller's migration.
    }
  }

  get #limitMs(): number {
    return this.#options.deadline ?? this.#core.host.timeouts.migrationMs;
  }
}

function explained(core: GuestCore, error: Error): Error {
  if (isHyperviseError(error, "MIGRATION_FAILED")) return error.withContext({ instance: core.instance });
  if (isHyperviseError(error, "QMP_COMMAND_FAILED") || !isHyperviseError(error))
    return new MigrationError("the migration could not be begun", {
      instance: core.instance,
      cause: error,
      detail: error instanceof QmpCommandError ? error.desc : error.message,
    });
  return error;
}
