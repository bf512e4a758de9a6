/** KVM and QEMU on this host, as the driver's seam. */
import { ClosedError } from "../core/index.js";
import type { CommonOptions } from "../core/index.js";
import type {
  GuestDefinition,
  HostCpuStatistics,
  HostFacts,
  Hypervisor,
  HypervisorContext,
  HypervisorFeature,
} from "../driver/index.js";
import type { FileLock } from "../host/index.js";
import { checkDefinition } from "./definition-check.js";
import { GuestRegistry } from "./guest-registry.js";
import type { KvmGuest } from "./guest.js";
import type { KvmHost } from "./host.js";
import { readHostCpuStatistics, readHostFacts } from "./host-facts.js";
import { openHost } from "./open-host.js";
import type { AcceleratorInUse } from "./open-host.js";
import { resolveOptions } from "./options.js";
import type { KvmHypervisorOptions, ResolvedKvmOptions } from "./options.js";
import type { QemuCapabilities } from "./plan/capabilities.js";
import { planCommandLine } from "./plan/command-line.js";
import type { Accelerator, CommandLine } from "./plan/command-line.js";

/** What QEMU would be started with. */
export interface KvmPlan extends CommandLine {
  readonly binary: string;
  readonly accelerator: Accelerator;
}

/** What this hypervisor can do; each is implemented and tested with real guests. */
export const KVM_FEATURES = [
  "pause",
  "reset",
  "redefine",
  "hotplugDisk",
  "hotplugNic",
  "resizeDisk",
  "consoleLog",
  "consoleStream",
  "serialConsole",
  "screenshot",
  "statistics",
  "crashDump",
  "guestAgent",
  "hostCpuStatistics",
] as const satisfies readonly HypervisorFeature[];

interface Opened {
  readonly host: KvmHost;
  readonly accelerator: AcceleratorInUse;
  readonly lock: FileLock;
  readonly guests: GuestRegistry;
}

/**
 * Runs guests by QEMU processes of its own, which outlive this process. All that is known of them stands in the state directory, which one
 * process at a time may use.
 */
export class KvmHypervisor implements Hypervisor {
  readonly type = "kvm";
  readonly features: ReadonlySet<HypervisorFeature> = new Set(KVM_FEATURES);
  readonly #options: ResolvedKvmOptions;
  #opened: Opened | undefined;
  #opening: Promise<void> | undefined;

  /** @throws InvalidArgumentError that names the bad option */
  constructor(options: KvmHypervisorOptions) {
    this.#options = resolveOptions(options);
  }

  /** What guests run on, and why; undefined before `open`. */
  get accelerator(): AcceleratorInUse | undefined {
    return this.#opened?.accelerator;
  }

  /** What the QEMU binary can do; undefined before `open`. */
  get capabilities(): QemuCapabilities | undefined {
    return this.#opened?.host.capabilities;
  }

  /** @throws HypervisorUnavailableError, HostIoError, AbortedError; then nothing is held */
  open(context: HypervisorContext, options: CommonOptions = {}): Promise<void> {
    this.#opening ??= this.#open(context, options.signal).finally(() => (this.#opening = undefined));
    return this.#opening;
  }

  async close(): Promise<void> {
    await this.#opening?.catch(() => undefined);
    const opened = this.#opened;
    this.#opened = undefined;
    if (opened === undefined) return;
    await opened.guests.release();
    await opened.lock.release();
  }

  async hostFacts(): Promise<HostFacts> {
    const { host } = this.#require();
    return readHostFacts(host.capabilities, host.accelerator);
  }

  hostCpuStatistics(): Promise<HostCpuStatistics> {
    return readHostCpuStatistics();
  }

  check(definition: GuestDefinition): void {
    const { host, guests } = this.#require();
    guests.planHardware(checkDefinition(definition, host.capabilities));
  }

  plan(definition: GuestDefinition): KvmPlan {
    const { host, guests } = this.#require();
    const checked = checkDefinition(definition, host.capabilities);
    const hardware = guests.planHardware(checked, guests.core(checked.uuid)?.state.hardware);
    const { binary, capabilities, accelerator, cpuModel, network } = host;
    const pidFile = host.store.files(checked.uuid).pid;
    return {
      binary,
      accelerator,
      ...planCommandLine({ definition: checked, hardware, capabilities, accelerator, cpuModel, network, pidFile }),
    };
  }

  async define(definition: GuestDefinition): Promise<KvmGuest> {
    const { host, guests } = this.#require();
    const checked = checkDefinition(definition, host.capabilities);
    const { memoryMiB } = await this.hostFacts();
    return guests.define(checked, memoryMiB);
  }

  async redefine(definition: GuestDefinition): Promise<KvmGuest> {
    const { host, guests } = this.#require();
    return guests.redefine(checkDefinition(definition, host.capabilities));
  }

  async undefine(uuid: string): Promise<void> {
    await this.#require().guests.undefine(uuid);
  }

  async find(uuid: string): Promise<KvmGuest | undefined> {
    return this.#require().guests.find(uuid);
  }

  async list(): Promise<readonly KvmGuest[]> {
    return this.#require().guests.list();
  }

  async #open(context: HypervisorContext, signal: AbortSignal | undefined): Promise<void> {
    if (this.#opened !== undefined) return;
    const { host, accelerator, lock } = await openHost(this.#options, context, signal);
    const guests = new GuestRegistry(host);
    try {
      await guests.load();
    } catch (error) {
      await guests.release();
      await lock.release();
      throw error;
    }
    this.#opened = { host, accelerator, lock, guests };
  }

  #require(): Opened {
    if (this.#opened === undefined) throw new ClosedError("the hypervisor is not open");
    return this.#opened;
  }
}
