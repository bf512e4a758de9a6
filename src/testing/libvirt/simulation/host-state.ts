/** What is on one simulated host. Handlers change it; whoever listens hears events. */
import type { Clock, TimerHandle } from "../../../core/index.js";
import type { EventData, EventFamily, EventName } from "../../../libvirt/rpc/index.js";
import type {
  parseNetworkPortXml,
  parseNetworkXml,
  parseNodeDeviceXml,
  parseNwFilterBindingXml,
  parseNwFilterXml,
  parseSecretXml,
  parseStoragePoolXml,
  parseStorageVolumeXml,
} from "../../../libvirt/xml/index.js";
import { DEFAULT_SIMULATED_BEHAVIOUR } from "./behaviour.js";
import type { SimulatedGuestBehaviour } from "./behaviour.js";
import type { DomainRecord, SavedImage } from "./domain-record.js";
import { refusal } from "./refuse.js";
import { RELEASE_TRAITS } from "./release.js";
import type { ReleaseTraits, SimulatedLibvirtRelease } from "./release.js";

export interface NetworkRecord {
  document: ReturnType<typeof parseNetworkXml>;
  readonly uuid: string;
  readonly name: string;
  active: boolean;
  persistent: boolean;
  autostart: boolean;
  /** By uuid. */
  readonly ports: Map<string, NetworkPortRecord>;
}

export type NetworkPortRecord = ReturnType<typeof parseNetworkPortXml> & { readonly uuid: string };

export interface SecretRecord {
  document: ReturnType<typeof parseSecretXml>;
  readonly uuid: string;
  value: Buffer | undefined;
}

export interface VolumeRecord {
  document: ReturnType<typeof parseStorageVolumeXml>;
  readonly name: string;
  readonly path: string;
  capacity: bigint;
  /** What was written; bytes beyond it are zeros. */
  content: Buffer;
}

export interface PoolRecord {
  document: ReturnType<typeof parseStoragePoolXml>;
  readonly uuid: string;
  readonly name: string;
  active: boolean;
  persistent: boolean;
  autostart: boolean;
  readonly volumes: Map<string, VolumeRecord>;
}

/** What the host's hardware is. */
export interface SimulatedHardware {
  readonly memoryKiB: bigint;
  readonly cpus: number;
  readonly mhz: number;
  readonly cpuModel: string;
}

export interface HostOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly hardware: SimulatedHardware;
  readonly behaviour: Partial<SimulatedGuestBehaviour>;
  readonly release: SimulatedLibvirtRelease;
  readonly qemuVersion?: number | undefined;
}

/** Where events go. */
export interface EventSink {
  emit<F extends EventFamily, N extends EventName<F>>(family: F, name: N, data: EventData<F, N>): void;
}

export class HostState {
  readonly name: string;
  readonly clock: Clock;
  readonly hardware: SimulatedHardware;
  readonly release: ReleaseTraits;
  readonly domains = new Map<string, DomainRecord>();
  readonly networks = new Map<string, NetworkRecord>();
  readonly nwFilters = new Map<string, ReturnType<typeof parseNwFilterXml>>();
  readonly nwFilterBindings = new Map<string, ReturnType<typeof parseNwFilterBindingXml>>();
  readonly secrets = new Map<string, SecretRecord>();
  readonly pools = new Map<string, PoolRecord>();
  readonly nodeDevices = new Map<string, ReturnType<typeof parseNodeDeviceXml>>();
  /** Hosts to which domains can migrate, by name. */
  readonly peers = new Map<string, HostState>();
  /** Sizes of the files that are no volumes, as domains see them, by path. */
  readonly fileSizes = new Map<string, bigint>();
  /** Guests that were saved to files, by path. */
  readonly savedFiles = new Map<string, SavedImage>();
  readonly #behaviours = new Map<string, Partial<SimulatedGuestBehaviour>>();
  readonly #timers = new Set<TimerHandle>();
  #behaviour: SimulatedGuestBehaviour;
  #nextId = 1;
  #nextMac = 1;
  #nextPort = 0;
  #events: EventSink | undefined;
  #closed = false;

  constructor(options: HostOptions) {
    this.name = options.name;
    this.clock = options.clock;
    this.hardware = options.hardware;
    const traits = RELEASE_TRAITS[options.release];
    const { qemuVersion = traits.qemuVersion } = options;
    this.release = { ...traits, qemuVersion: BigInt(qemuVersion) };
    this.#behaviour = { ...DEFAULT_SIMULATED_BEHAVIOUR, ...options.behaviour };
  }

  /** Says who hears of events. */
  listen(sink: EventSink): void {
    this.#events = sink;
  }

  emit<F extends EventFamily, N extends EventName<F>>(family: F, name: N, data: EventData<F, N>): void {
    this.#events?.emit(family, name, data);
  }

  /** How a domain's guest behaves: what was said for it by uuid or name, else for all. */
  behaviourOf(domain: { readonly uuid: string; readonly name: string }): SimulatedGuestBehaviour {
    return { ...this.#behaviour, ...this.#behaviours.get(domain.name), ...this.#behaviours.get(domain.uuid) };
  }

  setBehaviour(behaviour: Partial<SimulatedGuestBehaviour>, domain?: string): void {
    if (domain === undefined) this.#behaviour = { ...this.#behaviour, ...behaviour };
    else this.#behaviours.set(domain, { ...this.#behaviours.get(domain), ...behaviour });
  }

  /** A port for a migration to come in. */
  takeMigrationPort(): number {
    return 49_152 + (this.#nextPort++ % 64);
  }

  takeDomainId(): number {
    return this.#nextId++;
  }

  /** An address in the range that QEMU's guests have. */
  takeMac(): string {
    const number = this.#nextMac++;
    const bytes = [number >> 16, number >> 8, number].map((byte) => (byte & 0xff).toString(16).padStart(2, "0"));
    return `52:54:00:${bytes.join(":")}`;
  }

  /** @throws FakeLibvirtError as libvirt says it */
  domain({ uuid, name }: { readonly uuid: string; readonly name: string }): DomainRecord {
    const record = this.domains.get(uuid);
    if (record === undefined)
      throw refusal("noDomain", "qemu", `Domain not found: no domain with matching uuid '${uuid}' (${name})`);
    return record;
  }

  /** @throws FakeLibvirtError when it is off */
  activeDomain(reference: { readonly uuid: string; readonly name: string }): DomainRecord {
    const record = this.domain(reference);
    if (!record.active)
      throw refusal("operationInvalid", "domain", "Requested operation is not valid: domain is not running");
    return record;
  }

  /** One that nothing is under way with that holds it. @throws FakeLibvirtError as libvirt says it, though at once */
  unlockedDomain(reference: { readonly uuid: string; readonly name: string }): DomainRecord {
    const record = this.domain(reference);
    if (record.job?.kind === "migration" || record.incoming !== undefined)
      throw refusal("operationTimeout", "none", "Timed out during operation: cannot acquire state change lock");
    return record;
  }

  /** Runs something after so much time, at the soonest after the handlers that run now have answered. */
  later(ms: number, run: () => void, owner?: Set<TimerHandle>): void {
    const timers = owner ?? this.#timers;
    const start = ms > 0 ? (fn: () => void) => this.clock.setTimeout(fn, ms) : soon;
    const timer: TimerHandle = start(() => {
      timers.delete(timer);
      if (!this.#closed) run();
    });
    timers.add(timer);
  }

  /** Nothing happens any more. */
  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) timer.cancel();
    for (const { timers } of this.domains.values()) for (const timer of timers) timer.cancel();
  }
}

function soon(run: () => void): TimerHandle {
  const immediate = setImmediate(run);
  return {
    cancel: () => clearImmediate(immediate),
    unref: () => void immediate.unref(),
  };
}
