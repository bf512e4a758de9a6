// A driver process that dies at a chosen instruction: run by crash.test.ts as `node --import tsx driver-child.ts REQUEST`.
import childProcess from "node:child_process";
import fsp from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { Socket } from "node:net";
import type { GuestDefinition, GuestDisk, GuestNic, GuestTemplate } from "../../../src/driver/index.js";

export interface CrashRequest {
  readonly stateDirectory: string;
  readonly definition: GuestDefinition;
  readonly disk: GuestDisk;
  readonly nic: GuestNic;
  /** What the work on disk `data` is done with. */
  readonly target?: { readonly path: string; readonly format: "raw" | "qcow2" };
  /** Done before; then the process is armed. */
  readonly before: readonly CrashStep[];
  readonly step: CrashStep;
  readonly point: CrashPoint;
}
export type CrashStep =
  | (
      | "define"
      | "start"
      | "attachDisk"
      | "attachNic"
      | "detachNic"
      | "setMemory"
      | "setVcpus"
      | "pause"
      | "kill"
      | "undefine"
    )
  | ("save" | "restore" | "saveTemplate" | "startFromTemplate")
  | ("mirrorDisk" | "snapshotDisk" | "commitDisk" | "backup" | "changeMedium");
/** `write`: the replacing of a state file. `spawn`: the start of QEMU. Others are QMP commands. */
export interface CrashPoint {
  readonly what: string;
  /** Which one, from 1. */
  readonly nth: number;
  readonly when: "before" | "after";
}

const request = JSON.parse(process.argv[2] ?? "null") as CrashRequest;
const target = request.target ?? { path: "/", format: "raw" };
let template: GuestTemplate | undefined;
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
    case "setMemory":
      return guest.setMemory(request.definition.memoryMiB + 128);
    case "setVcpus":
      return guest.setVcpus(2);
    case "detachNic":
      await guest.detachNic(request.nic.id, { timeoutMs: 1_000 });
      return;
    case "pause":
      return guest.pause();
    case "mirrorDisk":
    case "snapshotDisk":
    case "commitDisk":
    case "changeMedium":
      return guest[step]("data", { type: "file", ...target });
    case "backup":
      return guest.backup({ disks: [{ diskId: "data", ...target }], checkpoint: "one" });
    case "saveTemplate": {
      const { path, format } = target;
      const disks = ["root", "data"].map((diskId) => ({ diskId, path: `${path}.${diskId}`, format }));
      const memoryPath = `${path}.memory`;
      const state = await guest.saveTemplate({ memoryPath, disks });
      template = { ...state, memoryPath, definition: await guest.definition() };
      return;
    }
    case "startFromTemplate":
      return guest.startFromTemplate(template!);
    case "save":
    case "restore":
      return guest.suspend[step]();
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
