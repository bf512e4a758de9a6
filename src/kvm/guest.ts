/** A guest on KVM: the seam of the driver, each method one mechanism. */
import type { Duplex } from "node:stream";
import type { CommonOptions, JsonObject, Secret } from "../core/index.js";
import { isAlive } from "../host/index.js";
import { ConsoleUnavailableError } from "../driver/index.js";
import type {
  ConsoleAddress,
  ConsoleLog,
  DetachOptions,
  DetachOutcome,
  DiskLimits,
  DiskStatistics,
  Guest,
  GuestBackupRequest,
  GuestCheckpoint,
  GuestDefinition,
  GuestDevice,
  GuestDisk,
  GuestInfo,
  GuestMigrationOptions,
  GuestMigrationRequest,
  GuestNic,
  GuestStatistics,
  GuestTemplate,
  GuestTemplateRequest,
  GuestTemplateState,
  InterfaceStatistics,
  MemoryDumpFormat,
  MigrationOutcome,
  Screenshot,
} from "../driver/index.js";
import type { DiskSource, DiskSourceFormat } from "../storage/index.js";
import { guestDiskCheck, guestNicCheck } from "../hypervisor/index.js";
import type { GuestBackupOptions } from "../hypervisor/index.js";
import { checkDisk, checkNic } from "./definition-check.js";
import { backupDisks, deleteCheckpoint, listCheckpoints } from "./block/backup.js";
import { copyDisk } from "./block/copy.js";
import type { CopyOptions } from "./block/copy.js";
import { dumpMemory } from "./block/dump.js";
import type { DumpOptions } from "./block/dump.js";
import { limitDisk } from "./block/limits.js";
import { changeMedium } from "./block/medium.js";
import type { ChangeOptions } from "./block/medium.js";
import { mirrorDisk } from "./block/mirror.js";
import { resizeDisk } from "./block/resize.js";
import { pullDisk } from "./block/pull.js";
import { commitDisk, snapshotDisk } from "./block/snapshot.js";
import { openConsole } from "./console/console-stream.js";
import { readConsoleLog } from "./console/console-log.js";
import { graphicsAddress, setConsolePassword } from "./console/graphics-console.js";
import { takeScreenshot } from "./console/screenshot.js";
import { powerStateOf } from "./events.js";
import { KvmGuestAgent } from "./guest-agent.js";
import type { GuestCore } from "./guest-core.js";
import type { GuestSession } from "./session.js";
import { cpuTimeNs, diskStatistics, guestStatistics, interfaceStatistics } from "./guest-statistics.js";
import { setBalloon } from "./hotplug/balloon.js";
import { checkGuestDevice, guestDeviceCheck } from "./hotplug/device-check.js";
import { setMemory } from "./hotplug/memory.js";
import { plugDevice, plugDisk, plugNic } from "./hotplug/plug.js";
import { detachDevice } from "./hotplug/unplug.js";
import { setVcpus } from "./hotplug/vcpus.js";
import { startGuest } from "./lifecycle/start.js";
import type { StartOptions } from "./lifecycle/start.js";
import { killGuest, requestShutdown, waitUntilStopped } from "./lifecycle/stop.js";
import { pauseGuest, resetGuest, resumeGuest } from "./lifecycle/vcpus.js";
import { reclaim } from "./migration/conclude.js";
import { requireHere } from "./migration/guard.js";
import { describeGuest } from "./migration/departure-check.js";
import { abortMigration, forceCompletion, migrateGuest, migrationOutcome } from "./migration/outgoing.js";
import { KvmSuspend } from "./suspend/suspend.js";
import { saveTemplate } from "./template/save.js";
import type { SaveTemplateOptions } from "./template/save.js";
import { startFromTemplate } from "./template/start.js";

export class KvmGuest implements Guest {
  readonly agent: KvmGuestAgent;
  readonly suspend: KvmSuspend;
  readonly #core: GuestCore;

  constructor(core: GuestCore) {
    this.#core = core;
    this.agent = new KvmGuestAgent(core);
    this.suspend = new KvmSuspend(core);
  }

  /** The core of a guest whose devices may be changed. @throws InvalidStateError while its memory, which knows them as they are, is elsewhere */
  #changeable(operation: string): GuestCore {
    requireHere(this.#core, operation);
    return this.#core;
  }

  get uuid(): string {
    return this.#core.definition.uuid;
  }
  get name(): string {
    return this.#core.definition.name;
  }

  async definition(): Promise<GuestDefinition> {
    return this.#core.definition;
  }

  async info(options: CommonOptions = {}): Promise<GuestInfo> {
    const { session, definition, state } = this.#core;
    const { memoryMiB, vcpus } = definition;
    if (session === undefined || this.#core.away)
      return { state: this.#core.powerState, stale: false, memoryMiB, vcpus };
    const [status, cpuTime] = await Promise.all([
      session.runState({ signal: options.signal, deadlineMs: options.deadline }),
      cpuTimeNs(session.process.identity.pid),
    ]);
    if (status === undefined) await this.#noticeDeath(session);
    const ended = this.#core.session !== session;
    const startedAt = state.process?.startedAt;
    return {
      state: ended || status === undefined ? this.#core.powerState : powerStateOf(status),
      stale: !ended && status === undefined,
      memoryMiB,
      vcpus,
      ...(cpuTime === undefined ? {} : { cpuTimeNs: cpuTime }),
      ...(startedAt === undefined ? {} : { startedAt }),
    };
  }

  /** A QEMU that does not answer may be dead, and the news of it on the way: it is waited for, so that nobody is told of a dead guest that it runs. */
  async #noticeDeath({ process }: GuestSession): Promise<void> {
    if (await isAlive(process.identity)) return;
    await waitUntilStopped(this.#core, { deadline: this.#core.host.timeouts.quitMs }).catch(() => undefined);
  }

  start(options: StartOptions = {}): Promise<void> {
    return startGuest(this.#core, options);
  }
  requestShutdown(options: CommonOptions = {}): Promise<void> {
    return requestShutdown(this.#core, options);
  }
  kill(options: CommonOptions = {}): Promise<void> {
    return killGuest(this.#core, options);
  }
  waitUntilStopped(options: CommonOptions): Promise<void> {
    return waitUntilStopped(this.#core, options);
  }
  pause(options: CommonOptions = {}): Promise<void> {
    return pauseGuest(this.#core, options);
  }
  resume(options: CommonOptions = {}): Promise<void> {
    return resumeGuest(this.#core, options);
  }
  reset(options: CommonOptions = {}): Promise<void> {
    return resetGuest(this.#core, options);
  }

  async attachDisk(disk: GuestDisk, options: CommonOptions = {}): Promise<void> {
    const checked = guestDiskCheck(disk, "disk");
    checkDisk(checked, this.#core.state.hardware.machine, "disk");
    await plugDisk(this.#changeable("attachDisk"), checked, options);
  }
  async detachDisk(diskId: string, options: DetachOptions): Promise<DetachOutcome> {
    return detachDevice(this.#changeable("detachDisk"), "disk", diskId, options);
  }
  async attachNic(nic: GuestNic, options: CommonOptions = {}): Promise<void> {
    const checked = guestNicCheck(nic, "nic");
    checkNic(checked, this.#core.state.hardware.machine, this.#core.host.capabilities, "nic");
    await plugNic(this.#changeable("attachNic"), checked, options);
  }
  async detachNic(nicId: string, options: DetachOptions): Promise<DetachOutcome> {
    return detachDevice(this.#changeable("detachNic"), "nic", nicId, options);
  }
  async attachDevice(device: GuestDevice, options: CommonOptions = {}): Promise<void> {
    const checked = guestDeviceCheck(device, "device");
    checkGuestDevice(checked, this.#core.host.capabilities);
    await plugDevice(this.#changeable("attachDevice"), checked, options);
  }
  async detachDevice(id: string, options: DetachOptions): Promise<DetachOutcome> {
    return detachDevice(this.#changeable("detachDevice"), "device", id, options);
  }

  async setVcpus(vcpus: number, options: CommonOptions = {}): Promise<void> {
    return setVcpus(this.#changeable("setVcpus"), vcpus, options);
  }
  async setMemory(memoryMiB: number, options: CommonOptions = {}): Promise<void> {
    return setMemory(this.#changeable("setMemory"), memoryMiB, options);
  }
  setBalloon(memoryMiB: number, options: CommonOptions = {}): Promise<void> {
    return setBalloon(this.#core, memoryMiB, options);
  }

  resizeDisk(diskId: string, sizeBytes: number, options: CommonOptions = {}): Promise<void> {
    return resizeDisk(this.#core, diskId, sizeBytes, options);
  }
  async mirrorDisk(diskId: string, target: DiskSource, options: CommonOptions = {}): Promise<void> {
    return mirrorDisk(this.#changeable("mirrorDisk"), diskId, target, options);
  }
  copyDisk(diskId: string, path: string, format: DiskSourceFormat, options: CopyOptions = {}): Promise<void> {
    return copyDisk(this.#core, diskId, path, format, options);
  }
  async snapshotDisk(diskId: string, overlay: DiskSource, options: CommonOptions = {}): Promise<void> {
    return snapshotDisk(this.#changeable("snapshotDisk"), diskId, overlay, options);
  }
  async pullDisk(diskId: string, base: DiskSource | undefined, options: CommonOptions = {}): Promise<void> {
    return pullDisk(this.#changeable("pullDisk"), diskId, base, options);
  }
  async commitDisk(diskId: string, base: DiskSource, options: CommonOptions = {}): Promise<void> {
    return commitDisk(this.#changeable("commitDisk"), diskId, base, options);
  }
  backup(request: GuestBackupRequest, options: GuestBackupOptions = {}): Promise<void> {
    return backupDisks(this.#core, request, options);
  }
  async checkpoints(): Promise<readonly GuestCheckpoint[]> {
    return listCheckpoints(this.#core);
  }
  deleteCheckpoint(name: string): Promise<void> {
    return deleteCheckpoint(this.#core, name);
  }
  async changeMedium(diskId: string, source: DiskSource | undefined, options: ChangeOptions = {}): Promise<void> {
    return changeMedium(this.#changeable("changeMedium"), diskId, source, options);
  }
  limitDisk(diskId: string, limits: DiskLimits, options: CommonOptions = {}): Promise<void> {
    return limitDisk(this.#core, diskId, limits, options);
  }
  dumpMemory(path: string, format: MemoryDumpFormat, options: DumpOptions = {}): Promise<void> {
    return dumpMemory(this.#core, path, format, options);
  }

  saveTemplate(request: GuestTemplateRequest, options: SaveTemplateOptions = {}): Promise<GuestTemplateState> {
    return saveTemplate(this.#core, request, options);
  }
  startFromTemplate(template: GuestTemplate, options: CommonOptions = {}): Promise<void> {
    return startFromTemplate(this.#core, template, options);
  }

  consoleLog(options: CommonOptions & { readonly maxBytes: number }): Promise<ConsoleLog> {
    return readConsoleLog(this.#core, options.maxBytes);
  }
  openConsole(options: CommonOptions = {}): Promise<Duplex> {
    return openConsole(this.#core, options);
  }
  async consoleAddress(kind: ConsoleAddress["kind"], options: CommonOptions = {}): Promise<ConsoleAddress> {
    const { instance, files, inMemory } = this.#core;
    if (kind !== "serial") return graphicsAddress(this.#core, kind, options);
    if (!inMemory) throw new ConsoleUnavailableError(`the guest has no ${kind} console now`, { instance });
    return { kind, socketPath: files.console };
  }
  setConsolePassword(
    kind: "vnc" | "spice",
    password: Secret,
    options: CommonOptions & { readonly validMs?: number } = {},
  ): Promise<void> {
    return setConsolePassword(this.#core, kind, password, options);
  }
  screenshot(options: CommonOptions = {}): Promise<Screenshot> {
    return takeScreenshot(this.#core, options);
  }

  statistics(options: CommonOptions = {}): Promise<GuestStatistics> {
    return guestStatistics(this.#core, options);
  }
  diskStatistics(diskId: string, options: CommonOptions = {}): Promise<DiskStatistics> {
    return diskStatistics(this.#core, diskId, options);
  }
  interfaceStatistics(nicId: string): Promise<InterfaceStatistics> {
    return interfaceStatistics(this.#core, nicId);
  }

  async describeMigration(): Promise<JsonObject> {
    return describeGuest(this.#core);
  }
  migrate(request: GuestMigrationRequest, options: GuestMigrationOptions = {}): Promise<MigrationOutcome> {
    return migrateGuest(this.#core, request, options);
  }
  abortMigration(): Promise<void> {
    return abortMigration(this.#core);
  }
  forceCompleteMigration(mode: "postcopy" | "pause"): Promise<void> {
    return forceCompletion(this.#core, mode);
  }
  migrationOutcome(): Promise<MigrationOutcome | undefined> {
    return migrationOutcome(this.#core);
  }
  reclaimMigration(): Promise<void> {
    return reclaim(this.#core);
  }

  async injectNmi(options: CommonOptions = {}): Promise<void> {
    const session = this.#core.requireSession("injectNmi");
    await session.execute("inject-nmi", {}, { signal: options.signal, deadlineMs: options.deadline });
  }
}
