/** The little that is used of the `pg` package, an optional peer that is loaded on first use. */
import { createRequire } from "node:module";
import { PackageMissingError } from "../store-errors.js";

/** What `pg` answers to a query. */
export interface PgResult {
  readonly rows: readonly { readonly [column: string]: unknown }[];
  readonly rowCount: number | null;
}

export interface PgQuery {
  readonly text: string;
  readonly values?: readonly unknown[];
  /** Prepared under this name on each connection. */
  readonly name?: string;
}

export interface PgClient {
  query(query: PgQuery): Promise<PgResult>;
  release(error?: Error | boolean): void;
}

/** A pool of connections, as `pg.Pool` is one. */
export interface PgPool {
  connect(): Promise<PgClient>;
  query(query: PgQuery): Promise<PgResult>;
  end(): Promise<void>;
  on(event: "error", listener: (error: Error) => void): unknown;
}

/** What `pg.Pool` is made with. */
export interface PgPoolSettings {
  readonly connectionString?: string;
  readonly host?: string;
  readonly port?: number;
  readonly user?: string;
  readonly password?: string;
  readonly database?: string;
  readonly max: number;
  readonly connectionTimeoutMillis: number;
  readonly idleTimeoutMillis: number;
  readonly statement_timeout: number;
  readonly query_timeout: number;
  readonly application_name: string;
  readonly allowExitOnIdle: true;
}

interface PgPackage {
  readonly Pool: new (settings: PgPoolSettings) => PgPool;
}

/** Loads `pg`; tests replace it. */
export type LoadPg = () => unknown;

const fromHere: LoadPg = () => createRequire(import.meta.url)("pg") as unknown;

/** @throws PackageMissingError when `pg` is not installed. */
export function createPool(settings: PgPoolSettings, load: LoadPg = fromHere): PgPool {
  let pg: PgPackage;
  try {
    pg = load() as PgPackage;
  } catch (error) {
    throw new PackageMissingError("the PostgreSQL store of networks", "pg", { cause: error });
  }
  return new pg.Pool(settings);
}
