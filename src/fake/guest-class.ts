/** The class of a hypervisor's guests: without the methods whose feature the hypervisor lacks, as the seam has it. */
import type { Guest, HypervisorFeature } from "../driver/index.js";
import { FakeGuest } from "./guest.js";

/** The optional members of a guest, and the features of which one must be there. */
const MEMBERS: readonly (readonly [keyof Guest, ...HypervisorFeature[]])[] = [
  ["resizeDisk", "resizeDisk"],
  ["mirrorDisk", "mirrorDisk"],
  ["copyDisk", "liveDiskCopy"],
  ["snapshotDisk", "diskSnapshot"],
  ["commitDisk", "diskSnapshot"],
  ["pullDisk", "diskSnapshot"],
  ["suspend", "suspend"],
  ["agent", "guestAgent"],
  ["consoleLog", "consoleLog"],
  ["openConsole", "consoleStream"],
  ["consoleAddress", "vncConsole", "spiceConsole", "serialConsole"],
  ["screenshot", "screenshot"],
  ["statistics", "statistics"],
  ["diskStatistics", "statistics"],
  ["interfaceStatistics", "statistics"],
  ["injectNmi", "crashDump"],
  ["inject", "injectAtSpawn"],
  ["setVcpus", "hotplugVcpu"],
  ["setMemory", "hotplugMemory"],
  ["setBalloon", "balloon"],
  ["attachDevice", "hotplugDevice"],
  ["detachDevice", "hotplugDevice"],
  ["changeMedium", "changeMedium"],
  ["limitDisk", "limitDisk"],
  ["backup", "backup"],
  ["checkpoints", "backup"],
  ["deleteCheckpoint", "backup"],
  ["dumpMemory", "dumpMemory"],
  ["setConsolePassword", "consolePassword"],
  ["saveTemplate", "template"],
  ["startFromTemplate", "template"],
  ["migrate", "migration"],
  ["abortMigration", "migration"],
  ["forceCompleteMigration", "migration"],
];

export function guestClassFor(features: ReadonlySet<HypervisorFeature>): typeof FakeGuest {
  const absent = MEMBERS.filter(([, ...needs]) => !needs.some((feature) => features.has(feature)));
  if (absent.length === 0) return FakeGuest;
  const lesser = class extends FakeGuest {};
  for (const [member] of absent) Object.defineProperty(lesser.prototype, member, { value: undefined });
  return lesser;
}
