/** A guest on KVM: the seam of the driver, each method one mechanism. */
import type { Duplex } from "node:stream";
import type { CommonOptions } from "../core/index.js";
import { isAlive } from "../host/index.js";
import { ConsoleUnavailableError, DiskNotFoundError } from "../driver/index.js";
import type {
  ConsoleAddress,
  ConsoleLog,
  DetachOptions,
  DetachOutcome,
  DiskStatistics,
  Guest,
  GuestDefinition,
  GuestDisk,
  GuestInfo,
  GuestNic,
  GuestStatistics,
  InterfaceStatistics,
  Screenshot,
} from "../driver/index.js";
import { checkDisk, checkNic, diskCheck, nicCheck } from "./definition-check.js";
import { openConsole } from "./console/console-stream.js";
import { readConsoleLog } from "./console/console-log.js";
import { takeScreenshot } from "./console/screenshot.js";
import { powerStateOf } from "./events.js";
import { KvmGuestAgent } from "./guest-agent.js";
import type { GuestCore } from "./guest-core.js";
import type { GuestSession } from "./session.js";
import { cpuTimeNs, diskStatistics, guestStatistics, interfaceStatistics } from "./guest-statistics.js";
import { plugDisk, plugNic } from "./hotplug/plug.js";
import { detachDevice } from "./hotplug/unplug.js";
import { startGuest } from "./lifecycle/start.js";
import type { StartOptions } from "./lifecycle/start.js";
import { killGuest, requestShutdown, waitUntilStopped } from "./lifecycle/stop.js";
import { pauseGuest, resetGuest, resumeGuest } from "./lifecycle/vcpus.js";
import { diskNode } from "./plan/devices.js";
import { bindingOf } from "./plan/hardware.js";

export class KvmGuest implements Guest {
  readonly agent: KvmGuestAgent;
  readonly #core: GuestCore;

  constructor(core: GuestCore) {
    this.#core = core;
    this.agent = new KvmGuestAgent(core);
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
    if (session === undefined) return { state: this.#core.powerState, stale: false, memoryMiB, vcpus };
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
    const checked = diskCheck(disk, "disk");
    checkDisk(checked, this.#core.state.hardware.machine, "disk");
    await plugDisk(this.#core, checked, options);
  }
  detachDisk(diskId: string, options: DetachOptions): Promise<DetachOutcome> {
    return detachDevice(this.#core, "disk", diskId, options);
  }
  async attachNic(nic: GuestNic, options: CommonOptions = {}): Promise<void> {
    const checked = nicCheck(nic, "nic");
    checkNic(checked, this.#core.state.hardware.machine, this.#core.host.capabilities, "nic");
    await plugNic(this.#core, checked, options);
  }
  detachNic(nicId: string, options: DetachOptions): Promise<DetachOutcome> {
    return detachDevice(this.#core, "nic", nicId, options);
  }

  /** Rejects with `DiskNotFoundError`. Without effect while the guest is not in memory. */
  async resizeDisk(diskId: string, sizeBytes: number, options: CommonOptions = {}): Promise<void> {
    const binding = bindingOf(this.#core.state.hardware, "disk", diskId);
    if (!this.#core.definition.disks.some(({ id }) => id === diskId)) {
      throw new DiskNotFoundError(`the guest has no disk ${diskId}`, { instance: this.#core.instance, device: diskId });
    }
    const { session } = this.#core;
    if (session === undefined || binding === undefined) return;
    const limits = { signal: options.signal, deadlineMs: options.deadline };
    await session.execute("block_resize", { "node-name": diskNode(binding.handle), size: sizeBytes }, limits);
  }

  consoleLog(options: CommonOptions & { readonly maxBytes: number }): Promise<ConsoleLog> {
    return readConsoleLog(this.#core, options.maxBytes);
  }
  openConsole(options: CommonOptions = {}): Promise<Duplex> {
    return openConsole(this.#core, options);
  }
  async consoleAddress(kind: ConsoleAddress["kind"]): Promise<ConsoleAddress> {
    const { instance, files, inMemory } = this.#core;
    if (kind !== "serial" || !inMemory)
      throw new ConsoleUnavailableError(`the guest has no ${kind} console now`, { instance });
    return { kind, socketPath: files.console };
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

  async injectNmi(options: CommonOptions = {}): Promise<void> {
    const session = this.#core.requireSession("injectNmi");
    await session.execute("inject-nmi", {}, { signal: options.signal, deadlineMs: options.deadline });
  }
}
