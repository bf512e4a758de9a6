/** One guest's state and, while it is in memory, its session: what every mechanism on a guest works on. */
import type { InstanceRef } from "../core/index.js";
import { InvalidStateError } from "../driver/index.js";
import type { GuestDefinition, HypervisorEvent, PowerState } from "../driver/index.js";
import { DurableState } from "../hypervisor/index.js";
import type { GuestView } from "./events.js";
import type { KvmHost } from "./host.js";
import type { DeviceBinding } from "./plan/hardware.js";
import type { RunningProcess } from "./process.js";
import { GuestSession } from "./session.js";
import type { SessionListener } from "./session.js";
import type { GuestFiles } from "./state/guest-files.js";
import type { GuestState } from "./state/guest-state.js";
import { isDeparted } from "./state/migration-record.js";

type Body<E> = E extends { readonly uuid: string } ? Omit<E, "uuid" | "name"> : never;

/** How the wait for a device to leave a guest in memory ended. */
export type UnplugOutcome = "detached" | "refused";

interface UnplugWait {
  readonly outcome: Promise<UnplugOutcome>;
  readonly settle: (outcome: UnplugOutcome) => void;
}

export class GuestCore {
  readonly host: KvmHost;
  readonly files: GuestFiles;
  /** Handles of devices that a call of this process is plugging now. */
  readonly plugging = new Set<string>();
  /** Handles of devices whose leaving is no news of the guest. */
  readonly unannounced = new Set<string>();
  /** Devices that have left QEMU and whose traces are being removed, by handle. */
  readonly finishing = new Map<string, Promise<void>>();
  /** True from the beginning of a start until it has succeeded or been undone. */
  starting = false;
  /** True from when a process was found until what it runs has been read. */
  adopting = false;
  /** True once the driver has let go of all guests. */
  released = false;
  /** True while a call of this process is at the work that {@link GuestState.work} tells of. */
  working = false;
  /** Resolves when what the guest's last end has changed is written, and it may be started anew. Never rejects. */
  ending: Promise<void> = Promise.resolve();
  /** True while somebody reads the console through this process. */
  consoleOpen = false;
  readonly #durable: DurableState<GuestState>;
  #agentConnected: boolean | undefined;
  #session: GuestSession | undefined;
  readonly #endings: (() => void)[] = [];
  readonly #unplugs = new Map<string, UnplugWait>();
  readonly #stopWaiters = new Set<() => void>();

  constructor(host: KvmHost, state: GuestState) {
    this.host = host;
    this.#durable = new DurableState(state, (next) => host.store.save(next));
    this.files = host.store.files(state.definition.uuid);
  }

  get state(): GuestState {
    return this.#durable.current;
  }
  get definition(): GuestDefinition {
    return this.state.definition;
  }
  get session(): GuestSession | undefined {
    return this.#session;
  }
  get instance(): InstanceRef {
    const { uuid, name } = this.definition;
    return { uuid, name };
  }
  /** Whether the guest agent has its channel open; undefined while that is not known. */
  get agentConnected(): boolean | undefined {
    return this.#agentConnected;
  }
  get inMemory(): boolean {
    return (this.#session !== undefined && !this.away) || this.starting;
  }

  /** True when the guest is not in the QEMU that may still be there: its memory is on disk, or it was handed over to another host. */
  get away(): boolean {
    return this.state.saved?.phase === "saved" || isDeparted(this.state.migration);
  }

  /** The last known power state. */
  get powerState(): PowerState {
    if (isDeparted(this.state.migration)) return "shutdown";
    if (this.state.saved?.phase === "saved") return "suspended";
    if (this.#session !== undefined) return this.#session.view.state;
    if (this.starting) return "paused";
    return this.state.end?.state ?? "shutdown";
  }

  /** Changes the state durably; changes of one guest follow each other. On failure the old state stands. @throws DiskFullError, HostIoError */
  update(change: (state: GuestState) => GuestState): Promise<void> {
    return this.#durable.update(change);
  }

  /** The session of a guest in memory. @throws InvalidStateError */
  requireSession(operation: string): GuestSession {
    if (this.#session !== undefined) return this.#session;
    throw new InvalidStateError({
      operation,
      state: this.powerState,
      expected: ["running", "paused"],
      instance: this.instance,
    });
  }

  /** Begins to follow a QEMU process. */
  follow(process: RunningProcess, listener: SessionListener, view?: GuestView): GuestSession {
    const { clock, timeouts } = this.host;
    this.#session = new GuestSession({
      instance: this.instance,
      process,
      monitorPath: this.files.monitor,
      biosResets: this.definition.firmware === "bios",
      clock,
      timeouts,
      listener,
      ...(view === undefined ? {} : { view }),
    });
    return this.#session;
  }

  /** Calls back when the guest is not in memory any more or is let go of; at once if it is not in memory. */
  whileInMemory(end: () => void): void {
    if (this.#session === undefined) end();
    else this.#endings.push(end);
  }

  /** The guest is not in memory any more. */
  forget(): void {
    for (const end of this.#endings.splice(0)) end();
    this.#session = undefined;
    this.#agentConnected = undefined;
  }

  /** The agent has opened or closed its channel. */
  noteAgent(connected: boolean): void {
    if (this.#agentConnected === connected) return;
    this.#agentConnected = connected;
    this.emit({ type: "agent", connected });
  }

  /** Lets go of a guest in memory, which runs on. */
  async release(): Promise<void> {
    const session = this.#session;
    this.forget();
    await session?.release();
    this.wakeStopWaiters();
    await this.#durable.settled();
  }

  emit(event: Body<HypervisorEvent>): void {
    const { uuid, name } = this.definition;
    this.host.emit({ ...event, uuid, name });
  }

  bindingOfHandle(handle: string): DeviceBinding | undefined {
    return this.state.hardware.bindings.find((binding) => binding.handle === handle);
  }

  /** The wait for a device to leave; one for all who wait. */
  unplugWait(handle: string): Promise<UnplugOutcome> {
    const known = this.#unplugs.get(handle);
    if (known !== undefined) return known.outcome;
    let settle: UnplugWait["settle"] = () => undefined;
    const outcome = new Promise<UnplugOutcome>((resolve) => (settle = resolve));
    this.#unplugs.set(handle, { outcome, settle });
    return outcome;
  }

  settleUnplug(handle: string, outcome: UnplugOutcome): void {
    const wait = this.#unplugs.get(handle);
    this.#unplugs.delete(handle);
    wait?.settle(outcome);
  }

  /** The guest's process is gone, and all its devices with it. */
  settleAllUnplugs(): void {
    for (const handle of [...this.#unplugs.keys()]) this.settleUnplug(handle, "detached");
  }

  /** Calls back once, when the guest is not in memory any more or the driver lets go of it. The returned function takes that back. */
  onStopped(callback: () => void): () => void {
    this.#stopWaiters.add(callback);
    return () => this.#stopWaiters.delete(callback);
  }

  wakeStopWaiters(): void {
    for (const callback of [...this.#stopWaiters]) {
      this.#stopWaiters.delete(callback);
      callback();
    }
  }
}
