// The driver process of a migration's source, which dies at a chosen call of libvirt's: run by migration-crash.test.ts as
// `node --import tsx migrating-child.ts REQUEST`.
import { Socket } from "node:net";
import type { InstanceRef, LiveMigrateData } from "../../../../src/driver/index.js";
import { procedureNumbered } from "../../../../src/libvirt/rpc/procedures.js";
import { openMigratingDriver } from "./migration-hosts.js";
import type { HostSettings } from "./migration-hosts.js";

export interface MigratingRequest {
  readonly settings: HostSettings;
  readonly instance: InstanceRef;
  readonly data: LiveMigrateData;
  readonly point: DyingPoint;
}
export interface DyingPoint {
  /** The step of the migration; `memory`: a pass over it; `gone`: the migration is over, and nobody knows it yet. */
  readonly what: "Begin" | "Prepare" | "Perform" | "Finish" | "Confirm" | "memory" | "gone";
  readonly when: "before" | "after";
}

const request = JSON.parse(process.argv[2] ?? "null") as MigratingRequest;
const { what, when } = request.point;

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
const slow = what === "memory" ? { bandwidthMiBps: 1, downtimeMs: 1 } : {};
const { result } = driver.liveMigration(request.instance, request.data, {
  ...slow,
  onMigrationProgress: ({ iteration }) => {
    if (what === "memory" && iteration >= 1) die();
  },
});
await result;
die();
