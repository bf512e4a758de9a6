/** One host of the world: its guests, and everything that guests have on it. */
import { ConflictError } from "../core/index.js";
import type { Clock, Secret } from "../core/index.js";
import { InstanceNotFoundError } from "../driver/index.js";
import type { CpuModel, EventCause, HypervisorEvent, LifecycleTransition, NumaCell } from "../driver/index.js";
import { isLocalSource } from "../storage/index.js";
import type { DiskSource } from "../storage/index.js";
import type { DiskLocks } from "./disk-locks.js";
import { DEFAULT_BEHAVIOUR } from "./guest-behaviour.js";
import type { GuestBehaviour } from "./guest-behaviour.js";
import type { GuestRecord } from "./guest-record.js";
import { DEFAULT_CPU, DEFAULT_RATES } from "./host-facts.js";
import type { FakeHostOptions, HostRates } from "./host-facts.js";
import type { ImageRegistry } from "./image-registry.js";
import type { FakeFile, FakeStorage } from "./storage.js";
import type { VolumeRegistry } from "./volume-registry.js";

/** What a host needs of the world around it. */
export interface HostSurroundings {
  readonly clock: Clock;
  readonly images: ImageRegistry;
  readonly volumes: VolumeRegistry;
  readonly locks: DiskLocks;
  /** How a guest behaves, when a test has said so for it alone. */
  ownBehaviour(uuid: string): Partial<GuestBehaviour> | undefined;
  hostNamed(name: string): FakeHost | undefined;
  /** False while a partition stands between the two, or between a host and the world's services. */
  reachable(from: FakeHost, to: FakeHost | "services"): boolean;
}

/** A port on the host. */
export interface PluggedPort {
  readonly id: string;
  readonly owner: string;
  readonly type: "bridge" | "user";
  readonly macAddress: string;
  /** Empty for a user-mode port. */
  readonly deviceName: string;
  readonly bridge: string;
  readonly queues: number;
  readonly addresses: readonly string[];
  /** False: the TAP is there, but not yet on its bridge. */
  bridged: boolean;
}

/** A volume that the host reaches. */
export interface ConnectedVolume {
  readonly volumeId: string;
  readonly type: string;
  /** Instances that use it here. */
  readonly users: Set<string>;
}

export interface InstanceFilter {
  readonly owner: string;
  readonly name: string;
  stage: "basic" | "prepared" | "applied";
  ports: readonly { readonly id: string; readonly securityGroups: readonly string[]; readonly filtered: boolean }[];
}

/** The driver process that hears of a host's guests. */
export interface HostProcess {
  hear(event: HypervisorEvent): void;
  crash(): void;
}

export class FakeHost {
  readonly name: string;
  /** Its place among the hosts of the world, from 1. */
  readonly number: number;
  readonly options: FakeHostOptions;
  readonly world: HostSurroundings;
  readonly storage: FakeStorage;
  readonly ipAddress: string;
  readonly cpu: CpuModel;
  readonly numa: readonly NumaCell[] | undefined;
  readonly rates: HostRates;
  bootedAt: number;

  readonly guests = new Map<string, GuestRecord>();
  readonly uuidByName = new Map<string, string>();
  readonly ports = new Map<string, PluggedPort>();
  readonly portByDevice = new Map<string, string>();
  readonly volumes = new Map<string, ConnectedVolume>();
  readonly filters = new Map<string, InstanceFilter>();
  readonly secrets = new Map<string, Secret>();
  /** What the driver keeps durably, as JSON text. */
  readonly state = new Map<string, string>();
  /** When each cached image was last used. */
  readonly imageUses = new Map<string, number>();
  readonly consolePorts = new Set<number>();
  readonly claimed = { memoryMiB: 0, vcpus: 0, guests: 0 };
  /** False while the hypervisor does not answer its driver. */
  connected = true;
  /** Ports and volumes that are not the world's: the embedder has brought collaborators of its own. */
  foreign: { ports: boolean } = { ports: false };
  #process: HostProcess | undefined;
  #behaviour: GuestBehaviour;

  constructor(world: HostSurroundings, name: string, number: number, storage: FakeStorage, options: FakeHostOptions) {
    this.world = world;
    this.name = name;
    this.number = number;
    this.options = options;
    this.storage = storage;
    this.ipAddress = options.ipAddress ?? `192.0.2.${number}`;
    this.cpu = options.cpu ?? DEFAULT_CPU;
    this.numa = options.numa;
    this.rates = ratesOf(options.rates);
    this.bootedAt = world.clock.now();
    this.#behaviour = { ...DEFAULT_BEHAVIOUR, ...options.behaviour };
  }

  get behaviour(): GuestBehaviour {
    return this.#behaviour;
  }

  get vcpus(): number {
    return this.options.vcpus ?? 1000;
  }
  get memoryMiB(): number {
    return this.options.memoryMiB ?? 800_000;
  }
  get reservedMemoryMiB(): number {
    return this.options.reservedMemoryMiB ?? 512;
  }
  /** Memory that guests may have together. */
  get guestMemoryMiB(): number {
    return (this.memoryMiB - this.reservedMemoryMiB) * (this.options.memoryAllocationRatio ?? 1);
  }
  /** vCPUs that guests may have together. */
  get guestVcpus(): number {
    return this.vcpus * (this.options.vcpuAllocationRatio ?? 16);
  }

  /** Changes how guests behave on this host. */
  setBehaviour(behaviour: Partial<GuestBehaviour>): void {
    this.#behaviour = { ...this.#behaviour, ...behaviour };
  }

  behaviourOf(uuid: string): GuestBehaviour {
    const own = this.world.ownBehaviour(uuid);
    return own === undefined ? this.#behaviour : { ...this.#behaviour, ...own };
  }

  /** @throws InstanceNotFoundError */
  guest(uuid: string): GuestRecord {
    const record = this.guests.get(uuid);
    if (record === undefined) throw new InstanceNotFoundError(uuid);
    return record;
  }

  addGuest(record: GuestRecord): void {
    this.guests.set(record.definition.uuid, record);
    this.uuidByName.set(record.definition.name, record.definition.uuid);
  }

  dropGuest(record: GuestRecord): void {
    this.guests.delete(record.definition.uuid);
    this.uuidByName.delete(record.definition.name);
  }

  /** Takes everything off the host, without an event. */
  clear(): void {
    for (const record of this.guests.values()) for (const timer of record.timers ?? []) timer.cancel();
    const parts = [
      this.guests,
      this.uuidByName,
      this.ports,
      this.portByDevice,
      this.volumes,
      this.filters,
      this.secrets,
    ];
    for (const part of [...parts, this.state, this.imageUses, this.consolePorts]) part.clear();
    Object.assign(this.claimed, { memoryMiB: 0, vcpus: 0, guests: 0 });
  }

  emit(event: HypervisorEvent): void {
    if (this.connected) this.#process?.hear(event);
  }

  lifecycle(record: GuestRecord, transition: LifecycleTransition, cause: EventCause, detail?: string): void {
    const { uuid, name } = record.definition;
    this.emit({ type: "lifecycle", uuid, name, transition, cause, ...(detail === undefined ? {} : { detail }) });
  }

  /** A driver process begins to drive this host. @throws ConflictError when another one does. */
  processOpened(process: HostProcess): void {
    if (this.#process !== undefined && this.#process !== process) {
      throw new ConflictError("Another driver process drives this host", {
        remedy: "Close that driver, or crash it, before you open a second one over the same host.",
      });
    }
    this.#process = process;
  }

  processEnded(process: HostProcess): void {
    if (this.#process === process) this.#process = undefined;
  }

  /** The process that drives this host now. */
  get process(): HostProcess | undefined {
    return this.#process;
  }

  /** The hypervisor ceases to answer its driver; guests run on. */
  disconnect(reason?: string): void {
    if (!this.connected) return;
    this.emit({ type: "connection", state: "lost", ...(reason === undefined ? {} : { reason }) });
    this.connected = false;
  }

  reconnect(): void {
    if (this.connected) return;
    this.connected = true;
    this.emit({ type: "connection", state: "connected" });
  }

  /** The file behind a disk source. `foreign`: not of this world, taken as it is; undefined: there is none, or it is not connected here. */
  resolve(source: DiskSource | undefined): FakeFile | "foreign" | undefined {
    if (source === undefined) return undefined;
    if (!isLocalSource(source)) return "foreign";
    const { path } = source;
    const volumes = this.world.volumes;
    if (path.startsWith(volumes.devicePrefix)) {
      const id = path.slice(volumes.devicePrefix.length);
      return this.volumes.has(id) ? volumes.file(id) : undefined;
    }
    if (!path.startsWith("/fake/")) return "foreign";
    return this.storage.get(path) ?? volumes.storage.get(path);
  }

  /** The storage that a file which this host sees is on. */
  storageOf(file: FakeFile): FakeStorage {
    return file.kind === "volumeFile" ? this.world.volumes.storage : this.storage;
  }
}

/** `Infinity` becomes null on its way through JSON, and means the same again afterwards. */
function ratesOf(given: Partial<HostRates> = {}): HostRates {
  const rate = (name: keyof HostRates): number => (name in given ? (given[name] ?? Infinity) : DEFAULT_RATES[name]);
  return { imageMiBps: rate("imageMiBps"), diskMiBps: rate("diskMiBps"), migrationMiBps: rate("migrationMiBps") };
}
