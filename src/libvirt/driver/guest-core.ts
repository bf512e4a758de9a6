/** One guest's state and what is known of its domain: what every mechanism on a guest works on. */
import { ClosedError, Deadline, EventHub } from "../../core/index.js";
import type { CommonOptions, EventSubscription, InstanceRef } from "../../core/index.js";
import { InvalidStateError, ReadOnlyError } from "../../driver/index.js";
import type { GuestDefinition, HypervisorEvent, PowerState } from "../../driver/index.js";
import { DurableState } from "../../hypervisor/index.js";
import type { Domain } from "../rpc/index.js";
import { WorkTurn } from "./block/work-turn.js";
import type { GuestSignal } from "./events/guest-signal.js";
import { DeviceWork } from "./hotplug/device-work.js";
import type { LibvirtHost } from "./host.js";
import { AT_REST, isInMemory } from "./power.js";
import type { GuestView, LifecycleReport } from "./power.js";
import type { GuestState } from "./state/guest-state.js";
import type { GuestFiles } from "./state/guest-store.js";

type Body<E> = E extends { readonly uuid: string } ? Omit<E, "uuid" | "name"> : never;

/** Looks whether what is waited for has come: called at once, and again with each signal. Undefined: not yet. */
export type Look<T> = (signal: GuestSignal | undefined) => T | undefined | Promise<T | undefined>;

export interface WaitOptions {
  /** What is done, as a verb phrase for the error. */
  readonly operation: string;
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Hears a guest from the moment that it was made, so that nothing which happens because of a later call is missed. */
export interface GuestListener {
  /** @throws AbortedError, DeadlineExceededError, ClosedError when the driver is closed, and what `look` throws */
  until<T>(look: Look<T>, options: WaitOptions): Promise<T>;
  close(): void;
}

export class GuestCore {
  readonly host: LibvirtHost;
  readonly files: GuestFiles;
  /** Ids of devices whose leaving is no news of the guest. */
  readonly unannounced = new Set<string>();
  readonly devices = new DeviceWork();
  /** Work on disks and memory, one at a time. */
  readonly workTurn = new WorkTurn();
  /** True once the driver has let go of all guests. */
  released = false;
  readonly #durable: DurableState<GuestState>;
  #view: GuestView = AT_REST;
  #starts = 0;
  #agentConnected: boolean | undefined;
  readonly #releases: (() => void)[] = [];
  readonly #signals = new EventHub<GuestSignal>({ overflow: () => ({ type: "gap" }) });

  constructor(host: LibvirtHost, state: GuestState) {
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
  get instance(): InstanceRef {
    const { uuid, name } = this.definition;
    return { uuid, name };
  }
  /** libvirt's domain. Nothing is asked for; calls fail with `domainNotFound` where there is none. */
  get domain(): Domain {
    const { uuid, name } = this.definition;
    return this.host.client.handle("Domain", { name, uuid, id: -1 });
  }
  get view(): GuestView {
    return this.#view;
  }
  /** How often it has come into memory, as far as that was told. */
  get starts(): number {
    return this.#starts;
  }
  /** The last known power state. */
  get powerState(): PowerState {
    return this.#view.state;
  }
  /** Whether the guest agent has its channel open; undefined while that is not known. */
  get agentConnected(): boolean | undefined {
    return this.#agentConnected;
  }
  get inMemory(): boolean {
    return this.#view.starting || isInMemory(this.#view.state);
  }

  /** Changes the state durably; changes of one guest follow each other. On failure the old state stands. */
  async update(change: (state: GuestState) => GuestState): Promise<void> {
    if (this.host.options.readOnly) throw new ReadOnlyError("update", { instance: this.instance });
    return this.#durable.update(change);
  }

  /** Takes over what another driver has written. */
  follow(state: GuestState): void {
    this.#durable.adopt(state);
  }

  /** Changes what is known of the guest; whoever waits looks again. */
  see(change: Partial<GuestView>): void {
    this.#view = { ...this.#view, ...change };
    this.notify({ type: "view" });
  }

  /** @returns what is to be told, with the view changed */
  step({ view, report }: { readonly view: GuestView; readonly report?: LifecycleReport }): void {
    if (isInMemory(view.state) && !isInMemory(this.#view.state)) this.#starts++;
    this.#view = view;
    if (!isInMemory(view.state)) this.#agentConnected = undefined;
    if (report !== undefined) this.emit({ type: "lifecycle", ...report });
    this.notify({ type: "view" });
  }

  noteAgent(connected: boolean): void {
    if (this.#agentConnected === connected) return;
    const known = this.#agentConnected !== undefined || connected;
    this.#agentConnected = connected;
    if (known) this.emit({ type: "agent", connected });
    this.notify({ type: "view" });
  }

  /** Tells whoever waits for something of this guest. */
  notify(signal: GuestSignal): void {
    this.#signals.publish(signal);
  }

  /** Begins to listen; close what comes. */
  listen(): GuestListener {
    const heard = this.#signals.subscribe({ capacity: 4096 });
    return {
      until: (look, options) => this.#until(heard, look, options),
      close: () => void heard.return(),
    };
  }

  /** Listens, looks, and looks again with each signal. For what no call of ours brings about. */
  async until<T>(look: Look<T>, options: WaitOptions): Promise<T> {
    const listener = this.listen();
    try {
      return await listener.until(look, options);
    } finally {
      listener.close();
    }
  }

  /** @throws InvalidStateError */
  requireInMemory(operation: string): void {
    if (this.inMemory) return;
    throw new InvalidStateError({
      operation,
      state: this.powerState,
      expected: ["running", "paused"],
      instance: this.instance,
    });
  }

  emit(event: Body<HypervisorEvent>): void {
    this.host.emit({ ...event, ...this.instance } as HypervisorEvent);
  }

  /** How long a call of libvirt's may take. */
  limits(
    { signal, deadline }: CommonOptions,
    deadlineMs = this.host.timeouts.callMs,
  ): { signal: AbortSignal | undefined; deadlineMs: number } {
    return { signal, deadlineMs: deadline === undefined ? deadlineMs : Math.min(deadline, deadlineMs) };
  }

  /** Done when the driver lets go of the guest. */
  onRelease(act: () => void): void {
    this.#releases.push(act);
  }

  /** Lets go of the guest, which runs on: whoever waits gets `ClosedError`. */
  release(): void {
    this.released = true;
    for (const act of this.#releases.splice(0)) act();
    this.#signals.close();
  }

  async #until<T>(heard: EventSubscription<GuestSignal>, look: Look<T>, options: WaitOptions): Promise<T> {
    const { operation, deadlineMs, signal } = options;
    const deadline = Deadline.after(deadlineMs, { operation, clock: this.host.clock, signal });
    try {
      deadline.throwIfExpired();
      let found = await deadline.race(Promise.resolve(look(undefined)));
      while (found === undefined) {
        const { value, done } = await deadline.race(heard.next());
        if (done === true) throw new ClosedError(`the driver was closed: ${operation}`, { instance: this.instance });
        found = await deadline.race(Promise.resolve(look(value)));
      }
      return found;
    } finally {
      deadline.dispose();
    }
  }
}
