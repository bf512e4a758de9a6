/** The live migration of a simulated guest: pre-copy of disks and memory at the link's rate against the rate at which the guest writes, then the switch. */
import {
  AbortedError,
  ClosedError,
  ConflictError,
  InvalidArgumentError,
  asError,
  isHyperviseError,
  onAbort,
} from "../core/index.js";
import type { JsonObject } from "../core/index.js";
import { GuestCrashedError, NoActiveMigrationError } from "../driver/index.js";
import type {
  GuestDefinition,
  GuestMigrationOptions,
  GuestMigrationRequest,
  MigrationOutcome,
  MigrationPhase,
  MigrationProgress,
} from "../driver/index.js";
import { diskObstacle, lockDisk } from "./guest-devices.js";
import { arm, leaveMemory, notify, stop } from "./guest-power.js";
import { inMemory, ranMs } from "./guest-record.js";
import type { GuestCompanion, GuestRecord } from "./guest-record.js";
import type { FakeHost } from "./host.js";
import type { FakeProcess, Halfway } from "./process.js";

const MIB = 1024 ** 2;
/** Longest stretch between two looks at what has changed. */
const STEP_MS = 1_000;
/** Passes over memory before `autoConverge` begins to slow the guest down. */
const PASSES_BEFORE_THROTTLE = 2;

type End = "aborted" | "failed";

interface Amounts {
  total: number;
  done: number;
  remaining: number;
}

export class MigrationJob implements GuestCompanion {
  /** Settles when the migration is over; rejects only when the guest was lost by it. */
  readonly outcome: Promise<MigrationOutcome>;
  readonly #source: FakeHost;
  readonly #destination: FakeHost;
  readonly #record: GuestRecord;
  readonly #request: GuestMigrationRequest;
  readonly #onProgress: (progress: MigrationProgress) => void;
  readonly #beforeSwitchover: () => Promise<void>;
  readonly #memory: Amounts;
  readonly #disks: Amounts;
  #phase: MigrationPhase = "preparing";
  #iteration = 0;
  #throttle = 1;
  #end: End | undefined;
  #refusal: Error | undefined;
  #forced: "postcopy" | "pause" | undefined;
  #wake: AbortController | undefined;

  constructor(
    source: FakeHost,
    destination: FakeHost,
    record: GuestRecord,
    request: GuestMigrationRequest,
    onProgress: (progress: MigrationProgress) => void,
    beforeSwitchover: () => Promise<void>,
  ) {
    this.#source = source;
    this.#destination = destination;
    this.#record = record;
    this.#request = request;
    this.#onProgress = onProgress;
    this.#beforeSwitchover = beforeSwitchover;
    const memory = record.definition.memoryMiB * MIB;
    this.#memory = { total: memory, done: 0, remaining: memory };
    const disks = this.#copiedDisks().reduce((sum, { from }) => sum + from.allocatedBytes, 0);
    this.#disks = { total: disks, done: 0, remaining: disks };
    (record.companions ??= new Set()).add(this);
    this.outcome = this.#run().finally(() => {
      record.companions?.delete(this);
      notify(record);
    });
    this.outcome.catch(() => undefined);
  }

  /** The guest can still stay where it is. */
  get abortable(): boolean {
    return this.#phase === "preparing" || this.#phase === "disks" || this.#phase === "memory";
  }

  /** Ends the migration; the guest stays on the source. */
  end(how: End): void {
    if (!this.abortable) return;
    this.#end ??= how;
    this.#wake?.abort();
  }

  /** Makes it converge. */
  force(mode: "postcopy" | "pause"): void {
    this.#forced = mode;
    this.#wake?.abort();
  }

  guestEnded(): void {
    this.end("failed");
  }

  get allowsPostcopy(): boolean {
    return this.#request.allowPostcopy;
  }

  async #run(): Promise<MigrationOutcome> {
    await Promise.resolve();
    this.#source.lifecycle(this.#record, "migrationStarted", "self");
    this.#report();
    if (this.#obstacle() !== undefined) this.#end ??= "failed";
    await this.#copyDisks();
    await this.#copyMemory();
    if (this.#end !== undefined) return this.#end;
    await this.#commit();
    if (this.#end !== undefined) return this.#end;
    return this.#goesPostcopy() ? this.#postcopy() : this.#switchOver();
  }

  async #copyDisks(): Promise<void> {
    if (this.#disks.total === 0) return;
    this.#enter("disks");
    while (this.#goesOn() && this.#disks.remaining > 0) await this.#move(this.#disks);
  }

  /** Pass after pass, each over what the guest has written to during the one before it. */
  async #copyMemory(): Promise<void> {
    if (this.#end !== undefined) return;
    this.#enter("memory");
    while (this.#goesOn() && !this.#goesPostcopy()) {
      this.#iteration++;
      let written = 0;
      while (this.#goesOn() && this.#memory.remaining > 0 && !this.#goesPostcopy()) {
        const rate = this.#dirtyRate();
        written += (rate * (await this.#move(this.#memory))) / 1000;
      }
      this.#memory.remaining += Math.ceil(Math.min(written, this.#workingSet()));
      if (this.#standsStill(this.#memory.remaining)) return;
      if (this.#request.autoConverge && this.#iteration >= PASSES_BEFORE_THROTTLE) this.#throttle /= 2;
    }
  }

  /** Nothing has happened to the guest yet, so that whoever refuses keeps it. */
  async #commit(): Promise<void> {
    try {
      await this.#beforeSwitchover();
    } catch (error) {
      this.#refusal = asError(error);
      this.#end ??= "failed";
    }
  }

  /** Why the caller did not let the guest go; undefined when it did. */
  get refusal(): Error | undefined {
    return this.#refusal;
  }

  async #switchOver(): Promise<MigrationOutcome> {
    this.#enter("switchover");
    const paused = this.#record.state === "paused";
    this.#freeze();
    const remaining = this.#memory.remaining;
    await this.#elapse((remaining / this.#rate()) * 1000);
    if (!this.#destinationWaits()) {
      this.#thaw(paused);
      return "failed";
    }
    this.#memory.done += remaining;
    this.#memory.remaining = 0;
    this.#handOver(paused ? "paused" : "running");
    return "completed";
  }

  /** The guest runs on the destination at once; what it still needs follows. If the link breaks now, the guest is lost. */
  async #postcopy(): Promise<MigrationOutcome> {
    this.#enter("postcopy");
    this.#source.lifecycle(this.#record, "postcopyStarted", "self");
    const arrived = this.#handOver("running");
    while (this.#memory.remaining > 0) {
      if (!this.#source.world.reachable(this.#source, this.#destination) || !inMemory(arrived)) {
        stop(this.#destination, arrived, { crashed: true, cause: "crash", detail: "postcopy-failed" });
        throw new GuestCrashedError("The guest was lost in the middle of its migration", {
          instance: this.#record.definition,
        });
      }
      await this.#move(this.#memory);
    }
    this.#enter("completed");
    return "completed";
  }

  #handOver(state: "running" | "paused"): GuestRecord {
    const { definition } = this.#record;
    const arrived = this.#destination.guest(definition.uuid);
    for (const { from, to } of this.#copiedDisks()) {
      to.content = from.content;
      this.#destination.storage.grow(to, from.allocatedBytes);
    }
    const { extras, booted, boots, startedAt } = this.#record;
    const ran = ranMs(this.#record, this.#source.world.clock.now());
    const agenda = [...(extras?.agenda ?? [])];
    const kept =
      extras === undefined ? undefined : { ...extras, agenda, ports: {}, diskSizes: { ...extras.diskSizes } };
    leaveMemory(this.#source, this.#record, "shutdown");
    (this.#record.companions ??= new Set()).add(this);
    Object.assign(arrived, { state, booted, boots, startedAt, ranMs: ran, incoming: "arrived", extras: kept });
    arrived.runningSince = state === "running" ? this.#destination.world.clock.now() : undefined;
    for (const disk of arrived.definition.disks) lockDisk(this.#destination, definition.uuid, disk);
    for (const planned of agenda) arm(this.#destination, arrived, planned);
    if (!this.#goesPostcopy()) this.#enter("completed");
    this.#source.lifecycle(this.#record, "migrationCompleted", "self");
    this.#source.lifecycle(this.#record, "stopped", "self", "migrated");
    this.#destination.lifecycle(arrived, state === "running" ? "resumed" : "paused", "self", "migrated");
    notify(this.#record);
    notify(arrived);
    return arrived;
  }

  /** Vcpus stand still, without an event: the guest does not notice. */
  #freeze(): void {
    this.#record.ranMs = ranMs(this.#record, this.#source.world.clock.now());
    this.#record.runningSince = undefined;
  }

  #thaw(paused: boolean): void {
    if (!paused && inMemory(this.#record)) this.#record.runningSince = this.#source.world.clock.now();
  }

  #copiedDisks() {
    const uuid = this.#record.definition.uuid;
    const there = this.#destination.guests.get(uuid)?.definition.disks ?? [];
    return this.#request.copyDisks.flatMap((id) => {
      const here = this.#record.definition.disks.find((disk) => disk.id === id);
      const target = there.find((disk) => disk.id === id);
      const from = here === undefined ? undefined : this.#source.resolve(here.source);
      const to = target === undefined ? undefined : this.#destination.resolve(target.source);
      return typeof from === "object" && typeof to === "object" ? [{ from, to }] : [];
    });
  }

  /** Why it can't begin: a disk that is neither copied nor to be seen from the destination. */
  #obstacle(): string | undefined {
    if (!this.#destinationWaits()) return "the destination does not wait for the guest";
    const there = this.#destination.guest(this.#record.definition.uuid).definition.disks;
    for (const disk of there) {
      if (this.#request.copyDisks.includes(disk.id)) continue;
      const obstacle = diskObstacle(this.#destination, this.#record.definition.uuid, { ...disk, shareable: true });
      if (obstacle !== undefined) return obstacle;
    }
    return undefined;
  }

  #destinationWaits(): boolean {
    const { uuid } = this.#record.definition;
    return (
      inMemory(this.#record) &&
      this.#source.world.reachable(this.#source, this.#destination) &&
      this.#destination.guests.get(uuid)?.incoming === "waiting"
    );
  }

  #goesPostcopy(): boolean {
    return this.#forced === "postcopy";
  }

  #goesOn(): boolean {
    if (this.#end === undefined && !this.#destinationWaits()) this.#end = "failed";
    return this.#end === undefined;
  }

  /** Bytes in a second. */
  #rate(): number {
    const { bandwidthMiBps = 0 } = this.#request;
    const link = Math.min(this.#source.rates.migrationMiBps, this.#destination.rates.migrationMiBps);
    return (bandwidthMiBps === 0 ? link : Math.min(link, bandwidthMiBps)) * MIB;
  }

  #dirtyRate(): number {
    if (this.#forced === "pause" || this.#record.state === "paused") return 0;
    return this.#source.behaviourOf(this.#record.definition.uuid).dirtyMiBps * MIB * this.#throttle;
  }

  #workingSet(): number {
    return this.#memory.total * this.#source.behaviourOf(this.#record.definition.uuid).workingSet;
  }

  #standsStill(bytes: number): boolean {
    return (bytes / this.#rate()) * 1000 <= this.#request.downtimeMs;
  }

  /** Moves what one step takes; returns the time it took. */
  async #move(amounts: Amounts): Promise<number> {
    const rate = this.#rate();
    const neededMs = (amounts.remaining / rate) * 1000;
    const took = await this.#elapse(Math.min(neededMs, STEP_MS));
    const moved = took >= neededMs ? amounts.remaining : Math.floor((rate * took) / 1000);
    amounts.remaining -= moved;
    amounts.done += moved;
    this.#report();
    return took;
  }

  /** Waits, but not longer than until somebody ends or forces the migration; returns how long. */
  async #elapse(ms: number): Promise<number> {
    if (!(ms > 0)) return 0;
    const { clock } = this.#source.world;
    const start = clock.monotonic();
    this.#wake = new AbortController();
    try {
      await clock.sleep(ms, { signal: this.#wake.signal });
    } catch (error) {
      if (!isHyperviseError(error, "ABORTED")) throw error;
    }
    this.#wake = undefined;
    return clock.monotonic() - start;
  }

  #enter(phase: MigrationPhase): void {
    this.#phase = phase;
    this.#report();
  }

  #report(): void {
    this.#onProgress({
      phase: this.#phase,
      memoryTotalBytes: this.#memory.total,
      memoryTransferredBytes: this.#memory.done,
      memoryRemainingBytes: this.#memory.remaining,
      diskTotalBytes: this.#disks.total,
      diskTransferredBytes: this.#disks.done,
      diskRemainingBytes: this.#disks.remaining,
      dirtyBytesPerSecond: Math.round(this.#dirtyRate()),
      iteration: this.#iteration,
      downtimeMs: Math.ceil((this.#memory.remaining / this.#rate()) * 1000),
    });
  }
}

/** What a source needs to find a guest that waits. */
export function tokenFor(host: FakeHost, definition: GuestDefinition, address: string | undefined): JsonObject {
  return { hypervisor: "fake", host: host.name, address: address ?? host.ipAddress, uuid: definition.uuid };
}

/** Runs a migration; the promise settles when it is over. An aborted call ends the migration if it still can be. */
export async function migrateGuest(
  process: FakeProcess,
  record: GuestRecord,
  request: GuestMigrationRequest,
  options: GuestMigrationOptions,
  halfway: Halfway,
): Promise<MigrationOutcome> {
  const { host } = process;
  if (migrationOf(record) !== undefined)
    throw new ConflictError("The guest migrates already", { instance: record.definition });
  const name = request.token["host"];
  const destination = typeof name === "string" ? host.world.hostNamed(name) : undefined;
  if (destination === undefined || request.token["uuid"] !== record.definition.uuid) {
    throw new InvalidArgumentError({
      field: "request.token",
      value: request.token,
      expected: "the token of a host that waits",
    });
  }
  const job = new MigrationJob(
    host,
    destination,
    record,
    request,
    (progress) => {
      if (process.alive) options.onMigrationProgress?.(progress);
    },
    async () => {
      if (!process.alive) throw new ClosedError("the driver's process is gone");
      await options.beforeSwitchover?.();
    },
  );
  await halfway();
  const unwatch = onAbort(options.signal, () => job.end("aborted"));
  try {
    const outcome = await process.wait(job.outcome, undefined);
    if (outcome === "aborted" && options.signal?.aborted === true)
      throw new AbortedError({ cause: options.signal.reason });
    if (job.refusal !== undefined) throw job.refusal;
    return outcome;
  } finally {
    unwatch();
  }
}

/** Resolves when no migration is under way. @throws ConflictError when it can't be stopped any more. */
export async function abortMigration(record: GuestRecord): Promise<void> {
  const job = migrationOf(record);
  if (job === undefined) return;
  if (!job.abortable)
    throw new ConflictError("The migration can't be aborted any more", { instance: record.definition });
  job.end("aborted");
  await job.outcome;
}

/** @throws NoActiveMigrationError, InvalidArgumentError when the migration was not started for post-copy. */
export function forceMigration(record: GuestRecord, mode: "postcopy" | "pause"): void {
  const job = migrationOf(record);
  if (job === undefined)
    throw new NoActiveMigrationError("No migration of the guest is under way", { instance: record.definition });
  if (mode === "postcopy" && !job.allowsPostcopy) {
    throw new InvalidArgumentError({
      field: "mode",
      value: mode,
      expected: "pause, as the migration does not allow post-copy",
    });
  }
  if (job.abortable) job.force(mode);
}

function migrationOf(record: GuestRecord): MigrationJob | undefined {
  for (const companion of record.companions ?? []) if (companion instanceof MigrationJob) return companion;
  return undefined;
}
