/** A driver's own life: not yet open, open, closed; and the operations that a close has to end. */
import { ClosedError, raceAbort } from "../core/index.js";
import type { Clock, HyperviseError } from "../core/index.js";
import { capabilitiesOf, FACET_NAMES } from "./capabilities.js";
import type { DriverCapabilities } from "./capabilities.js";
import type { FacetName } from "./facets.js";
import { NotInitializedError } from "./errors.js";
import type { HypervisorFeature } from "./hypervisor-features.js";
import { capabilitiesForReading } from "./reading-capabilities.js";

/** Something under way that can be told to stop. */
export interface Stoppable {
  stop(reason: HyperviseError): void;
}

const NO_CAPABILITIES: DriverCapabilities = Object.freeze({
  facets: Object.freeze(Object.fromEntries(FACET_NAMES.map((name) => [name, false])) as Record<FacetName, boolean>),
  flags: Object.freeze({
    configDrive: false,
    injectAtSpawn: false,
    liveSnapshot: false,
    multiattach: false,
    migrateToSameHost: false,
    deviceTagging: false,
  }),
  features: new Set<HypervisorFeature>(),
  readOnly: false,
});

export class DriverLifecycle {
  readonly #underWay = new Map<Stoppable, Promise<unknown>>();
  #state: "new" | "ready" | "closed" = "new";
  #capabilities = NO_CAPABILITIES;

  get state(): "new" | "ready" | "closed" {
    return this.#state;
  }

  get capabilities(): DriverCapabilities {
    return this.#capabilities;
  }

  /** @throws NotInitializedError, ClosedError */
  assertReady(): void {
    this.assertOpenable();
    if (this.#state === "new") throw new NotInitializedError("the driver has not been opened; call initHost first");
  }

  /** @throws ClosedError */
  assertOpenable(): void {
    if (this.#state === "closed") throw new ClosedError("the driver is closed");
  }

  opened(features: ReadonlySet<HypervisorFeature>, readOnly = false): void {
    this.assertOpenable();
    if (this.#state === "new") {
      const capabilities = capabilitiesOf(features);
      this.#capabilities = readOnly ? capabilitiesForReading(capabilities) : capabilities;
    }
    this.#state = "ready";
  }

  closed(): void {
    this.#state = "closed";
  }

  /** Counts work as under way until its promise settles. */
  track<T>(work: Stoppable, promise: Promise<T>): Promise<T> {
    this.#underWay.set(work, promise);
    const forget = (): void => void this.#underWay.delete(work);
    promise.then(forget, forget);
    return promise;
  }

  /** Stops all that is under way and waits for it to end, at most `limitMs`. */
  async stopAll(clock: Clock, limitMs: number): Promise<void> {
    const running = [...this.#underWay];
    if (running.length === 0) return;
    for (const [work] of running) work.stop(new ClosedError("the driver was closed while the operation ran"));
    const limit = new AbortController();
    const timer = clock.setTimeout(() => limit.abort(), limitMs);
    try {
      await raceAbort(Promise.allSettled(running.map(([, promise]) => promise)), limit.signal);
    } catch {
      // What has not ended by now stays in the journal, for the next initHost.
    } finally {
      timer.cancel();
    }
  }
}
