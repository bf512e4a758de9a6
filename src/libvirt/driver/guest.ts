/** A guest on libvirt: the seam of the driver, each method one mechanism. */
import type { Duplex } from "node:stream";
import type { CommonOptions, JsonObject, Secret } from "../../core/index.js";
import type {
  DeviceAddress,
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
  InterfaceStatistics,
  Screenshot,
  MemoryDumpFormat,
  MigrationOutcome,
} from "../../driver/index.js";
import type { GuestBackupOptions } from "../../hypervisor/index.js";
import type { DiskSource, DiskSourceFormat } from "../../storage/index.js";
import { backupDisks } from "./block/backup.js";
import { deleteCheckpoint, listCheckpoints } from "./block/checkpoints.js";
import { commitDisk } from "./block/commit.js";
import { pullDisk } from "./block/pull.js";
import { copyDisk } from "./block/copy.js";
import type { CopyOptions } from "./block/copy.js";
import { dumpMemory } from "./block/dump.js";
import type { DumpOptions } from "./block/dump.js";
import { mirrorDisk } from "./block/mirror.js";
import { resizeDisk } from "./block/resize.js";
import { snapshotDisk } from "./block/snapshot.js";
import { LibvirtGuestAgent } from "./agent/guest-agent.js";
import { setClockSoon } from "./agent/guest-clock.js";
import { consoleAddress } from "./console/console-address.js";
import { readConsoleLog } from "./console/console-log.js";
import { ContainerConsole } from "./console/container-console.js";
import { setConsolePassword } from "./console/console-password.js";
import type { ConsolePasswordOptions } from "./console/console-password.js";
import { openConsole } from "./console/open-console.js";
import { takeScreenshot } from "./console/screenshot.js";
import type { GuestCore } from "./guest-core.js";
import { inMemoryCall } from "./in-memory-call.js";
import { diskStatistics, guestStatistics, interfaceStatistics } from "./statistics/read-statistics.js";
import { LibvirtSuspend } from "./suspend/suspend.js";
import { attachDevice, attachDisk, attachNic } from "./hotplug/attach.js";
import { setBalloon } from "./hotplug/balloon.js";
import { detachDevice } from "./hotplug/detach.js";
import { deviceAddresses } from "./hotplug/device-addresses.js";
import { limitDisk } from "./hotplug/limits.js";
import { changeMedium } from "./hotplug/medium.js";
import type { ChangeMediumOptions } from "./hotplug/medium.js";
import { setMemory } from "./hotplug/memory.js";
import { setVcpus } from "./hotplug/vcpus.js";
import { runsQemu } from "./host.js";
import { readInfo } from "./lifecycle/info.js";
import { startGuest } from "./lifecycle/start.js";
import type { StartOptions } from "./lifecycle/start.js";
import { killGuest, requestShutdown, waitUntilStopped } from "./lifecycle/stop.js";
import { reclaim } from "./migration/conclude.js";
import { describeGuest } from "./migration/departure.js";
import { abortMigration, forceCompletion, migrateGuest, migrationOutcome } from "./migration/outgoing.js";
import { pauseGuest, resetGuest, resumeGuest } from "./lifecycle/vcpus.js";

export class LibvirtGuest implements Guest {
  /** Of QEMU guests. */
  readonly agent?: LibvirtGuestAgent;
  readonly suspend?: LibvirtSuspend;
  readonly #core: GuestCore;
  /** Of containers. */
  readonly #console: ContainerConsole | undefined;

  constructor(core: GuestCore) {
    this.#core = core;
    const { virtType, readOnly } = core.host.options;
    if (virtType === "lxc" && !readOnly) this.#console = new ContainerConsole(core);
    if (!runsQemu(core.host)) return;
    this.agent = new LibvirtGuestAgent(core);
    this.suspend = new LibvirtSuspend(core, () => setClockSoon(core, this.agent, { agentIsAway: true }));
  }

  get uuid(): string {
    return this.#core.definition.uuid;
  }
  get name(): string {
    return this.#core.definition.name;
  }

  /** Resolves when this driver writes nothing to the guest's log. */
  async endConsole(): Promise<void> {
    await this.#console?.end();
  }
  async definition(): Promise<GuestDefinition> {
    return this.#core.definition;
  }
  deviceAddresses(options: CommonOptions = {}): Promise<readonly DeviceAddress[]> {
    return deviceAddresses(this.#core, options);
  }
  info(options: CommonOptions = {}): Promise<GuestInfo> {
    return readInfo(this.#core, options);
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
  async resume(options: CommonOptions = {}): Promise<void> {
    await resumeGuest(this.#core, options);
    setClockSoon(this.#core, this.agent);
  }
  reset(options: CommonOptions = {}): Promise<void> {
    return resetGuest(this.#core, options);
  }

  attachDisk(disk: GuestDisk, options: CommonOptions = {}): Promise<void> {
    return attachDisk(this.#core, disk, options);
  }
  detachDisk(diskId: string, options: DetachOptions): Promise<DetachOutcome> {
    return detachDevice(this.#core, { kind: "disk", id: diskId }, options);
  }
  attachNic(nic: GuestNic, options: CommonOptions = {}): Promise<void> {
    return attachNic(this.#core, nic, options);
  }
  detachNic(nicId: string, options: DetachOptions): Promise<DetachOutcome> {
    return detachDevice(this.#core, { kind: "nic", id: nicId }, options);
  }
  attachDevice(device: GuestDevice, options: CommonOptions = {}): Promise<void> {
    return attachDevice(this.#core, device, options);
  }
  detachDevice(id: string, options: DetachOptions): Promise<DetachOutcome> {
    return detachDevice(this.#core, { kind: "device", id }, options);
  }
  setVcpus(vcpus: number, options: CommonOptions = {}): Promise<void> {
    return setVcpus(this.#core, vcpus, options);
  }
  setMemory(memoryMiB: number, options: CommonOptions = {}): Promise<void> {
    return setMemory(this.#core, memoryMiB, options);
  }
  setBalloon(memoryMiB: number, options: CommonOptions = {}): Promise<void> {
    return setBalloon(this.#core, memoryMiB, options);
  }
  describeMigration(): Promise<JsonObject> {
    return describeGuest(this.#core);
  }
  migrate(request: GuestMigrationRequest, options: GuestMigrationOptions = {}): Promise<MigrationOutcome> {
    return migrateGuest(this.#core, request, options);
  }
  abortMigration(): Promise<void> {
    return abortMigration(this.#core);
  }
  migrationOutcome(): Promise<MigrationOutcome | undefined> {
    return migrationOutcome(this.#core);
  }
  reclaimMigration(): Promise<void> {
    return reclaim(this.#core);
  }
  forceCompleteMigration(mode: "postcopy" | "pause"): Promise<void> {
    return forceCompletion(this.#core, mode);
  }

  changeMedium(diskId: string, source: DiskSource | undefined, options: ChangeMediumOptions = {}): Promise<void> {
    return changeMedium(this.#core, diskId, source, options);
  }
  limitDisk(diskId: string, limits: DiskLimits, options: CommonOptions = {}): Promise<void> {
    return limitDisk(this.#core, diskId, limits, options);
  }
  resizeDisk(diskId: string, sizeBytes: number, options: CommonOptions = {}): Promise<void> {
    return resizeDisk(this.#core, diskId, sizeBytes, options);
  }
  mirrorDisk(diskId: string, target: DiskSource, options: CommonOptions = {}): Promise<void> {
    return mirrorDisk(this.#core, diskId, target, options);
  }
  copyDisk(diskId: string, path: string, format: DiskSourceFormat, options: CopyOptions = {}): Promise<void> {
    return copyDisk(this.#core, diskId, path, format, options);
  }
  snapshotDisk(diskId: string, overlay: DiskSource, options: CommonOptions = {}): Promise<void> {
    return snapshotDisk(this.#core, diskId, overlay, options);
  }
  pullDisk(diskId: string, base: DiskSource | undefined, options: CommonOptions = {}): Promise<void> {
    return pullDisk(this.#core, diskId, base, options);
  }
  commitDisk(diskId: string, base: DiskSource, options: CommonOptions = {}): Promise<void> {
    return commitDisk(this.#core, diskId, base, options);
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
  dumpMemory(path: string, format: MemoryDumpFormat, options: DumpOptions = {}): Promise<void> {
    return dumpMemory(this.#core, path, format, options);
  }

  async consoleLog(options: CommonOptions & { readonly maxBytes: number }): Promise<ConsoleLog> {
    await this.#console?.idle();
    return readConsoleLog(this.#core, options.maxBytes);
  }
  openConsole(options: CommonOptions = {}): Promise<Duplex> {
    return this.#console?.open(options) ?? openConsole(this.#core, options);
  }
  consoleAddress(kind: ConsoleAddress["kind"], options: CommonOptions = {}): Promise<ConsoleAddress> {
    return consoleAddress(this.#core, kind, options);
  }
  setConsolePassword(kind: "vnc" | "spice", password: Secret, options: ConsolePasswordOptions = {}): Promise<void> {
    return setConsolePassword(this.#core, kind, password, options);
  }
  screenshot(options: CommonOptions = {}): Promise<Screenshot> {
    return takeScreenshot(this.#core, options);
  }
  injectNmi(options: CommonOptions = {}): Promise<void> {
    const core = this.#core;
    return inMemoryCall(core, "injectNmi", () => core.domain.injectNmi(core.limits(options)));
  }

  statistics(options: CommonOptions = {}): Promise<GuestStatistics> {
    return guestStatistics(this.#core, options);
  }
  diskStatistics(diskId: string, options: CommonOptions = {}): Promise<DiskStatistics> {
    return diskStatistics(this.#core, diskId, options);
  }
  interfaceStatistics(nicId: string, options: CommonOptions = {}): Promise<InterfaceStatistics> {
    return interfaceStatistics(this.#core, nicId, options);
  }
}
