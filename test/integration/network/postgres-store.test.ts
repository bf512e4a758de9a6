// The PostgreSQL store against a real server.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PostgresNetworkStore } from "../../../src/network/index.js";
import { defineNetworkStoreContract } from "../../../src/testing/network/index.js";
import { startPostgres } from "../../lab/postgres.js";
import type { PostgresServer } from "../../lab/postgres.js";

let server: PostgresServer;
let schemas = 0;
const newSchema = (): string => `networks_${++schemas}`;

beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

defineNetworkStoreContract(
  {
    name: "PostgreSQL",
    testTimeoutMs: 90_000,
    create: async () => {
      const schema = newSchema();
      const open = (): PostgresNetworkStore => new PostgresNetworkStore({ ...server.connection, schema });
      return { store: open(), again: async () => open(), remove: async () => undefined };
    },
  },
  { describe, it, beforeAll, afterAll },
);

const record = (id: string, expected = 0) => ({ op: "put", kind: "thing", id, expected, value: { id } }) as const;

describe("the PostgreSQL store", () => {
  it("makes its schema once, however many open it at the same time", async () => {
    const schema = newSchema();
    const stores = Array.from({ length: 8 }, () => new PostgresNetworkStore({ ...server.connection, schema }));
    await Promise.all(stores.map((store, at) => store.commit([record(`r${at}`)])));
    expect((await stores[0]!.find({ kind: "thing" })).length).toBe(8);
    await Promise.all(stores.map((store) => store.close()));
  });

  it("refuses a schema that is not there when it may not make one, and one of a later release", async () => {
    const schema = newSchema();
    const careful = new PostgresNetworkStore({ ...server.connection, schema, migrate: false });
    await expect(careful.open()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", retryable: false });
    await using maker = new PostgresNetworkStore({ ...server.connection, schema });
    await maker.open();
    await careful.open();
    await careful.close();
    const pool = server.pool();
    await pool.query({ text: `INSERT INTO ${schema}.schema_version VALUES (999, now())` });
    await pool.end();
    await using old = new PostgresNetworkStore({ ...server.connection, schema });
    await expect(old.open()).rejects.toMatchObject({ code: "STATE_CORRUPT" });
  });

  it("works on a pool of the embedder's, and leaves it open", async () => {
    const pool = server.pool();
    const store = new PostgresNetworkStore({ pool, schema: newSchema() });
    await store.commit([record("a")]);
    await store.close();
    expect((await pool.query({ text: "SELECT 1 AS one" })).rows).toEqual([{ one: 1 }]);
    await pool.end();
  });

  it("loses nothing that it committed when the server crashes, says so when it can't be reached, and goes on after", async () => {
    await using store = new PostgresNetworkStore({
      ...server.connection,
      schema: newSchema(),
      timeouts: { connectMs: 5_000 },
    });
    const [version = 0] = await store.commit([record("kept")]);
    await server.crashAndRestart();
    // The first call may meet a connection that has died.
    await store.get("thing", "kept").catch(() => undefined);
    expect(await store.get("thing", "kept")).toMatchObject({ version });
    await server.stop();
    await expect(store.commit([record("b")])).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", retryable: true });
    await server.start();
    await store.get("thing", "kept").catch(() => undefined);
    expect(await store.get("thing", "b")).toBeUndefined();
    await store.commit([record("b")]);
  });
});
