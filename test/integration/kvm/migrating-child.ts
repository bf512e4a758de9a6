// The driver process of a migration's source, which dies at a chosen instruction: run by migration-crash.test.ts as
// `node --import tsx migrating-child.ts REQUEST`.
import { Socket } from "node:net";
import type { InstanceRef, LiveMigrateData } from "../../../src/driver/index.js";
import { openMigratingDriver } from "./migrating-driver.js";

export interface MigratingRequest {
  readonly directory: string;
  readonly instance: InstanceRef;
  readonly data: LiveMigrateData;
  readonly point: DyingPoint;
}
export interface DyingPoint {
  /** A QMP command; `memory`: the second pass over it; `gone`: the migration is over, and nobody knows it yet. */
  readonly what: "migrate" | "migrate-continue" | "memory" | "gone";
  readonly when: "before" | "after";
}

const request = JSON.parse(process.argv[2] ?? "null") as MigratingRequest;
const { what, when } = request.point;

function die(): void {
  process.kill(process.pid, "SIGKILL");
}

const { write } = Socket.prototype;
Socket.prototype.write = function (this: Socket, ...args: unknown[]): boolean {
  const text = typeof args[0] === "string" || Buffer.isBuffer(args[0]) ? String(args[0]) : "";
  const here = /"execute":"([^"]+)"/.exec(text)?.[1] === what;
  if (here && when === "before") die();
  const result = (write as (...given: unknown[]) => boolean).apply(this, args);
  // QEMU gets it before we are gone, and may answer nobody.
  if (here) die();
  return result;
};

const driver = await openMigratingDriver(request.directory);
const slow = what === "memory" || what === "migrate" ? { bandwidthMiBps: 1, downtimeMs: 1 } : {};
const { result } = driver.liveMigration(request.instance, request.data, {
  ...slow,
  onMigrationProgress: ({ iteration }) => {
    if (what === "memory" && iteration >= 2) die();
  },
});
await result;
die();
