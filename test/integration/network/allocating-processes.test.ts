// Many processes allocate from one pool at the same time, some of them killed at any moment: real processes, on the file
// store and on a real PostgreSQL server.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FileNetworkStore, FlatManager, PostgresNetworkStore } from "../../../src/network/index.js";
import type { FixedIpRecord, NetworkStore, VirtualInterface } from "../../../src/network/index.js";
import { FakeNetworkHost } from "../../../src/testing/network/index.js";
import type { AllocationWork } from "../../lab/allocation-worker.js";
import { bundleScript } from "../../lab/bundle-script.js";
import type { BundledScript } from "../../lab/bundle-script.js";
import { startPostgres } from "../../lab/postgres.js";
import type { PostgresServer } from "../../lab/postgres.js";
import { temporaryDirectory } from "../../lab/temporary-directory.js";
import type { TemporaryDirectory } from "../../lab/temporary-directory.js";

const WORKERS = 8;
/** Of a /25, without its first two addresses and its last. */
const POOL = 125;
const source = fileURLToPath(new URL("../../lab/allocation-worker.ts", import.meta.url));

let script: BundledScript;
let server: PostgresServer;
let directory: TemporaryDirectory;
beforeAll(async () => {
  script = await bundleScript(source);
  directory = await temporaryDirectory();
  server = await startPostgres();
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await directory?.remove();
  await script?.[Symbol.asyncDispose]();
});

interface Worker {
  readonly child: ChildProcess;
  /** Instances that it holds for certain, with their addresses. */
  readonly held: Map<string, string>;
  /** Instances that it has given back for certain. */
  readonly givenBack: Set<string>;
  readonly ended: Promise<{ readonly code: number | null; readonly errors: string }>;
}

/** `killAfter`: it is killed as soon as it has said so much. */
function start(work: AllocationWork, killAfter = Infinity): Worker {
  const child = spawn(process.execPath, [script.path, JSON.stringify(work)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const held = new Map<string, string>();
  const givenBack = new Set<string>();
  let text = "";
  let errors = "";
  let lines = 0;
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  child.stdout.on("data", (chunk: Buffer) => {
    const parts = (text + chunk.toString()).split("\n");
    text = parts.pop() ?? "";
    for (const line of parts) {
      const [what, instance = "", address = ""] = line.split(" ");
      if (what === "+") held.set(instance, address);
      else {
        held.delete(instance);
        givenBack.add(instance);
      }
      if (++lines >= killAfter) child.kill("SIGKILL");
    }
  });
  const ended = new Promise<{ code: number | null; errors: string }>((resolve) =>
    child.once("close", (code) => resolve({ code, errors })),
  );
  return { child, held, givenBack, ended };
}

const all = async <T>(store: NetworkStore, kind: string): Promise<readonly T[]> =>
  (await store.find({ kind, limit: 10_000 })).map(({ value }) => value as unknown as T);

describe.each([
  { name: "the file store", maxLogBytes: undefined, postgres: false },
  { name: "the file store, with a new file at every turn", maxLogBytes: 4_096, postgres: false },
  { name: "the PostgreSQL store", maxLogBytes: undefined, postgres: true },
])("$name", ({ name, maxLogBytes, postgres }) => {
  it(
    "gives 8 processes every address of a pool once, and loses none to those that are killed",
    { timeout: 180_000 },
    async () => {
      const id = name.replaceAll(/[^a-z]/g, "_");
      const place: AllocationWork["store"] = postgres
        ? { ...server.connection, schema: `a${id}` }
        : { dir: directory.file(id), ...(maxLogBytes === undefined ? {} : { maxLogBytes }) };
      await using store = "dir" in place ? new FileNetworkStore(place) : new PostgresNetworkStore(place);
      const manager = new FlatManager({ store, host: new FakeNetworkHost({ name: "worker" }) });
      await manager.createNetworks({ label: "net", cidr: "10.0.0.0/25", bridge: "br100" });

      const dying = Array.from({ length: WORKERS }, (_, at) =>
        start({ store: place, churn: 3, hold: POOL }, 3 + at * 2),
      );
      await Promise.all(dying.map(({ ended }) => ended));
      const filling = Array.from({ length: WORKERS }, () => start({ store: place, churn: 5, hold: POOL }));
      for (const { ended } of filling) expect(await ended).toEqual({ code: 0, errors: "" });

      const ips = await all<FixedIpRecord>(store, "fixed-ip");
      const vifs = await all<VirtualInterface>(store, "vif");
      const allocated = ips.filter((ip) => ip.allocated);
      // Nothing is lost: the pool is used to its last address. Nothing is doubled: addresses, MAC addresses and VIFs agree.
      const settled = await Promise.all(
        vifs
          .filter((vif) => !allocated.some((ip) => ip.vifId === vif.id))
          .map((vif) => manager.deallocateForInstance(vif.instanceUuid)),
      );
      const waiting = ips.filter((ip) => !ip.allocated && ip.vifId !== undefined).length;
      expect(allocated.length + waiting).toBe(POOL);
      expect(settled.length).toBeLessThanOrEqual(WORKERS);
      expect(new Set(vifs.map(({ address }) => address)).size).toBe(vifs.length);
      expect(new Set(allocated.map(({ vifId }) => vifId)).size).toBe(allocated.length);
      // What a process was told holds.
      const byInstance = new Map(allocated.map((ip) => [ip.instanceUuid, ip.address]));
      for (const worker of [...dying, ...filling]) {
        for (const [instance, address] of worker.held) {
          // A killed one may have been giving this back.
          if (worker.child.signalCode === "SIGKILL" && !byInstance.has(instance)) continue;
          expect(byInstance.get(instance)).toBe(address);
        }
        for (const instance of worker.givenBack) expect(byInstance.has(instance)).toBe(false);
      }
      expect(dying.some(({ child }) => child.signalCode === "SIGKILL")).toBe(true);
    },
  );
});
