/** A guest on libvirt: the seam of the driver, each method one mechanism. */
import type { CommonOptions } from "../../core/index.js";
import type {
  DetachOptions,
  DetachOutcome,
  Guest,
  GuestDefinition,
  GuestDisk,
  GuestInfo,
  GuestNic,
} from "../../driver/index.js";
import type { GuestCore } from "./guest-core.js";
import { attachDisk, attachNic } from "./hotplug/attach.js";
import { detachDevice } from "./hotplug/detach.js";
import { readInfo } from "./lifecycle/info.js";
import { startGuest } from "./lifecycle/start.js";
import type { StartOptions } from "./lifecycle/start.js";
import { killGuest, requestShutdown, waitUntilStopped } from "./lifecycle/stop.js";
import { pauseGuest, resetGuest, resumeGuest } from "./lifecycle/vcpus.js";

export class LibvirtGuest implements Guest {
  readonly #core: GuestCore;

  constructor(core: GuestCore) {
    this.#core = core;
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
  resume(options: CommonOptions = {}): Promise<void> {
    return resumeGuest(this.#core, options);
  }
  reset(options: CommonOptions = {}): Promise<void> {
    return resetGuest(this.#core, options);
  }

  attachDisk(disk: GuestDisk, options: CommonOptions = {}): Promise<void> {
    return attachDisk(this.#core, disk, options);
  }
  detachDisk(diskId: string, options: DetachOptions): Promise<DetachOutcome> {
    return detachDevice(this.#core, "disk", diskId, options);
  }
  attachNic(nic: GuestNic, options: CommonOptions = {}): Promise<void> {
    return attachNic(this.#core, nic, options);
  }
  detachNic(nicId: string, options: DetachOptions): Promise<DetachOutcome> {
    return detachDevice(this.#core, "nic", nicId, options);
  }
}
