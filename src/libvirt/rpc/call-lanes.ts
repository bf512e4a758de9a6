/** Calls about one thing each: few of one lane are let through at once, so that a silent domain does not take all the places of a connection. */
import { FifoQueue } from "./fifo-queue.js";

/** Places for one lane: a long call, and one that asks how far it is, or ends it. */
const PLACES = 2;
/** While a call is unanswered that nobody waits for any more: the thing is silent, and takes no more places. */
const PLACES_WHEN_SILENT = 1;

interface Lane<T> {
  /** Let through, and not ended yet. */
  through: number;
  /** Of these, those that nobody waits for any more. */
  left: number;
  readonly waiting: FifoQueue<T>;
}

export class CallLanes<T extends { readonly lane: string | undefined }> {
  readonly #lanes = new Map<string, Lane<T>>();
  readonly #isStale: (item: T) => boolean;

  /** @param isStale whether nobody waits any more for a call that has not been let through */
  constructor(isStale: (item: T) => boolean) {
    this.#isStale = isStale;
  }

  /** Whether a call may go on; else it waits here. */
  enter(item: T): boolean {
    if (item.lane === undefined) return true;
    const lane = this.#lanes.get(item.lane) ?? { through: 0, left: 0, waiting: new FifoQueue<T>() };
    this.#lanes.set(item.lane, lane);
    if (!hasPlace(lane) || lane.waiting.peek(this.#isStale) !== undefined) {
      lane.waiting.push(item);
      return false;
    }
    lane.through++;
    return true;
  }

  /** A call that was let through is not waited for any more, and not ended. */
  noteLeft({ lane: name }: T): void {
    const lane = name === undefined ? undefined : this.#lanes.get(name);
    if (lane !== undefined) lane.left++;
  }

  /**
   * A call that was let through has ended.
   * @param wasLeft whether that was noted
   * @returns those of its lane that may go on now
   */
  leave({ lane: name }: T, wasLeft: boolean): readonly T[] {
    const lane = name === undefined ? undefined : this.#lanes.get(name);
    if (name === undefined || lane === undefined) return [];
    lane.through--;
    if (wasLeft) lane.left--;
    const next: T[] = [];
    while (hasPlace(lane)) {
      const item = lane.waiting.peek(this.#isStale);
      if (item === undefined) break;
      lane.waiting.shift();
      lane.through++;
      next.push(item);
    }
    if (lane.through === 0) this.#lanes.delete(name);
    return next;
  }

  /** A call that waits here is not waited for any more. */
  forgetOne({ lane }: T): void {
    if (lane !== undefined) this.#lanes.get(lane)?.waiting.forgetOne(this.#isStale);
  }

  /** Those that wait here. */
  *waiting(): Iterable<T> {
    for (const { waiting } of this.#lanes.values()) yield* waiting;
  }

  /** Takes all out that wait here. */
  drain(): readonly T[] {
    return [...this.#lanes.values()].flatMap(({ waiting }) => [...waiting.drain()]);
  }
}

function hasPlace({ through, left }: Lane<unknown>): boolean {
  return through < (left > 0 ? PLACES_WHEN_SILENT : PLACES);
}
