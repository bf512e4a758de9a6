/** What the lines of a log file amount to: the records, and what became of each commit. Pure. */
import { StateCorruptError } from "../../../core/index.js";
import { RecordTable } from "../record-table.js";
import type { StoreConflict } from "../store-errors.js";
import { NEW_LINE, decodeLine, sumOf } from "./log-format.js";
import type { LogEntry } from "./log-format.js";

export type CommitOutcome = readonly number[] | { readonly conflict: StoreConflict };

/** The checksum of no entries. */
const START = "0".repeat(16);

/**
 * Takes the bytes of one file in order. Whoever replays the same bytes comes to the same records and answers, so the order
 * in which processes append decides between them. Bytes behind the last line break are left for the next time.
 */
export class LogReplay {
  readonly table = new RecordTable();
  readonly #path: string;
  /** The checksum of all entries that end by an offset. */
  readonly #sums = new Map<number, string>([[0, START]]);
  #offset = 0;
  #sum = START;
  #headBytes = 0;
  #sealed = false;
  #begun = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** How many bytes have been taken. */
  get offset(): number {
    return this.#offset;
  }

  /** How many bytes the snapshot takes that the file begins with. */
  get headBytes(): number {
    return this.#headBytes;
  }

  /** Whether the log goes on in the next file. */
  get sealed(): boolean {
    return this.#sealed;
  }

  /** Whether the file begins as one of these does. */
  get begun(): boolean {
    return this.#begun;
  }

  /** The point that has been taken, and the checksum of everything before it. */
  get known(): { readonly offset: number; readonly sum: string } {
    return { offset: this.#offset, sum: this.#sum };
  }

  /**
   * Takes bytes from `offset` on. Tells of each entry's commits.
   * @throws StateCorruptError when a later entry vouches for earlier ones that are not there any more.
   */
  take(bytes: Buffer, onCommits: (id: string, outcomes: readonly CommitOutcome[]) => void): void {
    let start = 0;
    while (!this.#sealed) {
      const end = bytes.indexOf(NEW_LINE, start);
      if (end < 0) return;
      const decoded = decodeLine(bytes.subarray(start, end));
      if (decoded !== undefined) this.#takeEntry(decoded.entry, onCommits);
      this.#offset += end + 1 - start;
      if (decoded !== undefined) this.#sum = sumOf(this.#sum, decoded.sum);
      if (decoded?.entry.type === "begin" || decoded?.entry.type === "snapshot") this.#headBytes = this.#offset;
      this.#sums.set(this.#offset, this.#sum);
      start = end + 1;
    }
  }

  #takeEntry(entry: LogEntry, onCommits: (id: string, outcomes: readonly CommitOutcome[]) => void): void {
    if (entry.type === "begin") this.#begun = true;
    else if (entry.type === "seal") this.#sealed = true;
    else if (entry.type === "snapshot") {
      for (const record of entry.records) this.table.restore(record);
      this.table.restoreVersion(entry.lastVersion);
    } else {
      if (entry.known !== undefined && this.#sums.get(entry.known.offset) !== entry.known.sum) {
        throw new StateCorruptError("the log of networks has lost records", {
          detail: `${this.#path}: what stands before byte ${entry.known.offset} is not what was written there`,
          remedy: "Restore the file from a copy.",
        });
      }
      onCommits(
        entry.id,
        entry.commits.map((changes) => {
          const conflict = this.table.conflictOf(changes);
          return conflict === undefined ? this.table.apply(changes) : { conflict };
        }),
      );
    }
  }
}
