/** One run of a driver's process on a host of the world: what it does reaches the world only while it lives. */
import { onAbort, raceAbort, throwIfAborted } from "../core/index.js";
import type { Clock } from "../core/index.js";
import { HypervisorUnavailableError } from "../driver/index.js";
import type { HypervisorEvent } from "../driver/index.js";
import { FakeProcessCrashedError } from "./errors.js";
import { EventFaults } from "./events.js";
import { ArmedCall, Faults } from "./faults.js";
import type { FaultCall, StruckProcess } from "./faults.js";
import type { FaultPoint } from "./fault-points.js";
import type { FakeHost } from "./host.js";

/** What a call on a seam is about. */
export interface SeamCall {
  readonly instanceUuid?: string | undefined;
  readonly subject?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The middle of a call's effects, where a fault may strike. */
export type Halfway = () => Promise<void>;

const NOWHERE: Halfway = () => Promise.resolve();

export class FakeProcess implements StruckProcess {
  readonly host: FakeHost;
  readonly clock: Clock;
  readonly faults: Faults;
  readonly eventFaults: EventFaults;
  readonly #death = new AbortController();
  #listener: ((event: HypervisorEvent) => void) | undefined;

  /** Faults may be handed on from the process before this one, as a test script outlives the driver that it kills. */
  constructor(host: FakeHost, script: { readonly faults?: Faults; readonly eventFaults?: EventFaults } = {}) {
    this.host = host;
    this.clock = host.world.clock;
    this.faults = script.faults ?? new Faults();
    this.eventFaults = script.eventFaults ?? new EventFaults(this.clock);
  }

  /** Aborts when the process dies. */
  get death(): AbortSignal {
    return this.#death.signal;
  }

  get alive(): boolean {
    return !this.#death.signal.aborted;
  }

  /** Ends the process as `SIGKILL` does: it undoes nothing, hears nothing more, and none of its calls has an effect any more. */
  crash(): void {
    if (!this.alive) return;
    this.#listener = undefined;
    this.#death.abort(new FakeProcessCrashedError());
    this.host.processEnded(this);
  }

  /** Begins to hear of the host's guests. */
  listen(listener: (event: HypervisorEvent) => void): void {
    this.host.processOpened(this);
    this.#listener = listener;
  }

  /** Stops hearing of them. */
  unlisten(): void {
    this.#listener = undefined;
    this.host.processEnded(this);
  }

  /** An event of the host; lost when nobody listens. */
  hear(event: HypervisorEvent): void {
    if (this.#listener === undefined) return;
    this.eventFaults.carry(event, (heard) => this.#listener?.(heard));
  }

  /** Waits on the world's clock; rejects when the call is aborted or the process dies. */
  async sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const end = new AbortController();
    const links = [this.death, signal].map((one) => onAbort(one, () => end.abort(one?.reason)));
    try {
      await this.clock.sleep(ms, { signal: end.signal });
    } finally {
      for (const unlink of links) unlink();
    }
  }

  /** Waits for something of the world; rejects when the call is aborted or the process dies. */
  wait<T>(promise: PromiseLike<T>, signal: AbortSignal | undefined): Promise<T> {
    return raceAbort(raceAbort(promise, signal), this.death);
  }

  /** A call on the hypervisor: a collaborator's call that also needs the connection to it. */
  async onHypervisor<T>(point: FaultPoint, call: SeamCall, body: (halfway: Halfway) => T | Promise<T>): Promise<T> {
    if (!this.host.connected) throw new HypervisorUnavailableError("The connection to the hypervisor is lost");
    return this.pass(point, call, body);
  }

  /** A call that passes a fault point, with the effects in `body`. */
  async pass<T>(point: FaultPoint, call: SeamCall, body: (halfway: Halfway) => T | Promise<T>): Promise<T> {
    throwIfAborted(this.death);
    throwIfAborted(call.signal);
    if (!this.faults.active) return body(NOWHERE);
    const about = { point, ...call };
    const rules = this.faults.match(about);
    if (rules.length === 0) return body(NOWHERE);
    const armed = new ArmedCall(rules, about, this);
    await armed.pass("before");
    const result = await body(() => armed.pass("partial"));
    await armed.pass("after");
    return result;
  }

  /** For a call that answers at once with a handle: what has to be waited for before it may begin; undefined when nothing has. */
  strikeOf(call: FaultCall): ((signal: AbortSignal) => Promise<void>) | undefined {
    if (!this.alive) return async () => throwIfAborted(this.death);
    if (!this.faults.active) return undefined;
    const rules = this.faults.match(call);
    return rules.length === 0 ? undefined : (signal) => new ArmedCall(rules, { ...call, signal }, this).pass("before");
  }

  /** A call that answers at once. */
  passNow<T>(body: () => T): T {
    throwIfAborted(this.death);
    return body();
  }
}
