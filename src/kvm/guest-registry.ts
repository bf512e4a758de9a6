/** The guests of an open host: defining, finding, forgetting. */
import { access } from "node:fs/promises";
import { ConflictError, traceMessage } from "../core/index.js";
import type { StateCorruptError } from "../core/index.js";
import { InstanceNotFoundError, InvalidStateError, NoCapacityError } from "../driver/index.js";
import type { GuestDefinition } from "../driver/index.js";
import { identityOf, isAlive, killProcess, waitForExit } from "../host/index.js";
import type { ProcessIdentity } from "../host/index.js";
import { abandonWork } from "./block/work.js";
import { machineOf } from "./definition-check.js";
import { guestOf } from "./access/access-ledger.js";
import { KvmGuest } from "./guest.js";
import { endHelpers } from "./helpers/find-helpers.js";
import { endGuestHelpers } from "./helpers/guest-helpers.js";
import { GuestCore } from "./guest-core.js";
import type { KvmHost } from "./host.js";
import { adoptGuest, recordMissedEnd } from "./lifecycle/adopt.js";
import { endRemains } from "./lifecycle/stop.js";
import { requireHere } from "./migration/guard.js";
import { machineNamed } from "./plan/capabilities.js";
import { planHardware } from "./plan/hardware.js";
import type { Hardware } from "./plan/hardware.js";
import { findByPidFile, removeSockets } from "./process.js";
import { GUEST_STATE_VERSION } from "./state/guest-state.js";
import type { GuestState } from "./state/guest-state.js";
import { withoutClone } from "./state/state-changes.js";
import { sweepMemory } from "./suspend/suspend.js";

interface Entry {
  readonly core: GuestCore;
  readonly guest: KvmGuest;
}

export class GuestRegistry {
  readonly #host: KvmHost;
  readonly #entries = new Map<string, Entry>();
  #unreadable: ReadonlyMap<string, StateCorruptError> = new Map();
  /** Names that are being given to guests. */
  readonly #claims = new Set<string>();

  constructor(host: KvmHost) {
    this.#host = host;
  }

  /** Reads all guests and takes up those in memory. One that does not answer holds up nobody for longer than `adoptMs`. */
  async load(): Promise<void> {
    const { states, unreadable } = await this.#host.store.load();
    this.#unreadable = unreadable;
    for (const state of states) this.#add(state);
    const cores = [...this.#entries.values()].map(({ core }) => core);
    const strays = await findByPidFile(new Set(cores.map(({ files }) => files.pid)));
    await Promise.all(cores.map((core) => this.#takeUp(core, strays)));
    await this.#takeBackFiles();
    await this.#endStrayHelpers();
  }

  /** @throws ConflictError when the uuid or the name is taken; NoCapacityError; NoFreeSlotError; DiskFullError. Then nothing is left. */
  async define(
    definition: GuestDefinition,
    hostMemoryMiB: number,
    come: Pick<GuestState, "migration" | "checkpoints"> & Partial<Pick<GuestState, "hardware">> = {},
  ): Promise<KvmGuest> {
    const { uuid, name } = definition;
    this.#requireReadable(uuid);
    if (this.#entries.has(uuid))
      throw new ConflictError(`guest ${uuid} is defined already`, { instance: { uuid, name } });
    this.#requireFreeName(uuid, name);
    if (definition.memoryMiB > hostMemoryMiB) {
      throw new NoCapacityError(
        `the guest wants ${definition.memoryMiB} MiB of memory, the host has ${hostMemoryMiB}`,
        { instance: { uuid, name } },
      );
    }
    this.#claims.add(name);
    try {
      const hardware = this.planHardware(definition);
      const state: GuestState = { version: GUEST_STATE_VERSION, definition, hardware, ...come };
      await this.#host.store.create(state);
      return this.#add(state).guest;
    } finally {
      this.#claims.delete(name);
    }
  }

  /** @throws InstanceNotFoundError, InvalidStateError while it is in memory, ConflictError for a name that is taken. Then the old definition stands. */
  async redefine(definition: GuestDefinition): Promise<KvmGuest> {
    const { uuid, name } = definition;
    this.#requireReadable(uuid);
    const entry = this.#entries.get(uuid);
    if (entry === undefined) throw new InstanceNotFoundError(uuid);
    this.#requireFreeName(uuid, name);
    requireStopped(entry.core, "redefine");
    requireHere(entry.core, "redefine");
    await entry.core.update((state) => ({
      ...state,
      definition,
      hardware: this.planHardware(definition, state.hardware),
    }));
    return entry.guest;
  }

  /** Forgets a guest with all its files. @throws InvalidStateError while it is in memory */
  async undefine(uuid: string): Promise<void> {
    const entry = this.#entries.get(uuid);
    if (entry !== undefined) {
      requireStopped(entry.core, "undefine");
      await endRemains(entry.core);
    } else if (this.#unreadable.has(uuid)) await this.#killStray(uuid);
    const { directory } = this.#host.store.files(uuid);
    if (entry === undefined) await this.#endHelpers((candidate) => candidate === directory);
    else await endGuestHelpers(entry.core);
    await this.#host.store.remove(uuid);
    this.#entries.delete(uuid);
    this.#unreadable = new Map([...this.#unreadable].filter(([unreadable]) => unreadable !== uuid));
  }

  /** @throws StateCorruptError for a guest whose state can't be read */
  find(uuid: string): KvmGuest | undefined {
    this.#requireReadable(uuid);
    return this.#entries.get(uuid)?.guest;
  }

  list(): readonly KvmGuest[] {
    return [...this.#entries.values()].map(({ guest }) => guest);
  }

  core(uuid: string): GuestCore | undefined {
    return this.#entries.get(uuid)?.core;
  }

  /** Lets go of all guests. */
  async release(): Promise<void> {
    const cores = [...this.#entries.values()].map(({ core }) => core);
    for (const core of cores) core.released = true;
    await Promise.all(cores.map((core) => core.release()));
  }

  /** The hardware of a guest that is to be defined, or defined anew. Pure. */
  planHardware(definition: GuestDefinition, previous?: Hardware): Hardware {
    const machine = machineOf(definition, this.#host.capabilities);
    const machineType = machineNamed(this.#host.capabilities, machine)?.name ?? machine;
    return planHardware(definition, machine, { machineType, hotplugPorts: this.#host.hotplugPorts }, previous);
  }

  #add(state: GuestState): Entry {
    const core = new GuestCore(this.#host, state);
    const entry = { core, guest: new KvmGuest(core) };
    this.#entries.set(state.definition.uuid, entry);
    return entry;
  }

  async #takeUp(core: GuestCore, strays: ReadonlyMap<string, number>): Promise<void> {
    const identity = (await this.#recordedProcess(core)) ?? (await strayProcess(core, strays));
    await sweepMemory(core);
    if (identity !== undefined) return adoptGuest(core, identity);
    if (core.state.process !== undefined) await recordMissedEnd(core, await isAbsent(core.files.pid));
    await core.update(withoutClone);
    await abandonWork(core);
    await removeSockets(core.files);
  }

  /** Processes that were started for a QEMU which never came, or which ended while nobody watched. */
  async #endStrayHelpers(): Promise<void> {
    const { store } = this.#host;
    const inMemory = new Set(
      [...this.#entries.values()].filter(({ core }) => core.inMemory).map(({ core }) => core.files.directory),
    );
    const isStray = (directory: string): boolean => store.holds(directory) && !inMemory.has(directory);
    await this.#endHelpers(isStray).catch((error: unknown) => {
      traceMessage("hypervise:kvm:background-failure", () => ({ error: String(error) }));
    });
  }

  #endHelpers(isOf: (directory: string) => boolean): Promise<void> {
    const { clock, timeouts } = this.#host;
    return endHelpers(isOf, { clock, quitMs: timeouts.quitMs, killMs: timeouts.killMs });
  }

  /** Files that were given to the QEMU of a guest which ended while nobody watched. */
  async #takeBackFiles(): Promise<void> {
    const gone = (holder: string): boolean => this.#entries.get(guestOf(holder))?.core.session === undefined;
    await this.#host.access.revokeAll(gone).catch((error: unknown) => {
      traceMessage("hypervise:kvm:background-failure", () => ({ error: String(error) }));
    });
  }

  async #recordedProcess(core: GuestCore): Promise<ProcessIdentity | undefined> {
    const { process } = core.state;
    if (process?.bootId !== this.#host.bootId) return undefined;
    const identity = { pid: process.pid, startTime: process.startTime };
    return (await isAlive(identity)) ? identity : undefined;
  }

  /** A guest that we can't read may be in memory all the same. */
  async #killStray(uuid: string): Promise<void> {
    const { pid: pidFile } = this.#host.store.files(uuid);
    const pid = (await findByPidFile(new Set([pidFile]))).get(pidFile);
    const identity = pid === undefined ? undefined : await identityOf(pid);
    if (identity === undefined) return;
    await killProcess(identity, "SIGKILL");
    await waitForExit(identity, { timeoutMs: this.#host.timeouts.killMs, clock: this.#host.clock });
  }

  #requireReadable(uuid: string): void {
    const error = this.#unreadable.get(uuid);
    if (error !== undefined) throw error;
  }

  #requireFreeName(uuid: string, name: string): void {
    const holder = [...this.#entries.values()].find(
      ({ core }) => core.definition.name === name && core.definition.uuid !== uuid,
    );
    if (holder !== undefined || this.#claims.has(name))
      throw new ConflictError(`a guest ${name} is defined already`, { instance: { uuid, name } });
  }
}

function requireStopped(core: GuestCore, operation: string): void {
  if (!core.inMemory) return;
  throw new InvalidStateError({
    operation,
    state: core.powerState,
    expected: ["shutdown", "crashed"],
    instance: core.instance,
  });
}

async function strayProcess(
  core: GuestCore,
  strays: ReadonlyMap<string, number>,
): Promise<ProcessIdentity | undefined> {
  const pid = strays.get(core.files.pid);
  return pid === undefined ? undefined : identityOf(pid);
}

async function isAbsent(path: string): Promise<boolean> {
  return access(path).then(
    () => false,
    () => true,
  );
}
