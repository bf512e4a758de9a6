/** Finds out that a daemon is gone although its connection is not: pings after silence, and counts the unanswered ones. */
import type { Clock, TimerHandle } from "../../core/index.js";

/** When a silent daemon is asked, and when it is given up. */
export interface KeepaliveOptions {
  /** Milliseconds of silence before each ping. Default: 5,000. 0 turns pings off. */
  readonly intervalMs?: number | undefined;
  /** How many pings may go unanswered. Default: 5, so that a dead daemon is known after 30 seconds. */
  readonly count?: number | undefined;
  /**
   * After how many milliseconds of silence a daemon is given up that may have stopped reading because it is busy: so many
   * calls are unanswered as it takes, or bytes have not left. Default: 300,000. 0 for never.
   */
  readonly stalledMs?: number | undefined;
}

export const DEFAULT_KEEPALIVE = { intervalMs: 5_000, count: 5, stalledMs: 300_000 } as const;

/**
 * What silence means: `silent`, that the daemon has nothing to say and would answer a ping; `busy`, that it may not read;
 * `deaf`, that this side does not.
 */
export type Silence = "silent" | "busy" | "deaf";

export interface KeepaliveOwner {
  readonly clock: Clock;
  readonly meaning: () => Silence;
  readonly ping: () => void;
  /** The daemon is silent for `silentMs` milliseconds. Called once. */
  readonly dead: (silentMs: number) => void;
}

export class Keepalive {
  readonly #owner: KeepaliveOwner;
  readonly #intervalMs: number;
  readonly #count: number;
  readonly #stalledMs: number;
  #unanswered = 0;
  #heardAt: number;
  #timer: TimerHandle | undefined;
  #unref = false;

  constructor(owner: KeepaliveOwner, options: KeepaliveOptions = {}) {
    this.#owner = owner;
    this.#intervalMs = options.intervalMs ?? DEFAULT_KEEPALIVE.intervalMs;
    this.#count = options.count ?? DEFAULT_KEEPALIVE.count;
    this.#stalledMs = options.stalledMs ?? DEFAULT_KEEPALIVE.stalledMs;
    this.#heardAt = owner.clock.monotonic();
  }

  start(): void {
    this.#heardAt = this.#owner.clock.monotonic();
    if (this.#intervalMs > 0) this.#arm(this.#intervalMs);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** Something came from the daemon, whatever it was. */
  heard(): void {
    this.#unanswered = 0;
    this.#heardAt = this.#owner.clock.monotonic();
  }

  /** Whether the timer keeps the process alive. */
  setUnref(unref: boolean): void {
    this.#unref = unref;
    if (this.#timer !== undefined)
      this.#arm(Math.max(0, this.#heardAt + this.#intervalMs - this.#owner.clock.monotonic()));
  }

  #arm(ms: number): void {
    this.stop();
    this.#timer = this.#owner.clock.setTimeout(() => this.#onTimer(), ms);
    if (this.#unref) this.#timer.unref?.();
  }

  /** The timer is not moved at each frame: it looks when it fires how long the silence is. */
  #onTimer(): void {
    const silentMs = this.#owner.clock.monotonic() - this.#heardAt;
    const dueIn = (this.#unanswered + 1) * this.#intervalMs - silentMs;
    if (dueIn > 0) return this.#arm(dueIn);
    const meaning = this.#owner.meaning();
    if (meaning !== "silent") return this.#onNoSilence(meaning, silentMs);
    if (this.#unanswered >= this.#count) {
      this.stop();
      return this.#owner.dead(silentMs);
    }
    this.#unanswered++;
    this.#owner.ping();
    this.#arm(this.#intervalMs);
  }

  #onNoSilence(meaning: Exclude<Silence, "silent">, silentMs: number): void {
    this.#unanswered = 0;
    if (meaning === "deaf") {
      this.heard();
      // A daemon whose own pings wait unread takes this for a sign of life.
      this.#owner.ping();
    } else if (this.#stalledMs > 0 && silentMs >= this.#stalledMs) {
      this.stop();
      return this.#owner.dead(silentMs);
    }
    this.#arm(this.#intervalMs);
  }
}
