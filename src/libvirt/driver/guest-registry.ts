/** The guests of an open host: defining, finding, forgetting. */
import { ConflictError, LatestRun, traceMessage } from "../../core/index.js";
import type { CommonOptions, StateCorruptError } from "../../core/index.js";
import { InstanceNotFoundError, InvalidStateError } from "../../driver/index.js";
import type { GuestDefinition } from "../../driver/index.js";
import { isLibvirtError } from "../rpc/index.js";
import type { DomainUndefineFlagsValues } from "../rpc/index.js";
import { settleLeftWork } from "./block/settle-work.js";
import { waitAtMost } from "./block/wait-at-most.js";
import { asDriverErrors } from "./errors.js";
import { GuestCore } from "./guest-core.js";
import { LibvirtGuest } from "./guest.js";
import { runsQemu } from "./host.js";
import type { LibvirtHost } from "./host.js";
import { watchConsoleLog } from "./console/console-log.js";
import { settleDevices } from "./hotplug/settle-devices.js";
import { defineDomain } from "./lifecycle/define.js";
import { observe, reconcile } from "./lifecycle/reconcile.js";
import { dropSecrets, provideSecrets, secretUsesOf } from "./secrets.js";
import { settleLeftSaving } from "./suspend/suspend.js";
import { GUEST_STATE_VERSION } from "./state/guest-state.js";
import type { GuestState } from "./state/guest-state.js";

interface Entry {
  readonly core: GuestCore;
  readonly guest: LibvirtGuest;
}

const QEMU_LEFTOVERS = [
  "managedSave",
  "snapshotsMetadata",
  "checkpointsMetadata",
  "nvram",
] as const satisfies readonly (keyof typeof DomainUndefineFlagsValues)[];

export class GuestRegistry {
  readonly #host: LibvirtHost;
  readonly #entries = new Map<string, Entry>();
  #unreadable: ReadonlyMap<string, StateCorruptError> = new Map();
  /** Names that are being given to guests. */
  readonly #claims = new Set<string>();
  readonly #following = new LatestRun(() => this.#followNow());

  constructor(host: LibvirtHost) {
    this.#host = host;
    const states = (): readonly GuestState[] => this.cores().map(({ state }) => state);
    host.mediated.among(states);
    host.serialPorts.among(states);
  }

  /** Reads all guests, before their events are followed. */
  async load(): Promise<void> {
    const { states, unreadable } = await this.#host.store.load();
    this.#unreadable = unreadable;
    for (const state of states) this.#add(state);
  }

  /** Takes the guests' states as libvirt has them; nothing of it is news. One that does not answer holds up nobody. */
  async adopt(): Promise<void> {
    await this.#each(async (core) => {
      await observe(core);
      if (this.#host.options.readOnly) return;
      await this.#restoreMediated(core);
      const settled = settleLeft(core).then(() => settleLeftWork(core));
      await waitAtMost(this.#host, this.#host.timeouts.cancelMs, settled);
    });
  }

  /** Looks after a time without events. */
  async reconcile(): Promise<void> {
    await this.#each(async (core) => {
      await reconcile(core);
      if (this.#host.options.readOnly) return;
      await waitAtMost(this.#host, this.#host.timeouts.cancelMs, settleLeft(core));
      // It waits for events, which are read when this is done.
      void settleLeftWork(core);
    });
  }

  /** For who only looks: takes over what another driver has written since. What of it no event has told yet, is told. */
  follow(): Promise<void> {
    return this.#following.run();
  }

  /** A guest that another driver has made, of which an event tells. */
  async discover(uuid: string): Promise<GuestCore | undefined> {
    if (!this.#host.options.readOnly) return undefined;
    await this.follow();
    return this.core(uuid);
  }

  /** @throws ConflictError when the uuid or the name is taken; what libvirt refuses. Then nothing is left. */
  async define(
    definition: GuestDefinition,
    options: CommonOptions = {},
    come: Partial<GuestState> = {},
  ): Promise<LibvirtGuest> {
    const { uuid, name } = definition;
    this.#requireReadable(uuid);
    if (this.#entries.has(uuid))
      throw new ConflictError(`guest ${uuid} is defined already`, { instance: { uuid, name } });
    this.#requireFreeName(uuid, name);
    this.#claims.add(name);
    try {
      await this.#requireFreeInLibvirt(definition, options);
      const state: GuestState = { version: GUEST_STATE_VERSION, definition, ...come };
      // First, so that whoever undefines the guest knows that what libvirt has is ours.
      await this.#host.store.save(state);
      const { core, guest } = this.#add(state);
      try {
        await asDriverErrors({ operation: "define", instance: { uuid, name } }, async () => {
          await provideSecrets(this.#host, uuid, usesOf(definition), options);
          await this.#host.mediated.claim(core);
          if (state.migration === undefined) await this.#claimPorts(core);
          // Of one that comes from another host libvirt knows when it is brought.
          if (state.migration === undefined) await defineDomain(core);
        });
      } catch (error) {
        await this.undefine(uuid);
        throw error;
      }
      return guest;
    } finally {
      this.#claims.delete(name);
    }
  }

  /** @throws InstanceNotFoundError, InvalidStateError while it is in memory, ConflictError for a name that is taken. Then the old definition stands. */
  async redefine(definition: GuestDefinition, options: CommonOptions = {}): Promise<LibvirtGuest> {
    const { uuid, name } = definition;
    this.#requireReadable(uuid);
    const entry = this.#entries.get(uuid);
    if (entry === undefined) throw new InstanceNotFoundError(uuid);
    this.#requireFreeName(uuid, name);
    const { core, guest } = entry;
    await requireStopped(core, "redefine");
    const before = core.state;
    try {
      await asDriverErrors({ operation: "redefine", instance: { uuid, name } }, async () => {
        await provideSecrets(this.#host, uuid, usesOf(definition), options);
        await this.#host.mediated.claim(core, definition);
        await this.#claimPorts(core, definition);
        // libvirt renames no domain that is defined anew.
        if (before.definition.name !== name)
          await core.domain.rename({ newName: name, deadlineMs: this.#host.timeouts.callMs });
        await core.update((state) => ({ ...state, definition }));
        await defineDomain(core);
      });
    } catch (error) {
      await this.#restore(core, before);
      throw error;
    }
    await dropSecrets(this.#host, uuid, unused(before.definition, definition));
    await this.#host.mediated.release(core);
    return guest;
  }

  /** Forgets a guest with all that libvirt keeps for it. @throws InvalidStateError while it is in memory */
  async undefine(uuid: string): Promise<void> {
    const core = this.#entries.get(uuid)?.core;
    if (core === undefined && !this.#unreadable.has(uuid)) return this.#host.store.remove(uuid);
    if (core !== undefined) await requireStopped(core, "undefine");
    await core?.devices.idle();
    if (core !== undefined) await settleLeftWork(core);
    await asDriverErrors({ operation: "undefine" }, () => this.#undefineDomain(uuid, core));
    if (core !== undefined) await dropSecrets(this.#host, uuid, usesOf(core.definition));
    if (core !== undefined) await this.#host.mediated.release(core, { all: true });
    await this.#entries.get(uuid)?.guest.endConsole();
    await this.#host.store.remove(uuid);
    core?.release();
    this.#entries.delete(uuid);
    this.#unreadable = new Map([...this.#unreadable].filter(([unreadable]) => unreadable !== uuid));
  }

  /** @throws StateCorruptError for a guest whose state can't be read */
  find(uuid: string): LibvirtGuest | undefined {
    this.#requireReadable(uuid);
    return this.#entries.get(uuid)?.guest;
  }

  list(): readonly LibvirtGuest[] {
    return [...this.#entries.values()].map(({ guest }) => guest);
  }

  core(uuid: string): GuestCore | undefined {
    return this.#entries.get(uuid)?.core;
  }

  cores(): readonly GuestCore[] {
    return [...this.#entries.values()].map(({ core }) => core);
  }

  /** Lets go of all guests. */
  release(): void {
    for (const { core } of this.#entries.values()) core.release();
  }

  #add(state: GuestState): Entry {
    const core = new GuestCore(this.#host, state);
    if (state.migration !== undefined) core.see({ moving: true });
    if (!this.#host.options.readOnly) core.onRelease(watchConsoleLog(core));
    const entry = { core, guest: new LibvirtGuest(core) };
    this.#entries.set(state.definition.uuid, entry);
    return entry;
  }

  async #followNow(): Promise<void> {
    const { states, unreadable } = await this.#host.store.load();
    this.#unreadable = unreadable;
    const there = new Map(states.map((state) => [state.definition.uuid, state]));
    const gone = this.cores().filter(({ instance }) => !there.has(instance.uuid) && !unreadable.has(instance.uuid));
    const come = states
      .filter(({ definition }) => !this.#entries.has(definition.uuid))
      .map((state) => this.#add(state).core);
    for (const [uuid, state] of there) this.core(uuid)?.follow(state);
    await this.#each(reconcile, [...come, ...gone.filter(({ inMemory }) => inMemory)]);
    for (const core of gone) {
      core.release();
      this.#entries.delete(core.instance.uuid);
    }
  }

  async #claimPorts(core: GuestCore, definition = core.definition): Promise<void> {
    if (runsQemu(this.#host)) await this.#host.serialPorts.claim(core, definition);
  }

  /** A boot of the host leaves no mediated device. */
  async #restoreMediated(core: GuestCore): Promise<void> {
    const { mediated } = this.#host;
    await mediated
      .claim(core)
      .then(() => mediated.release(core))
      .catch((error: unknown) =>
        traceMessage("hypervise:libvirt:background-failure", () => ({ error: String(error) })),
      );
  }

  async #each(look: (core: GuestCore) => Promise<void>, cores = this.cores()): Promise<void> {
    await Promise.all(
      cores.map((core) =>
        look(core).catch((error: unknown) => {
          // A guest without a domain is one that is not in memory.
          if (isLibvirtError(error, "domainNotFound")) return core.see({ state: "shutdown" });
          traceMessage("hypervise:libvirt:background-failure", () => ({ error: String(error) }));
        }),
      ),
    );
  }

  async #undefineDomain(uuid: string, core: GuestCore | undefined): Promise<void> {
    const limits = { deadlineMs: this.#host.timeouts.callMs };
    const domain = core?.domain ?? this.#host.client.handle("Domain", { name: "", uuid, id: -1 });
    try {
      if (core === undefined)
        await domain.destroyFlags(limits).catch((error: unknown) => ignore(error, "invalidState"));
      await domain.undefineFlags({ flags: runsQemu(this.#host) ? QEMU_LEFTOVERS : [], ...limits });
      // Somebody else may have started it again: then it is there without a definition until it ends.
      await domain.destroyFlags(limits).catch((error: unknown) => ignore(error, "invalidState"));
    } catch (error) {
      ignore(error, "domainNotFound");
    }
  }

  async #restore(core: GuestCore, before: GuestState): Promise<void> {
    const { name } = before.definition;
    await core.update(({ mediated }) => (mediated === undefined ? before : { ...before, mediated }));
    await this.#host.mediated.release(core);
    await core.domain.rename({ newName: name, deadlineMs: this.#host.timeouts.callMs }).catch(() => undefined);
    await defineDomain(core).catch((error: unknown) => {
      traceMessage("hypervise:libvirt:background-failure", () => ({ error: String(error) }));
    });
  }

  async #requireFreeInLibvirt({ uuid, name }: GuestDefinition, options: CommonOptions): Promise<void> {
    const limits = { signal: options.signal, deadlineMs: options.deadline ?? this.#host.timeouts.callMs };
    const lookups = [
      this.#host.client.lookupDomainByUuid(uuid, limits),
      this.#host.client.lookupDomainByName(name, limits),
    ];
    for (const found of await Promise.allSettled(lookups)) {
      if (found.status === "fulfilled")
        throw new ConflictError(`libvirt has a domain ${found.value.name} already`, { instance: { uuid, name } });
      if (!isLibvirtError(found.reason, "domainNotFound")) throw found.reason;
    }
  }

  #requireReadable(uuid: string): void {
    const error = this.#unreadable.get(uuid);
    if (error !== undefined) throw error;
  }

  #requireFreeName(uuid: string, name: string): void {
    const holder = this.cores().find(({ definition }) => definition.name === name && definition.uuid !== uuid);
    if (holder !== undefined || this.#claims.has(name))
      throw new ConflictError(`a guest ${name} is defined already`, { instance: { uuid, name } });
  }
}

/** Ends or undoes what an earlier process has left of its work on a guest's memory and devices. Never rejects. */
async function settleLeft(core: GuestCore): Promise<void> {
  await settleLeftSaving(core);
  await settleDevices(core).catch((error: unknown) => {
    if (isLibvirtError(error, "domainNotFound")) return core.see({ state: "shutdown" });
    traceMessage("hypervise:libvirt:background-failure", () => ({ error: String(error) }));
  });
}

function usesOf({ disks }: GuestDefinition): ReturnType<typeof secretUsesOf> {
  return secretUsesOf(disks.map(({ source }) => source));
}

function unused(before: GuestDefinition, now: GuestDefinition): ReturnType<typeof secretUsesOf> {
  const still = new Set(usesOf(now).map(({ secretId }) => secretId));
  return usesOf(before).filter(({ secretId }) => !still.has(secretId));
}

function ignore(error: unknown, kind: "domainNotFound" | "invalidState"): void {
  if (!isLibvirtError(error, kind)) throw error;
}

/** What libvirt has not told yet, it is asked for. */
async function requireStopped(core: GuestCore, operation: string): Promise<void> {
  if (core.inMemory) await asDriverErrors({ operation, instance: core.instance }, () => reconcile(core));
  if (!core.inMemory) return;
  throw new InvalidStateError({
    operation,
    state: core.powerState,
    expected: ["shutdown", "crashed"],
    instance: core.instance,
  });
}
