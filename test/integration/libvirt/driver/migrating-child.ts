// The driver process of a migration's source, which dies at a chosen call of libvirt's: run by migration-crash.test.ts as
// `node --import tsx migrating-child.ts REQUEST`.
import { Socket } from "node:net";
import type { InstanceRef, LiveMigrateData } from "../../../../src/driver/index.js";
import { procedureNumbered } from "../../../../src/libvirt/rpc/procedures.js";
import { openMigratingDriver } from "./migrating-driver.js";
import type { HostSettings } from "./migrating-driver.js";

export interface MigratingRequest {
  readonly settings: HostSettings;
  readonly instance: InstanceRef;
  readonly data: LiveMigrateData;
  readonly point: DyingPoint;
}
export interface DyingPoint {
  /** The step of the migration; `memory`: a pass over it; `postcopy`: it runs there without all of that; `gone`: the migration is over, and nobody knows it yet. */
  readonly what: "Begin" | "Prepare" | "Perform" | "Finish" | "Confirm" | "memory" | "postcopy" | "gone";
  readonly when: "before" | "after";
  /** The guest is made to go over by post-copy. */
  readonly postcopy?: boolean;
}

const request = JSON.parse(process.argv[2] ?? "null") as MigratingRequest;
const { what, when, postcopy = false } = request.point;

function die(): void {
  process.kill(process.pid, "SIGKILL");
}

/** Whether a frame of the remote program's among the bytes is the call of the step. */
function isStep(bytes: unknown): boolean {
  if (!Buffer.isBuffer(bytes)) return false;
  for (let at = 0; at + 16 <= bytes.length; at += Math.max(4, bytes.readUInt32BE(at))) {
    const procedure = procedureNumbered("remote", bytes.readUInt32BE(at + 12));
    if (procedure?.name === `domainMigrate${what}3Params`) return true;
  }
  return false;
}

const { write } = Socket.prototype;
Socket.prototype.write = function (this: Socket, ...args: unknown[]): boolean {
  const here = isStep(args[0]);
  if (here && when === "before") die();
  const result = (write as (...given: unknown[]) => boolean).apply(this, args);
  // The daemon gets it before we are gone, and may answer nobody.
  if (here) die();
  return result;
};

const driver = openMigratingDriver(request.settings);
await driver.initHost();
const slow = what === "memory" || postcopy ? { bandwidthMiBps: postcopy ? 4 : 1, downtimeMs: 1 } : {};
let over = 0;
let hastened: Promise<void> | undefined;
const { result } = driver.liveMigration(request.instance, request.data, {
  ...slow,
  allowPostcopy: postcopy,
  onMigrationProgress: ({ iteration, phase }) => {
    if (what === "memory" && iteration >= 1) die();
    // The destination has heard of it after the first of these.
    if (what === "postcopy" && phase === "postcopy" && over++ > 0) die();
    if (postcopy && iteration >= 1) hastened ??= driver.liveMigrationForceComplete(request.instance, "postcopy");
  },
});
await result;
await hastened;
die();
