/** The way of a hypervisor's events to the driver, on which a test can delay, reorder, duplicate and lose them. */
import type { Clock, TimerHandle } from "../core/index.js";
import type { HypervisorEvent } from "../driver/index.js";

/** Which events an event fault is for. */
export interface EventFaultFilter {
  readonly when?: (event: HypervisorEvent) => boolean;
  /** How many events it strikes at most. Default: any number. */
  readonly times?: number;
}

export interface EventFault {
  /** How many events it struck. */
  readonly hits: number;
  /** Takes it back; events that it holds are delivered. */
  remove(): void;
}

/** Hands an event on, at once or later, once, many times or never. */
type Treatment = (event: HypervisorEvent, deliver: (event: HypervisorEvent) => void) => void;

interface EventRule {
  readonly filter: EventFaultFilter;
  readonly treat: Treatment;
  hits: number;
}

export class EventFaults {
  readonly #clock: Clock;
  readonly #rules: EventRule[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Delivers events `ms` milliseconds late; those that are not struck overtake them. */
  delay(ms: number, filter: EventFaultFilter = {}): EventFault {
    return this.#add(filter, (event, deliver) => void this.#clock.setTimeout(() => deliver(event), ms));
  }

  /** Delivers events `1 + copies` times, one after the other. */
  duplicate(filter: EventFaultFilter & { readonly copies?: number } = {}): EventFault {
    return this.#add(filter, (event, deliver) => {
      for (let left = filter.copies ?? 1; left >= 0; left--) deliver(event);
    });
  }

  /** Never delivers them. */
  lose(filter: EventFaultFilter = {}): EventFault {
    return this.#add(filter, () => undefined);
  }

  /**
   * Collects `window` events (default 2) and delivers them last first. What was collected is delivered, last first, after
   * `holdMs` (default 1000) even if the window is not full, or when the fault is removed.
   */
  reorder(filter: EventFaultFilter & { readonly window?: number; readonly holdMs?: number } = {}): EventFault {
    const held: (() => void)[] = [];
    let timer: TimerHandle | undefined;
    const release = (): void => {
      timer?.cancel();
      for (const deliver of held.splice(0).reverse()) deliver();
    };
    const fault = this.#add(filter, (event, deliver) => {
      held.push(() => deliver(event));
      if (held.length >= (filter.window ?? 2)) release();
      else if (held.length === 1) timer = this.#clock.setTimeout(release, filter.holdMs ?? 1000);
    });
    return {
      get hits() {
        return fault.hits;
      },
      remove: () => {
        fault.remove();
        release();
      },
    };
  }

  /** Takes all event faults back; what `reorder` holds comes when its time is over. */
  clear(): void {
    this.#rules.length = 0;
  }

  /** Brings an event through the rules, first rule first, to its reader. @internal */
  carry(event: HypervisorEvent, deliver: (event: HypervisorEvent) => void): void {
    if (this.#rules.length === 0) deliver(event);
    else this.#apply(0, event, deliver);
  }

  #apply(from: number, event: HypervisorEvent, deliver: (event: HypervisorEvent) => void): void {
    const index = this.#rules.findIndex((rule, at) => at >= from && takes(rule, event));
    const rule = this.#rules[index];
    if (rule === undefined) return deliver(event);
    rule.hits++;
    rule.treat(event, (next) => this.#apply(index + 1, next, deliver));
  }

  #add(filter: EventFaultFilter, treat: Treatment): EventFault {
    const rule: EventRule = { filter, treat, hits: 0 };
    this.#rules.push(rule);
    return {
      get hits() {
        return rule.hits;
      },
      remove: () => {
        const index = this.#rules.indexOf(rule);
        if (index >= 0) this.#rules.splice(index, 1);
      },
    };
  }
}

function takes(rule: EventRule, event: HypervisorEvent): boolean {
  return rule.hits < (rule.filter.times ?? Infinity) && rule.filter.when?.(event) !== false;
}
