/** KVM and QEMU on this host, as the driver's seam. */
import type { Duplex } from "node:stream";
import { ClosedError, throwIfAborted } from "../core/index.js";
import type { CommonOptions } from "../core/index.js";
import type {
  GuestDefinition,
  HostCpuStatistics,
  HostFacts,
  Hypervisor,
  HypervisorContext,
  HypervisorFeature,
  IncomingMigration,
  IncomingMigrationRequest,
} from "../driver/index.js";
import { InstanceNotFoundError } from "../driver/index.js";
import type { FileLock } from "../host/index.js";
import { checkDefinition, machineOf } from "./definition-check.js";
import { checkSupport, hasSpice } from "./hardware-check.js";
import { planOnHost } from "./plan-on-host.js";
import { GuestRegistry } from "./guest-registry.js";
import type { KvmGuest } from "./guest.js";
import type { GuestCore } from "./guest-core.js";
import type { KvmHost } from "./host.js";
import { readHostCpuStatistics, readHostFacts } from "./host-facts.js";
import { awaitGuest, expectedGuest, openMigrationChannel } from "./migration/incoming.js";
import { requireNotTaken, takeGuest } from "./migration/take-over.js";
import type { MigrationChannel } from "./migration/options.js";
import { asJson, parseDescription } from "./migration/token.js";
import { openHost } from "./open-host.js";
import type { AcceleratorInUse } from "./open-host.js";
import { resolveOptions } from "./options.js";
import type { KvmHypervisorOptions, ResolvedKvmOptions } from "./options.js";
import type { QemuCapabilities } from "./plan/capabilities.js";
import type { Accelerator, CommandLine } from "./plan/command-line.js";

/** What QEMU would be started with. */
export interface KvmPlan extends CommandLine {
  readonly binary: string;
  readonly accelerator: Accelerator;
}

/** What this hypervisor can do; each is implemented and tested with real guests. */
export const KVM_FEATURES = [
  "pause",
  "configDrive",
  "reset",
  "redefine",
  "hotplugDisk",
  "hotplugNic",
  "hotplugVcpu",
  "hotplugMemory",
  "hotplugDevice",
  "balloon",
  "resizeDisk",
  "mirrorDisk",
  "liveDiskCopy",
  "diskSnapshot",
  "changeMedium",
  "limitDisk",
  "backup",
  "dumpMemory",
  "consoleLog",
  "consoleStream",
  "serialConsole",
  "vncConsole",
  "consolePassword",
  "spiceConsole",
  "screenshot",
  "statistics",
  "crashDump",
  "guestAgent",
  "hostCpuStatistics",
  "suspend",
  "migration",
  "template",
] as const satisfies readonly HypervisorFeature[];

/** Consoles with pictures are parts of QEMU that a build, or an installation, may lack. */
function isBuiltIn(feature: HypervisorFeature, capabilities: QemuCapabilities): boolean {
  if (feature === "vncConsole") return capabilities.commands.includes("query-vnc");
  if (feature === "spiceConsole") return hasSpice(capabilities);
  if (feature === "consolePassword") return capabilities.commands.includes("query-vnc") || hasSpice(capabilities);
  return true;
}

/** What of a definition this QEMU and this host can't do is refused. */
function checked(host: KvmHost, definition: GuestDefinition): GuestDefinition {
  const { capabilities, accelerator, support } = host;
  const wanted = checkDefinition(definition, capabilities);
  checkSupport(wanted, machineOf(wanted, capabilities), capabilities, accelerator, support);
  return wanted;
}

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
  readonly #options: ResolvedKvmOptions;
  #opened: Opened | undefined;
  #opening: Promise<void> | undefined;

  /** @throws InvalidArgumentError that names the bad option */
  constructor(options: KvmHypervisorOptions) {
    this.#options = resolveOptions(options);
  }

  /** Before `open`, what there can be at most. */
  get features(): ReadonlySet<HypervisorFeature> {
    const capabilities = this.capabilities;
    return new Set(KVM_FEATURES.filter((feature) => capabilities === undefined || isBuiltIn(feature, capabilities)));
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
    guests.planHardware(checked(host, definition));
  }

  plan(definition: GuestDefinition): KvmPlan {
    const { host, guests } = this.#require();
    const wanted = checked(host, definition);
    const hardware = guests.planHardware(wanted, guests.core(wanted.uuid)?.state.hardware);
    const { binary, accelerator } = host;
    return { binary, accelerator, ...planOnHost(host, wanted, hardware).commandLine };
  }

  async define(definition: GuestDefinition): Promise<KvmGuest> {
    const { host, guests } = this.#require();
    const wanted = checked(host, definition);
    const { memoryMiB } = await this.hostFacts();
    return guests.define(wanted, memoryMiB);
  }

  async redefine(definition: GuestDefinition): Promise<KvmGuest> {
    const { host, guests } = this.#require();
    return guests.redefine(checked(host, definition));
  }

  async undefine(uuid: string): Promise<void> {
    await this.#require().guests.undefine(uuid);
  }

  async prepareIncoming(
    definition: GuestDefinition,
    request: IncomingMigrationRequest,
    options: CommonOptions = {},
  ): Promise<IncomingMigration> {
    const { host, guests } = this.#require();
    const description = request.guest === undefined ? undefined : parseDescription(request.guest);
    const expected = expectedGuest(host, checked(host, definition), description);
    const { memoryMiB } = await this.hostFacts();
    throwIfAborted(options.signal, "preparing for a guest");
    const { uuid } = await guests.define(checked(host, expected.definition), memoryMiB, {
      migration: { role: "destination", phase: "waiting", paused: request.paused === true },
      ...(expected.hardware === undefined ? {} : { hardware: expected.hardware }),
      ...(description?.checkpoints === undefined ? {} : { checkpoints: description.checkpoints }),
    });
    try {
      const token = await awaitGuest(guests.core(uuid) as GuestCore, request, options);
      return { token: asJson(token) };
    } catch (error) {
      await guests.undefine(uuid);
      throw error;
    }
  }

  async finishIncoming(uuid: string, options: CommonOptions = {}): Promise<KvmGuest> {
    const { guests } = this.#require();
    const core = guests.core(uuid);
    const guest = guests.find(uuid);
    if (core === undefined || guest === undefined) throw new InstanceNotFoundError(uuid);
    await takeGuest(core, options);
    return guest;
  }

  async abortIncoming(uuid: string): Promise<void> {
    const { guests } = this.#require();
    const core = guests.core(uuid);
    if (core === undefined) return;
    requireNotTaken(core);
    await guests.find(uuid)?.kill();
    await guests.undefine(uuid);
  }

  /**
   * The destination's end of a stream of a tunnel, for a guest that is waited for here.
   * @throws InstanceNotFoundError, InvalidStateError, HostIoError
   */
  async openMigrationChannel(uuid: string, channel: MigrationChannel): Promise<Duplex> {
    const core = this.#require().guests.core(uuid);
    if (core === undefined) throw new InstanceNotFoundError(uuid);
    return openMigrationChannel(core, channel);
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
