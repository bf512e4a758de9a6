// A PostgreSQL server of one test's own: in a temporary directory, on a unix socket, as a user that is not root.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { accessSync, constants, readFileSync, readdirSync } from "node:fs";
import { chmod, chown } from "node:fs/promises";
import { join } from "node:path";
import { createPool } from "../../src/network/store/postgres/pg-package.js";
import type { PgPool } from "../../src/network/store/postgres/pg-package.js";
import { findCommand } from "../../scripts/lib/system-packages.mjs";
import { requirePackages } from "./require-packages.js";
import { temporaryDirectory } from "./temporary-directory.js";

export interface PostgresServer extends AsyncDisposable {
  /** What `PostgresNetworkStore` is made with to reach it. */
  readonly connection: {
    readonly host: string;
    readonly port: number;
    readonly user: string;
    readonly database: string;
  };
  /** A pool of connections of the caller's own; to be ended by it. */
  pool(): PgPool;
  /** Kills all of it at once, as a power cut would, and starts it again. */
  crashAndRestart(): Promise<void>;
  /** Stops it in an orderly way, or starts it again. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** Distributions keep the server's programs where PATH does not lead. */
function binary(name: string): string {
  const versions = (directory: string): string[] => {
    try {
      return readdirSync(directory).sort((a, b) => Number(b) - Number(a));
    } catch {
      return [];
    }
  };
  const candidates = ["/usr/lib/postgresql", "/usr/libexec/postgresql"].flatMap((root) =>
    versions(root).map((version) => join(root, version, "bin", name)),
  );
  const found = candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  const path = found ?? findCommand(name);
  if (path === undefined)
    throw new Error(`no ${name} here: install PostgreSQL's server, or run node scripts/setup.mjs`);
  return path;
}

/** PostgreSQL refuses root, and wants its user in the list of users. */
function serverUser(): { readonly uid: number; readonly gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const users = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((line) => line.split(":"));
  const user = users.find(([name]) => name === "postgres") ?? users.find(([name]) => name === "nobody");
  return { uid: Number(user?.[2] ?? 65_534), gid: Number(user?.[3] ?? 65_534) };
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once("exit", () => resolve()));
}

/** Starts a server with an empty database; `await using` or `[Symbol.asyncDispose]()` ends it and removes its files. */
export async function startPostgres(): Promise<PostgresServer> {
  requirePackages("postgres");
  const directory = await temporaryDirectory();
  const user = serverUser();
  await chmod(directory.path, 0o700);
  if (user !== undefined) await chown(directory.path, user.uid, user.gid);
  const data = directory.file("data");
  const settings = { ...user, cwd: directory.path, env: { PATH: process.env["PATH"], LC_ALL: "C" } };

  const initdb = spawn(binary("initdb"), ["-D", data, "-A", "trust", "-U", "hypervise", "-E", "UTF8", "--no-sync"], {
    ...settings,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let complaints = "";
  initdb.stderr?.on("data", (chunk: Buffer) => (complaints += chunk.toString()));
  await ended(initdb);
  if (initdb.exitCode !== 0) {
    await directory.remove();
    throw new Error(`initdb failed: ${complaints}`);
  }

  let server: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    const options = ["listen_addresses=", "max_connections=60", "shared_buffers=32MB", "log_min_messages=log"];
    const argv = ["-D", data, "-k", directory.path, ...options.flatMap((option) => ["-c", option])];
    const child = spawn(binary("postgres"), argv, { ...settings, stdio: ["ignore", "ignore", "pipe"] });
    server = child;
    let log = "";
    await new Promise<void>((resolve, reject) => {
      child.stderr?.on("data", (chunk: Buffer) => {
        log = `${log}${chunk.toString()}`.slice(-65_536);
        if (log.includes("database system is ready to accept connections")) resolve();
      });
      child.once("exit", () => reject(new Error(`postgres ended: ${log}`)));
    });
  };
  const stop = async (signal: NodeJS.Signals): Promise<void> => {
    if (server === undefined) return;
    server.kill(signal);
    await ended(server);
  };
  await start();
  const connection = { host: directory.path, port: 5432, user: "hypervise", database: "postgres" };
  return {
    connection,
    pool: () => {
      const pool = createPool({
        ...connection,
        max: 2,
        connectionTimeoutMillis: 30_000,
        idleTimeoutMillis: 10_000,
        statement_timeout: 30_000,
        query_timeout: 35_000,
        application_name: "test",
        allowExitOnIdle: true,
      });
      // Its connections may outlive the server by a moment.
      pool.on("error", () => undefined);
      return pool;
    },
    start,
    stop: () => stop("SIGINT"),
    crashAndRestart: async () => {
      // "Immediate" shutdown: every backend ends at once, nothing is flushed, and the next start recovers from the log.
      await stop("SIGQUIT");
      await start();
    },
    [Symbol.asyncDispose]: async () => {
      await stop("SIGINT");
      await directory.remove();
    },
  };
}
