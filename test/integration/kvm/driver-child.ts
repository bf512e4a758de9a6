// A driver process that dies at a chosen instruction: run by crash.test.ts as `node --import tsx driver-child.ts REQUEST`.
import childProcess from "node:child_process";
import fsp from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { Socket } from "node:net";
import type { GuestDefinition, GuestDisk, GuestNic } from "../../../src/driver/index.js";

export interface CrashRequest {
  readonly stateDirectory: string;
  readonly definition: GuestDefinition;
  readonly disk: GuestDisk;
  readonly nic: GuestNic;
  /** Done before; then the process is armed. */
  readonly before: readonly CrashStep[];
  readonly step: CrashStep;
  readonly point: CrashPoint;
}
export type CrashStep = "define" | "start" | "attachDisk" | "attachNic" | "detachNic" | "pause" | "kill" | "undefine";
/** `write`: the replacing of a state file. `spawn`: the start of QEMU. Others are QMP commands. */
export interface CrashPoint {
  readonly what: string;
  /** Which one, from 1. */
  readonly nth: number;
  readonly when: "before" | "after";
}

const request = JSON.parse(process.argv[2] ?? "null") as CrashRequest;
let armed = false;
let passed = 0;

function die(): void {
  process.kill(process.pid, "SIGKILL");
}

/** Whether to die here; counts. */
function at(what: string): boolean {
  if (!armed || what !== request.point.what) return false;
  passed++;
  return passed === request.point.nth;
}

const { rename } = fsp;
fsp.rename = async (from, to) => {
  const here = at("write");
  if (here && request.point.when === "before") die();
  await rename(from, to);
  if (here) die();
};
const { spawn } = childProcess;
childProcess.spawn = ((...args: Parameters<typeof spawn>) => {
  const here = at("spawn");
  if (here && request.point.when === "before") die();
  const child = spawn(...args);
  if (here) die();
  return child;
}) as typeof spawn;

const { write } = Socket.prototype;
Socket.prototype.write = function (this: Socket, ...args: unknown[]): boolean {
  const text = typeof args[0] === "string" || Buffer.isBuffer(args[0]) ? String(args[0]) : "";
  const command = /"execute":"([^"]+)"/.exec(text)?.[1];
  const here = command !== undefined && at(command);
  if (here && request.point.when === "before") die();
  const result = (write as (...given: unknown[]) => boolean).apply(this, args);
  // QEMU gets it before we are gone, and may answer nobody.
  if (here) die();
  return result;
};
syncBuiltinESMExports();

const { KvmHypervisor } = await import("../../../src/kvm/index.js");
const { systemClock } = await import("../../../src/core/index.js");
const hypervisor = new KvmHypervisor({ stateDirectory: request.stateDirectory, accelerator: "tcg" });
await hypervisor.open({ clock: systemClock, onEvent: () => undefined });

async function run(step: CrashStep): Promise<void> {
  if (step === "define") {
    await hypervisor.define(request.definition);
    return;
  }
  const guest = (await hypervisor.find(request.definition.uuid))!;
  switch (step) {
    case "start":
      return guest.start();
    case "attachDisk":
      return guest.attachDisk(request.disk);
    case "attachNic":
      return guest.attachNic(request.nic);
    case "detachNic":
      await guest.detachNic(request.nic.id, { timeoutMs: 1_000 });
      return;
    case "pause":
      return guest.pause();
    case "kill":
      return guest.kill();
    case "undefine":
      return hypervisor.undefine(request.definition.uuid);
  }
}

for (const step of request.before) await run(step);
armed = true;
await run(request.step);
process.stdout.write("survived\n");
die();
