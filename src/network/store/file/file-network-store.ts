/** A store in a directory of a local file system, which several processes of the machine may use at the same time. */
import { ClosedError, InvalidArgumentError, check, raceAbort, throwIfAborted } from "../../../core/index.js";
import { checkChanges, checkId, checkKind, checkQuery } from "../check-changes.js";
import type {
  FindRecords,
  FoundRecord,
  NetworkStore,
  NetworkStoreOptions,
  StoreChange,
  StoredRecord,
} from "../network-store.js";
import { encodeChange } from "../record-table.js";
import type { EncodedChange, RecordTable } from "../record-table.js";
import { StoreConflictError } from "../store-errors.js";
import { NetworkLog } from "./network-log.js";

export interface FileNetworkStoreOptions {
  /** An absolute path; made, with mode 0700, when it is missing. Not on a network file system. */
  readonly dir: string;
  /** A log longer than this, and than twice its records, is replaced by one of its records alone. Default 16 MiB; at least 4096. */
  readonly maxLogBytes?: number | undefined;
}

interface Waiting {
  readonly changes: readonly EncodedChange[];
  readonly resolve: (versions: readonly number[]) => void;
  readonly reject: (error: unknown) => void;
}

/** How many commits go to the disk together. */
const BATCH = 512;

/**
 * {@link NetworkStore} over an append-only log. Its order decides between processes: each appends what it wants to commit,
 * and all come to the same answer by reading it. There is no lock and no server, so a process that is killed holds up nobody.
 * The records are held in memory. Commits made at the same time go to the disk together.
 */
export class FileNetworkStore implements NetworkStore {
  readonly #log: NetworkLog;
  #waiting: Waiting[] = [];
  #turns: Promise<void> = Promise.resolve();
  #refreshing: Promise<RecordTable> | undefined;
  #closed = false;

  /** @throws InvalidArgumentError when `dir` is no absolute path. */
  constructor(options: FileNetworkStoreOptions) {
    const { maxLogBytes = 16 * 1024 * 1024 } = options;
    if (!Number.isSafeInteger(maxLogBytes) || maxLogBytes < 4_096)
      throw new InvalidArgumentError({ field: "maxLogBytes", value: maxLogBytes, expected: "4096 or more" });
    this.#log = new NetworkLog(check.absolutePath()(options.dir, "dir"), maxLogBytes);
  }

  async open(options: NetworkStoreOptions = {}): Promise<void> {
    await this.#table(options);
  }

  async get(kind: string, id: string, options: NetworkStoreOptions = {}): Promise<StoredRecord | undefined> {
    checkKind(kind);
    checkId(id);
    return (await this.#table(options)).get(kind, id);
  }

  async getByUnique(kind: string, key: string, options: NetworkStoreOptions = {}): Promise<StoredRecord | undefined> {
    checkKind(kind);
    checkId(key, "key");
    return (await this.#table(options)).getByUnique(kind, key);
  }

  async find(query: FindRecords, options: NetworkStoreOptions = {}): Promise<readonly FoundRecord[]> {
    const { limit } = checkQuery(query);
    return (await this.#table(options)).find(query, limit);
  }

  async count(kind: string, index: string, options: NetworkStoreOptions = {}): Promise<number> {
    checkKind(kind);
    checkId(index, "index");
    return (await this.#table(options)).count(kind, index);
  }

  async commit(changes: readonly StoreChange[], options: NetworkStoreOptions = {}): Promise<readonly number[]> {
    this.#enter(options);
    checkChanges(changes);
    const encoded = changes.map(encodeChange);
    const done = new Promise<readonly number[]>((resolve, reject) => {
      this.#waiting.push({ changes: encoded, resolve, reject });
    });
    if (this.#waiting.length === 1) void this.#inTurn(() => this.#flush());
    return raceAbort(done, options.signal);
  }

  async close(): Promise<void> {
    this.#closed = true;
    while (this.#waiting.length > 0) await this.#turns;
    await this.#inTurn(() => this.#log.close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #enter(options: NetworkStoreOptions): void {
    throwIfAborted(options.signal);
    if (this.#closed) throw new ClosedError("the store of networks was closed");
  }

  /** Readers that come before the log is looked at share the look. */
  async #table(options: NetworkStoreOptions): Promise<RecordTable> {
    this.#enter(options);
    this.#refreshing ??= this.#inTurn(() => {
      this.#refreshing = undefined;
      return this.#log.refresh();
    });
    return raceAbort(this.#refreshing, options.signal);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turns.then(work);
    this.#turns = done.then(
      () => undefined,
      () => undefined,
    );
    return done;
  }

  async #flush(): Promise<void> {
    const batch = this.#waiting.splice(0, BATCH);
    if (this.#waiting.length > 0) void this.#inTurn(() => this.#flush());
    try {
      await this.#append(batch);
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }

  /** What can't hold as things are is not written at all. */
  async #append(batch: readonly Waiting[]): Promise<void> {
    const table = await this.#log.refresh();
    const hopeful = batch.filter(({ changes, reject }) => {
      const conflict = table.conflictOf(changes);
      if (conflict !== undefined) reject(new StoreConflictError(conflict));
      return conflict === undefined;
    });
    if (hopeful.length === 0) return;
    const outcomes = await this.#log.append(hopeful.map(({ changes }) => changes));
    hopeful.forEach(({ resolve, reject }, place) => {
      const outcome = outcomes[place];
      if (outcome === undefined) reject(new ClosedError("the commit was lost"));
      else if ("conflict" in outcome) reject(new StoreConflictError(outcome.conflict));
      else resolve(outcome);
    });
  }
}
