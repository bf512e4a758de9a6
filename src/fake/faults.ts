/** Scripted faults: what a test wants to go wrong, where, and the trace of the places that a run has passed. */
import { InvalidArgumentError, raceAbort, throwIfAborted } from "../core/index.js";
import { FakeFaultError } from "./errors.js";
import { FAULT_POINTS } from "./fault-points.js";
import type { DriverMethod, FaultPoint, FaultPointInfo, FaultStage } from "./fault-points.js";

/** One call that passes a fault point. */
export interface FaultCall {
  readonly point: FaultPoint;
  readonly instanceUuid?: string | undefined;
  /** What else the call is about: a disk, a port, an image, a volume, a key of the state store. */
  readonly subject?: string | undefined;
}

/** Which calls a fault is for. */
export interface FaultFilter {
  /** Only the nth of the calls that match, counted from 1 when the fault is set. Default: all of them. */
  readonly nth?: number;
  /** How many calls it strikes at most. Default: one with `nth`, otherwise any number. */
  readonly times?: number;
  readonly when?: (call: FaultCall) => boolean;
  /** Default `before`. */
  readonly at?: FaultStage;
}

/** A fault that was set. */
export interface Fault {
  /** How often it struck. */
  readonly hits: number;
  /** Resolves when it first strikes. */
  readonly reached: Promise<void>;
  /** Takes it back; what hangs in it goes on. */
  remove(): void;
}

/** A place that a run has passed, fit to be made a fault: `nth` counts the passes of the same point in the trace. */
export interface PassedPoint extends FaultCall {
  readonly nth: number;
  readonly stages: readonly FaultStage[];
}

export interface FaultTrace {
  readonly passed: readonly PassedPoint[];
  stop(): void;
}

/** One fault of a loop over everything that a run passes. */
export interface FaultCase {
  readonly point: FaultPoint;
  readonly nth: number;
  readonly at: FaultStage;
}

/** Every fault that the passed places allow, in their order: a test injects one after the other. Pure. */
export function faultCases(passed: readonly PassedPoint[]): readonly FaultCase[] {
  return passed.flatMap(({ point, nth, stages }) => stages.map((at) => ({ point, nth, at })));
}

/** What strikes, in the process that calls. @internal */
export interface StruckProcess {
  readonly death: AbortSignal;
  sleep(ms: number, signal: AbortSignal | undefined): Promise<void>;
  crash(): void;
}

type Strike = (
  call: FaultCall & { readonly signal?: AbortSignal | undefined },
  process: StruckProcess,
) => Promise<void> | void;

/** @internal */
export class Rule implements Fault {
  readonly point: FaultPoint;
  readonly at: FaultStage;
  readonly reached: Promise<void>;
  hits = 0;
  readonly #filter: FaultFilter;
  readonly #strike: Strike;
  readonly #forget: (rule: Rule) => void;
  #seen = 0;
  #announce: () => void = () => undefined;

  constructor(point: FaultPoint, filter: FaultFilter, strike: Strike, forget: (rule: Rule) => void) {
    this.point = point;
    this.at = filter.at ?? "before";
    this.#filter = filter;
    this.#strike = strike;
    this.#forget = forget;
    this.reached = new Promise((resolve) => (this.#announce = resolve));
  }

  /** Counts a call; true when the fault is for it. */
  takes(call: FaultCall): boolean {
    if (this.#filter.when?.(call) === false) return false;
    this.#seen++;
    if (this.#filter.nth !== undefined && this.#seen < this.#filter.nth) return false;
    return this.hits < (this.#filter.times ?? (this.#filter.nth === undefined ? Infinity : 1));
  }

  async strike(call: FaultCall & { readonly signal?: AbortSignal | undefined }, process: StruckProcess): Promise<void> {
    this.hits++;
    this.#announce();
    await this.#strike(call, process);
  }

  remove(): void {
    this.#forget(this);
  }
}

/** The faults that are to strike one call. @internal */
export class ArmedCall {
  readonly #rules: readonly Rule[];
  readonly #call: FaultCall & { readonly signal?: AbortSignal | undefined };
  readonly #process: StruckProcess;

  constructor(
    rules: readonly Rule[],
    call: FaultCall & { readonly signal?: AbortSignal | undefined },
    process: StruckProcess,
  ) {
    this.#rules = rules;
    this.#call = call;
    this.#process = process;
  }

  async pass(stage: FaultStage): Promise<void> {
    for (const rule of this.#rules) if (rule.at === stage) await rule.strike(this.#call, this.#process);
  }
}

const NO_RULES: readonly Rule[] = [];

export class Faults {
  readonly #rules = new Map<FaultPoint, Rule[]>();
  readonly #traces = new Set<(call: FaultCall) => void>();

  /** Every place at which a fault can be set. */
  get points(): readonly FaultPointInfo[] {
    return [...FAULT_POINTS.values()];
  }

  /**
   * Makes calls reject. `target` is a fault point, or the bare name of a driver method (`spawn` for `driver.spawn`).
   * With `at: "partial"` half of the effect stays; with `after` all of it does: what was done has to be undone by whoever called.
   * @throws InvalidArgumentError when there is no such point, or it has no such stage.
   */
  failOn(
    target: FaultPoint | DriverMethod,
    options: FaultFilter & { readonly error?: Error | ((call: FaultCall) => Error) } = {},
  ): Fault {
    const { error } = options;
    return this.#add(target, options, (call) => {
      const instance = call.instanceUuid === undefined ? undefined : { uuid: call.instanceUuid };
      throw typeof error === "function" ? error(call) : (error ?? new FakeFaultError(call.point, { instance }));
    });
  }

  /** Makes calls wait until the fault is removed, or the call is aborted; with `ignoreAbort` only until it is removed. */
  hang(target: FaultPoint | DriverMethod, options: FaultFilter & { readonly ignoreAbort?: boolean } = {}): Fault {
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const rule = this.#add(target, options, (call, process) =>
      raceAbort(raceAbort(released, options.ignoreAbort === true ? undefined : call.signal), process.death),
    );
    return {
      get hits() {
        return rule.hits;
      },
      reached: rule.reached,
      remove: () => {
        rule.remove();
        release();
      },
    };
  }

  /** Makes calls take `ms` milliseconds of the world's clock longer. */
  slow(target: FaultPoint | DriverMethod, ms: number, options: FaultFilter = {}): Fault {
    return this.#add(target, options, (call, process) => process.sleep(ms, call.signal));
  }

  /** Makes the driver's process die in the call, as `driver.crash()` does. */
  crash(target: FaultPoint | DriverMethod, options: FaultFilter = {}): Fault {
    return this.#add(target, options, (_call, process) => {
      process.crash();
      throwIfAborted(process.death);
    });
  }

  /** Takes all faults back; what hangs in one goes on hanging until it is aborted. */
  clear(): void {
    this.#rules.clear();
  }

  /** Notes every point that is passed from now on. */
  startTrace(): FaultTrace {
    const passed: PassedPoint[] = [];
    const counts = new Map<FaultPoint, number>();
    const note = (call: FaultCall): void => {
      const nth = (counts.get(call.point) ?? 0) + 1;
      counts.set(call.point, nth);
      const { point, instanceUuid, subject } = call;
      passed.push({ point, instanceUuid, subject, nth, stages: FAULT_POINTS.get(point)?.stages ?? [] });
    };
    this.#traces.add(note);
    return { passed, stop: () => void this.#traces.delete(note) };
  }

  /** Notes a call and finds the faults that are to strike it. @internal */
  match(call: FaultCall): readonly Rule[] {
    for (const note of this.#traces) note(call);
    return this.#rules.get(call.point)?.filter((rule) => rule.takes(call)) ?? NO_RULES;
  }

  /** Whether anything would notice a call. @internal */
  get active(): boolean {
    return this.#rules.size > 0 || this.#traces.size > 0;
  }

  #add(target: FaultPoint | DriverMethod, filter: FaultFilter, strike: Strike): Rule {
    const info = FAULT_POINTS.get(target) ?? FAULT_POINTS.get(`driver.${target}`);
    if (info === undefined) {
      throw new InvalidArgumentError({ field: "target", value: target, expected: "one of faults.points" });
    }
    if (filter.at !== undefined && !info.stages.includes(filter.at)) {
      const expected = `${info.stages.join(" or ")}, which ${info.point} has`;
      throw new InvalidArgumentError({ field: "at", value: filter.at, expected });
    }
    const rule = new Rule(info.point, filter, strike, (gone) => this.#remove(gone));
    this.#rules.set(info.point, [...(this.#rules.get(info.point) ?? []), rule]);
    return rule;
  }

  #remove(rule: Rule): void {
    const left = (this.#rules.get(rule.point) ?? []).filter((other) => other !== rule);
    if (left.length === 0) this.#rules.delete(rule.point);
    else this.#rules.set(rule.point, left);
  }
}
