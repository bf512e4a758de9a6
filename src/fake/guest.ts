/** A simulated guest: the guest half of the seam. */
import type { Duplex } from "node:stream";
import type { CommonOptions, Secret } from "../core/index.js";
import { GuestStartError, GuestStuckError } from "../driver/index.js";
import type {
  ConsoleAddress,
  ConsoleLog,
  DetachOptions,
  DetachOutcome,
  DiskLimits,
  DiskStatistics,
  Guest,
  GuestAgent,
  GuestBackupRequest,
  GuestCheckpoint,
  GuestDefinition,
  GuestDevice,
  GuestDisk,
  GuestInfo,
  GuestInjection,
  GuestMigrationOptions,
  GuestMigrationRequest,
  GuestNic,
  GuestStatistics,
  GuestSuspend,
  GuestTemplate,
  GuestTemplateRequest,
  GuestTemplateState,
  HypervisorFeature,
  InterfaceStatistics,
  MemoryDumpFormat,
  MigrationOutcome,
  Screenshot,
} from "../driver/index.js";
import type { DiskSource, DiskSourceFormat } from "../storage/index.js";
import { FakeAgent, passwordHash } from "./guest-agent.js";
import { guestCall } from "./guest-call.js";
import type { GuestCallOptions, GuestWork } from "./guest-call.js";
import { allocateConsole, consoleLogOf, openSerialConsole, setConsolePassword } from "./guest-consoles.js";
import { checkDevices } from "./guest-devices.js";
import { commitDisk, copyDisk, mirrorDisk, pullDisk, resizeDisk, snapshotDisk } from "./guest-disks.js";
import {
  backupDisks,
  checkpointsOf,
  deleteCheckpoint,
  dumpMemory,
  saveTemplate,
  startFromTemplate,
} from "./guest-exports.js";
import type { CopyHooks } from "./guest-exports.js";
import { attachDevice, attachDisk, attachNic, detachDevice } from "./guest-hotplug.js";
import {
  askToShutDown,
  boot,
  enterMemory,
  nextChange,
  notify,
  pause,
  plan,
  reboot,
  resume,
  stop,
} from "./guest-power.js";
import { extrasOf, inMemory, print } from "./guest-record.js";
import { cpuTimeNs, diskStatistics, guestStatistics, interfaceStatistics } from "./guest-statistics.js";
import { FakeSuspend } from "./guest-suspend.js";
import { changeMedium, limitDisk } from "./guest-media.js";
import { resizeGuest } from "./guest-size.js";
import { requireState } from "./guest-state.js";
import { abortMigration, forceMigration, migrateGuest } from "./migration-job.js";
import type { FakeProcess } from "./process.js";
import type { FaultPoint } from "./fault-points.js";
import { drawScreenshot } from "./screenshot.js";

/** How long a kill waits for a process that does not end. */
const KILL_LIMIT_MS = 20_000;

export class FakeGuest implements Guest {
  readonly uuid: string;
  readonly name: string;
  readonly #process: FakeProcess;
  readonly #features: ReadonlySet<HypervisorFeature>;

  constructor(process: FakeProcess, features: ReadonlySet<HypervisorFeature>, uuid: string, name: string) {
    this.#process = process;
    this.#features = features;
    this.uuid = uuid;
    this.name = name;
  }

  definition(): Promise<GuestDefinition> {
    return this.#call("guest.definition", { evenHung: true }, (record) => record.definition);
  }

  info(options: CommonOptions = {}): Promise<GuestInfo> {
    return this.#call("guest.info", { signal: options.signal, evenHung: true }, (record, host) => {
      const { state, startedAt, hung, definition } = record;
      return {
        state,
        stale: hung,
        memoryMiB: definition.memoryMiB,
        vcpus: definition.vcpus,
        cpuTimeNs: cpuTimeNs(host, record),
        ...(startedAt === undefined ? {} : { startedAt }),
      };
    });
  }

  start(options: CommonOptions & { readonly paused?: boolean } = {}): Promise<void> {
    return this.#call("guest.start", options, async (record, host, halfway) => {
      requireState(record, "start", ["shutdown", "crashed"]);
      const { startMs, startError } = host.behaviourOf(this.uuid);
      checkDevices(host, record.definition);
      if (startError !== "")
        throw new GuestStartError("The guest could not be started", { instance: this, detail: startError });
      enterMemory(host, record, "paused");
      try {
        if (startMs > 0) await this.#process.sleep(startMs, options.signal);
      } catch (error) {
        if (this.#process.alive) stop(host, record, { cause: "self", detail: "start-aborted" });
        throw error;
      }
      await halfway();
      if (!inMemory(record)) throw new GuestStartError("The guest ended while it was started", { instance: this });
      host.lifecycle(record, "started", "self");
      if (options.paused !== true) {
        record.state = "running";
        record.runningSince = host.world.clock.now();
      }
      boot(host, record);
      notify(record);
    });
  }

  requestShutdown(options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.requestShutdown", options, (record, host) => {
      requireState(record, "requestShutdown", ["running", "paused"]);
      askToShutDown(host, record);
    });
  }

  kill(options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.kill", { ...options, evenHung: true }, async (record, host) => {
      if (record.state === "crashed") record.state = "shutdown";
      if (!inMemory(record)) return;
      const { killMs, unkillable } = host.behaviourOf(this.uuid);
      if (unkillable) {
        await this.#process.sleep(options.deadline ?? KILL_LIMIT_MS, options.signal);
        throw new GuestStuckError("The guest's process does not end", { instance: this });
      }
      if (killMs > 0) await this.#process.sleep(killMs, options.signal);
      record.hung = false;
      record.incoming = undefined;
      stop(host, record, { cause: "self", detail: "killed" });
    });
  }

  waitUntilStopped(options: CommonOptions): Promise<void> {
    return this.#call("guest.waitUntilStopped", { ...options, evenHung: true }, async (record) => {
      while (inMemory(record)) await this.#process.wait(nextChange(record), options.signal);
    });
  }

  pause(options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.pause", options, (record, host) => {
      requireState(record, "pause", ["running", "paused"]);
      if (record.state === "running") pause(host, record, "self");
    });
  }

  resume(options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.resume", options, (record, host) => {
      requireState(record, "resume", ["running", "paused"]);
      if (record.state === "paused") resume(host, record, "self");
    });
  }

  reset(options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.reset", options, (record, host) => {
      requireState(record, "reset", ["running", "paused"]);
      reboot(host, record, "self");
    });
  }

  attachDisk(disk: GuestDisk, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.attachDisk", { ...options, subject: disk.id }, (record, host, halfway) =>
      attachDisk(host, record, disk, this.#features, halfway),
    );
  }

  detachDisk(diskId: string, options: DetachOptions): Promise<DetachOutcome> {
    return this.#call("guest.detachDisk", { ...options, subject: diskId }, (record) =>
      detachDevice(this.#process, record, "disk", diskId, options),
    );
  }

  attachNic(nic: GuestNic, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.attachNic", { ...options, subject: nic.id }, (record, host, halfway) =>
      attachNic(host, record, nic, this.#features, halfway),
    );
  }

  detachNic(nicId: string, options: DetachOptions): Promise<DetachOutcome> {
    return this.#call("guest.detachNic", { ...options, subject: nicId }, (record) =>
      detachDevice(this.#process, record, "nic", nicId, options),
    );
  }

  resizeDisk(diskId: string, sizeBytes: number, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.resizeDisk", { ...options, subject: diskId }, (record, host) => {
      requireState(record, "resizeDisk", ["running", "paused"]);
      resizeDisk(host, record, diskId, sizeBytes);
    });
  }

  mirrorDisk(diskId: string, target: DiskSource, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.mirrorDisk", { ...options, subject: diskId }, (record, _host, halfway) => {
      requireState(record, "mirrorDisk", ["running", "paused"]);
      return mirrorDisk(this.#process, record, diskId, target, options.signal, halfway);
    });
  }

  copyDisk(diskId: string, path: string, format: DiskSourceFormat, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.copyDisk", { ...options, subject: diskId }, (record, _host, halfway) => {
      requireState(record, "copyDisk", ["running", "paused"]);
      return copyDisk(this.#process, record, diskId, { path, format }, options.signal, halfway);
    });
  }

  snapshotDisk(diskId: string, overlay: DiskSource, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.snapshotDisk", { ...options, subject: diskId }, (record, host) =>
      snapshotDisk(host, record, diskId, overlay),
    );
  }

  pullDisk(diskId: string, base: DiskSource | undefined, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.pullDisk", { ...options, subject: diskId }, (record, _host, halfway) =>
      pullDisk(this.#process, record, diskId, base, options.signal, halfway),
    );
  }

  commitDisk(diskId: string, base: DiskSource, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.commitDisk", { ...options, subject: diskId }, (record, _host, halfway) =>
      commitDisk(this.#process, record, diskId, base, options.signal, halfway),
    );
  }

  setVcpus(vcpus: number, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.setVcpus", options, (record, _host, halfway) =>
      resizeGuest(this.#process, record, "vcpus", vcpus, options.signal, halfway),
    );
  }

  setMemory(memoryMiB: number, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.setMemory", options, (record, _host, halfway) =>
      resizeGuest(this.#process, record, "memoryMiB", memoryMiB, options.signal, halfway),
    );
  }

  setBalloon(memoryMiB: number, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.setBalloon", options, (record) => {
      requireState(record, "setBalloon", ["running", "paused"]);
      extrasOf(record).balloonMiB = memoryMiB;
    });
  }

  attachDevice(device: GuestDevice, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.attachDevice", { ...options, subject: device.id }, (record, host, halfway) =>
      attachDevice(host, record, device, halfway),
    );
  }

  detachDevice(id: string, options: DetachOptions): Promise<DetachOutcome> {
    return this.#call("guest.detachDevice", { ...options, subject: id }, (record) =>
      detachDevice(this.#process, record, "device", id, options),
    );
  }

  changeMedium(
    diskId: string,
    source: DiskSource | undefined,
    options: CommonOptions & { readonly force?: boolean } = {},
  ): Promise<void> {
    return this.#call("guest.changeMedium", { ...options, subject: diskId }, (record, host, halfway) =>
      changeMedium(host, record, diskId, source, options.force ?? false, halfway),
    );
  }

  limitDisk(diskId: string, limits: DiskLimits, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.limitDisk", { ...options, subject: diskId }, (record) =>
      limitDisk(record, diskId, limits),
    );
  }

  backup(request: GuestBackupRequest, options: CommonOptions & CopyHooks = {}): Promise<void> {
    return this.#call("guest.backup", options, (record, _host, halfway) => {
      requireState(record, "backup", ["running", "paused"]);
      return backupDisks(this.#process, record, request, options, halfway);
    });
  }

  checkpoints(options: CommonOptions = {}): Promise<readonly GuestCheckpoint[]> {
    return this.#call("guest.checkpoints", options, checkpointsOf);
  }

  deleteCheckpoint(name: string, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.deleteCheckpoint", options, (record) => deleteCheckpoint(record, name));
  }

  dumpMemory(path: string, _format: MemoryDumpFormat, options: CommonOptions & CopyHooks = {}): Promise<void> {
    return this.#call("guest.dumpMemory", options, (record, _host, halfway) => {
      requireState(record, "dumpMemory", ["running", "paused"]);
      return dumpMemory(this.#process, record, path, options, halfway);
    });
  }

  setConsolePassword(
    kind: "vnc" | "spice",
    password: Secret,
    options: CommonOptions & { readonly validMs?: number } = {},
  ): Promise<void> {
    return this.#call("guest.setConsolePassword", options, (record, host) =>
      setConsolePassword(host, record, kind, passwordHash(this.uuid, kind, password), this.#features, options.validMs),
    );
  }

  saveTemplate(request: GuestTemplateRequest, options: CommonOptions & CopyHooks = {}): Promise<GuestTemplateState> {
    return this.#call("guest.saveTemplate", options, (record, _host, halfway) => {
      requireState(record, "saveTemplate", ["running", "paused"]);
      return saveTemplate(this.#process, record, request, options, halfway);
    });
  }

  startFromTemplate(template: GuestTemplate, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.startFromTemplate", options, (record, _host, halfway) =>
      startFromTemplate(this.#process, record, template, options.signal, halfway),
    );
  }

  inject(injection: GuestInjection, options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.inject", options, async (record, _host, halfway) => {
      requireState(record, "inject", ["shutdown"]);
      const { files, passwordHashes } = extrasOf(record);
      for (const file of injection.files) files[file.path] = Buffer.from(file.contents).toString("base64");
      await halfway();
      const { adminPassword } = injection;
      if (adminPassword !== undefined) passwordHashes["root"] = passwordHash(this.uuid, "root", adminPassword);
    });
  }

  get suspend(): GuestSuspend {
    return new FakeSuspend(this.#process, this.uuid);
  }

  get agent(): GuestAgent {
    return new FakeAgent(this.#process, this.uuid);
  }

  consoleLog(options: CommonOptions & { readonly maxBytes: number }): Promise<ConsoleLog> {
    return this.#call("guest.consoleLog", { ...options, evenHung: true }, (record) =>
      consoleLogOf(record, options.maxBytes),
    );
  }

  openConsole(options: CommonOptions = {}): Promise<Duplex> {
    return this.#call("guest.openConsole", options, (record) => {
      requireState(record, "openConsole", ["running", "paused"]);
      return openSerialConsole(record);
    });
  }

  consoleAddress(kind: "vnc" | "spice" | "serial", options: CommonOptions = {}): Promise<ConsoleAddress> {
    return this.#call("guest.consoleAddress", options, (record, host) =>
      allocateConsole(host, record, kind, this.#features),
    );
  }

  screenshot(options: CommonOptions = {}): Promise<Screenshot> {
    return this.#call("guest.screenshot", options, (record) => {
      requireState(record, "screenshot", ["running", "paused"]);
      return drawScreenshot(record);
    });
  }

  statistics(options: CommonOptions = {}): Promise<GuestStatistics> {
    return this.#call("guest.statistics", options, (record, host) => guestStatistics(host, record));
  }

  diskStatistics(diskId: string, options: CommonOptions = {}): Promise<DiskStatistics> {
    return this.#call("guest.diskStatistics", { ...options, subject: diskId }, (record, host) => {
      requireState(record, "diskStatistics", ["running", "paused"]);
      return diskStatistics(host, record, diskId);
    });
  }

  interfaceStatistics(nicId: string, options: CommonOptions = {}): Promise<InterfaceStatistics> {
    return this.#call("guest.interfaceStatistics", { ...options, subject: nicId }, (record, host) => {
      requireState(record, "interfaceStatistics", ["running", "paused"]);
      return interfaceStatistics(host, record, nicId);
    });
  }

  injectNmi(options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.injectNmi", options, (record, host) => {
      requireState(record, "injectNmi", ["running"]);
      print(record, "nmi");
      const { onNmi } = host.behaviourOf(this.uuid);
      if (onNmi !== "log") plan(host, record, 0, { type: onNmi });
    });
  }

  migrate(request: GuestMigrationRequest, options: GuestMigrationOptions = {}): Promise<MigrationOutcome> {
    return this.#call("guest.migrate", options, (record, _host, halfway) => {
      requireState(record, "migrate", ["running", "paused"]);
      return migrateGuest(this.#process, record, request, options, halfway);
    });
  }

  abortMigration(options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.abortMigration", options, (record) =>
      this.#process.wait(abortMigration(record), options.signal),
    );
  }

  forceCompleteMigration(mode: "postcopy" | "pause", options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.forceCompleteMigration", options, (record) => forceMigration(record, mode));
  }

  #call<T>(point: FaultPoint, options: GuestCallOptions, work: GuestWork<T>): Promise<T> {
    return guestCall(this.#process, this.uuid, point, options, work);
  }
}
