/** A store in PostgreSQL, for clouds of many hosts. */
import {
  ClosedError,
  InvalidArgumentError,
  StateCorruptError,
  raceAbort,
  throwIfAborted,
} from "../../../core/index.js";
import type { JsonObject } from "../../../core/index.js";
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
import type { EncodedChange } from "../record-table.js";
import { StoreUnavailableError } from "../store-errors.js";
import { MIGRATIONS } from "./migrations.js";
import { isTakenBack, storeError } from "./pg-errors.js";
import { createPool } from "./pg-package.js";
import type { LoadPg, PgClient, PgPool, PgQuery, PgResult } from "./pg-package.js";

export interface PostgresTimeouts {
  /** Until a connection stands, or one of the pool is free. */
  readonly connectMs: number;
  /** One statement. */
  readonly statementMs: number;
  /** After this a connection that nobody uses is closed. */
  readonly idleMs: number;
}

export const DEFAULT_POSTGRES_TIMEOUTS: PostgresTimeouts = { connectMs: 10_000, statementMs: 30_000, idleMs: 10_000 };

export interface PostgresNetworkStoreOptions {
  /** Such as `postgres://user:password@host/database`. What is absent comes from `PGHOST` and its like. */
  readonly connectionString?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  readonly database?: string | undefined;
  /** A `pg.Pool` of the embedder's, used in place of an own one and not closed; its listener of `error` is the embedder's. */
  readonly pool?: PgPool | undefined;
  /** 1 to 40 characters of `[a-z0-9_]`, beginning with a letter. Default `hypervise_network`. */
  readonly schema?: string | undefined;
  /** False: the schema must be there and up to date. Default true. */
  readonly migrate?: boolean | undefined;
  /** Default 4; 1 to 100. */
  readonly maxConnections?: number | undefined;
  readonly timeouts?: Partial<PostgresTimeouts> | undefined;
  /** For tests: gives the `pg` package. */
  readonly loadPg?: LoadPg | undefined;
}

/** How often PostgreSQL may take a commit back because of others (deadlocks), before it is given up. */
const ATTEMPTS = 10;

/**
 * {@link NetworkStore} in a schema of a PostgreSQL database (12 or later). Needs the package `pg`, which is loaded when the
 * store is first used: `PackageMissingError` names it when it is not installed. A commit is one call of one function.
 */
export class PostgresNetworkStore implements NetworkStore {
  readonly #options: PostgresNetworkStoreOptions;
  readonly #name: string;
  readonly #schema: string;
  #pool: PgPool | undefined;
  #opened: Promise<void> | undefined;
  #closed = false;

  /** @throws InvalidArgumentError when the schema's name or a number is not as stated. */
  constructor(options: PostgresNetworkStoreOptions = {}) {
    const { schema = "hypervise_network", maxConnections = 4 } = options;
    if (!/^[a-z][a-z0-9_]{0,39}$/.test(schema))
      throw new InvalidArgumentError({
        field: "schema",
        value: schema,
        expected: "1 to 40 characters of a-z, 0-9 and _",
      });
    if (!Number.isInteger(maxConnections) || maxConnections < 1 || maxConnections > 100)
      throw new InvalidArgumentError({ field: "maxConnections", value: maxConnections, expected: "from 1 to 100" });
    this.#options = options;
    this.#name = schema;
    this.#schema = `"${schema}"`;
  }

  async open(options: NetworkStoreOptions = {}): Promise<void> {
    throwIfAborted(options.signal);
    if (this.#closed) throw new ClosedError("the store of networks was closed");
    this.#opened ??= this.#prepare().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    await raceAbort(this.#opened, options.signal);
  }

  async get(kind: string, id: string, options: NetworkStoreOptions = {}): Promise<StoredRecord | undefined> {
    checkKind(kind);
    checkId(id);
    const text = `SELECT kind, id, version, value FROM ${this.#schema}.record WHERE kind = $1 AND id = $2`;
    const [record] = await this.#read({ name: `${this.#name}_get`, text, values: [kind, id] }, options);
    return record === undefined ? undefined : recordOf(record);
  }

  async getByUnique(kind: string, key: string, options: NetworkStoreOptions = {}): Promise<StoredRecord | undefined> {
    checkKind(kind);
    checkId(key, "key");
    const text = `SELECT r.kind, r.id, r.version, r.value FROM ${this.#schema}.record_unique u
      JOIN ${this.#schema}.record r ON r.kind = u.kind AND r.id = u.id WHERE u.kind = $1 AND u.key = $2`;
    const [record] = await this.#read({ name: `${this.#name}_unique`, text, values: [kind, key] }, options);
    return record === undefined ? undefined : recordOf(record);
  }

  async find(query: FindRecords, options: NetworkStoreOptions = {}): Promise<readonly FoundRecord[]> {
    const { limit } = checkQuery(query);
    const { order, id } = query.after ?? { order: Number.MIN_SAFE_INTEGER, id: "" };
    const rows = await this.#read(
      query.index === undefined
        ? {
            name: `${this.#name}_list`,
            text: `SELECT kind, id, version, value, place FROM ${this.#schema}.record
              WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3`,
            values: [query.kind, id, limit],
          }
        : {
            name: `${this.#name}_find`,
            text: `SELECT r.kind, r.id, r.version, r.value, r.place FROM ${this.#schema}.record_index x
              JOIN ${this.#schema}.record r ON r.kind = x.kind AND r.id = x.id
              WHERE x.kind = $1 AND x.key = $2 AND (x.place, x.id) > ($3, $4) ORDER BY x.place, x.id LIMIT $5`,
            values: [query.kind, query.index, order, id, limit],
          },
      options,
    );
    return rows.map((row) => ({ ...recordOf(row), order: Number(row["place"]) }));
  }

  async count(kind: string, index: string, options: NetworkStoreOptions = {}): Promise<number> {
    checkKind(kind);
    checkId(index, "index");
    const text = `SELECT count(*) AS count FROM ${this.#schema}.record_index WHERE kind = $1 AND key = $2`;
    const [row] = await this.#read({ name: `${this.#name}_count`, text, values: [kind, index] }, options);
    return Number(row?.["count"] ?? 0);
  }

  async commit(changes: readonly StoreChange[], options: NetworkStoreOptions = {}): Promise<readonly number[]> {
    checkChanges(changes);
    const values = [`[${changes.map((change) => changeText(encodeChange(change))).join(",")}]`];
    await this.open(options);
    const text = `SELECT change_place, new_version FROM ${this.#schema}.commit_changes($1::jsonb)`;
    const { rows } = await raceAbort(
      this.#repeated({ name: `${this.#name}_commit`, text, values }),
      options.signal,
      "a commit to the store of networks",
    );
    return [...rows]
      .sort((a, b) => Number(a["change_place"]) - Number(b["change_place"]))
      .map((row) => Number(row["new_version"]));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#opened?.catch(() => undefined);
    if (this.#options.pool === undefined) await this.#pool?.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #read(query: PgQuery, options: NetworkStoreOptions): Promise<PgResult["rows"]> {
    await this.open(options);
    try {
      return (await raceAbort(this.#connections().query(query), options.signal)).rows;
    } catch (error) {
      throw storeError(error, false);
    }
  }

  async #repeated(query: PgQuery): Promise<PgResult> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#connections().query(query);
      } catch (error) {
        if (attempt === ATTEMPTS || !isTakenBack(error)) throw storeError(error, true);
      }
    }
  }

  #connections(): PgPool {
    const { pool, timeouts: given, maxConnections = 4, loadPg } = this.#options;
    if (pool !== undefined) return pool;
    if (this.#pool !== undefined) return this.#pool;
    const timeouts = { ...DEFAULT_POSTGRES_TIMEOUTS, ...given };
    const { connectionString, host, port, user, password, database } = this.#options;
    this.#pool = createPool(
      {
        ...(connectionString === undefined ? {} : { connectionString }),
        ...(host === undefined ? {} : { host }),
        ...(port === undefined ? {} : { port }),
        ...(user === undefined ? {} : { user }),
        ...(password === undefined ? {} : { password }),
        ...(database === undefined ? {} : { database }),
        max: maxConnections,
        connectionTimeoutMillis: timeouts.connectMs,
        idleTimeoutMillis: timeouts.idleMs,
        statement_timeout: timeouts.statementMs,
        // The server's own limit comes first; this one is for a server that no longer answers.
        query_timeout: timeouts.statementMs + 5_000,
        application_name: "hypervise",
        allowExitOnIdle: true,
      },
      loadPg,
    );
    // A connection that breaks while nobody uses it is replaced by the pool; without a listener the process would end.
    this.#pool.on("error", () => undefined);
    return this.#pool;
  }

  async #prepare(): Promise<void> {
    let client: PgClient;
    try {
      client = await this.#connections().connect();
    } catch (error) {
      throw storeError(error, false);
    }
    let failure: Error | undefined;
    try {
      await this.#migrate(client);
    } catch (error) {
      failure = storeError(error, false);
      await client.query({ text: "ROLLBACK" }).catch(() => undefined);
      throw failure;
    } finally {
      client.release(failure);
    }
  }

  /** Processes that come together do it one after the other; the second finds it done. */
  async #migrate(client: PgClient): Promise<void> {
    if ((await this.#schemaVersion(client)) === MIGRATIONS.length) return;
    if (this.#options.migrate === false) {
      throw new StoreUnavailableError("the schema of networks is not that of this release", {
        retryable: false,
        detail: `schema ${this.#name}: expected version ${MIGRATIONS.length}`,
        remedy: "Open the store once with `migrate: true`, by a user who may make tables.",
      });
    }
    await client.query({ text: "BEGIN" });
    await client.query({
      text: "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
      values: [`hypervise/${this.#name}`],
    });
    const version = await this.#schemaVersion(client);
    if (version === undefined) {
      await client.query({ text: `CREATE SCHEMA IF NOT EXISTS ${this.#schema}` });
      await client.query({
        text: `CREATE TABLE ${this.#schema}.schema_version (version integer PRIMARY KEY, applied_at timestamptz NOT NULL)`,
      });
    }
    for (let step = version ?? 0; step < MIGRATIONS.length; step++) {
      const text = (MIGRATIONS[step] ?? "").replaceAll("{schema}", this.#schema).replaceAll("{name}", this.#name);
      await client.query({ text });
      await client.query({
        text: `INSERT INTO ${this.#schema}.schema_version VALUES ($1, now())`,
        values: [step + 1],
      });
    }
    await client.query({ text: "COMMIT" });
  }

  async #schemaVersion(client: PgClient): Promise<number | undefined> {
    const table = await client.query({
      text: "SELECT 1 FROM information_schema.tables WHERE table_schema = $1 AND table_name = 'schema_version'",
      values: [this.#name],
    });
    if (table.rows.length === 0) return undefined;
    const { rows } = await client.query({
      text: `SELECT coalesce(max(version), 0) AS version FROM ${this.#schema}.schema_version`,
    });
    const version = Number(rows[0]?.["version"] ?? 0);
    if (version <= MIGRATIONS.length) return version;
    throw new StateCorruptError("the schema of networks is of a later release", {
      detail: `schema ${this.#name}: version ${version}, known up to ${MIGRATIONS.length}`,
      remedy: "Run the release that made it, or a later one.",
    });
  }
}

/** The change as the function takes it; the value is JSON already. */
function changeText(change: EncodedChange): string {
  if (change.op !== "put") return JSON.stringify(change);
  const { text, unique = [], index = [], order = 0, ...rest } = change;
  return `${JSON.stringify({ ...rest, unique, index, order }).slice(0, -1)},"value":${text}}`;
}

function recordOf(row: PgResult["rows"][number]): StoredRecord {
  return {
    kind: String(row["kind"]),
    id: String(row["id"]),
    version: Number(row["version"]),
    value: row["value"] as JsonObject,
  };
}
