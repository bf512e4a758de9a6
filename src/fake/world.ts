/** The simulated world: hosts with and without shared storage, the images and volumes that they reach, and the time. */
import { ConflictError, InvalidArgumentError, VirtualClock } from "../core/index.js";
import type { Clock } from "../core/index.js";
import { InstanceNotFoundError } from "../driver/index.js";
import type { InstanceSpec } from "../driver/index.js";
import type { BridgeVif } from "../network/index.js";
import { DiskLocks } from "./disk-locks.js";
import { FakeInvariantError } from "./errors.js";
import type { GuestBehaviour } from "./guest-behaviour.js";
import { GuestControl } from "./guest-control.js";
import { inMemory } from "./guest-record.js";
import type { GuestRecord } from "./guest-record.js";
import { FakeHost } from "./host.js";
import type { HostSurroundings } from "./host.js";
import type { FakeHostOptions } from "./host-facts.js";
import { FakeIds } from "./ids.js";
import { ImageRegistry } from "./image-registry.js";
import { violationsOf } from "./invariants.js";
import type { InvariantOptions } from "./invariants.js";
import { ledgerOf } from "./ledger.js";
import type { LedgerEntry, LedgerOptions } from "./ledger.js";
import { fakeSpec, fakeVif } from "./spec.js";
import { FakeStorage } from "./storage.js";
import { VolumeRegistry } from "./volume-registry.js";
import { checkSnapshot, loadHost, loadStorage, saveHost, saveStorage } from "./world-snapshot.js";
import type { WorldSnapshot } from "./world-snapshot.js";

export interface FakeWorldOptions {
  /** Default: a `VirtualClock` that moves on by itself whenever the program has nothing else to do. */
  readonly clock?: Clock;
  /** An integer that determines every id. Default 1. */
  readonly seed?: number;
  /** Default: none; `addHost` adds them, and a driver without a host adds one. */
  readonly hosts?: readonly FakeHostOptions[];
}

/** A driver that can be ended as `SIGKILL` ends a process, and started again over the same host. */
export interface Restartable<D> {
  crash(): void;
  restart(): D;
}

export class FakeWorld implements HostSurroundings {
  readonly clock: Clock;
  readonly images = new ImageRegistry();
  readonly volumes: VolumeRegistry;
  readonly locks = new DiskLocks();
  #ids: FakeIds;
  readonly #hosts = new Map<string, FakeHost>();
  readonly #storages = new Map<string, FakeStorage>();
  readonly #behaviours = new Map<string, Partial<GuestBehaviour>>();
  readonly #partitioned = new Set<string>();

  constructor(options: FakeWorldOptions = {}) {
    this.clock = options.clock ?? new VirtualClock({ autoAdvance: true });
    this.#ids = FakeIds.of(options.seed ?? 1);
    this.volumes = new VolumeRegistry(() => this.#ids.uuid());
    for (const host of options.hosts ?? []) this.addHost(host);
  }

  get hosts(): readonly FakeHost[] {
    return [...this.#hosts.values()];
  }

  /** @throws ConflictError when a host has the name. */
  addHost(options: FakeHostOptions = {}): FakeHost {
    const number = this.#hosts.size + 1;
    const name = options.name ?? `host-${number}`;
    if (this.#hosts.has(name)) throw new ConflictError(`The world has a host ${name}`);
    const storageName = options.storage ?? name;
    const storage = this.#storages.get(storageName) ?? new FakeStorage(storageName, options.storageOptions);
    this.#storages.set(storageName, storage);
    const host = new FakeHost(this, name, number, storage, options);
    this.#hosts.set(name, host);
    return host;
  }

  /** @throws InvalidArgumentError when there is none. */
  host(name: string): FakeHost {
    const host = this.#hosts.get(name);
    if (host === undefined)
      throw new InvalidArgumentError({ field: "host", value: name, expected: "a host of the world" });
    return host;
  }

  hostNamed(name: string): FakeHost | undefined {
    return this.#hosts.get(name);
  }

  /** Cuts a host off from all others and from the image and volume services, until `heal`. Its guests run on, and so does its storage. */
  partition(name: string): void {
    this.#partitioned.add(this.host(name).name);
  }

  heal(name: string): void {
    this.#partitioned.delete(name);
  }

  reachable(from: FakeHost, to: FakeHost | "services"): boolean {
    return from === to || !(this.#partitioned.has(from.name) || (to !== "services" && this.#partitioned.has(to.name)));
  }

  /** How one guest behaves, wherever it is; may be said before it is spawned. */
  setBehaviour(uuid: string, behaviour: Partial<GuestBehaviour>): void {
    this.#behaviours.set(uuid, { ...this.#behaviours.get(uuid), ...behaviour });
  }

  ownBehaviour(uuid: string): Partial<GuestBehaviour> | undefined {
    return this.#behaviours.size === 0 ? undefined : this.#behaviours.get(uuid);
  }

  /** The guest of an instance, on the host on which it runs. @throws InstanceNotFoundError */
  guest(uuid: string): GuestControl {
    const found = this.#locate(uuid);
    if (found === undefined) throw new InstanceNotFoundError(uuid);
    return new GuestControl(found.host, found.record, (behaviour) => this.setBehaviour(uuid, behaviour));
  }

  /** Its hypervisor process dies. @throws InstanceNotFoundError */
  crashGuest(uuid: string): void {
    this.guest(uuid).crash();
  }

  /** Somebody else takes it off its host. @throws InstanceNotFoundError */
  removeGuest(uuid: string): void {
    this.guest(uuid).remove();
  }

  /** Ends a driver's process at once, and gives a new driver over the same host: its guests have run on, its state is what was durable. */
  restartDriver<D extends Restartable<D>>(driver: D): D {
    return driver.restart();
  }

  /** A small instance whose ids the seed determines. */
  spec(overrides: Partial<InstanceSpec> = {}): InstanceSpec {
    return fakeSpec(overrides, this.#ids);
  }

  /** A port on the bridge `br0` whose ids the seed determines. */
  vif(overrides: Partial<Omit<BridgeVif, "type">> = {}): BridgeVif {
    return fakeVif(overrides, this.#ids);
  }

  /** Everything that instances have on the hosts: equal before and after what must leave nothing behind. */
  ledger(options: LedgerOptions = {}): readonly LedgerEntry[] {
    return ledgerOf(this.hosts, options);
  }

  /** What is not as it must be when no operation is under way; empty when all is well. */
  checkInvariants(options: InvariantOptions = {}): readonly string[] {
    return violationsOf(this.hosts, options);
  }

  /** @throws FakeInvariantError that names everything that `checkInvariants` finds. */
  assertSound(options: InvariantOptions = {}): void {
    const violations = this.checkInvariants(options);
    if (violations.length > 0) throw new FakeInvariantError(violations);
  }

  /** The whole world as plain data (secrets stay `Secret`s). What drivers have under way is not part of it. */
  snapshot(): WorldSnapshot {
    return {
      version: 1,
      now: this.clock.now(),
      ids: this.#ids.state,
      images: structuredClone([...this.images.all]),
      volumes: saveStorage(this.volumes.storage),
      storages: [...this.#storages.values()].map(saveStorage),
      hosts: this.hosts.map(saveHost),
      behaviours: structuredClone([...this.#behaviours]),
      partitioned: [...this.#partitioned],
    };
  }

  /**
   * Makes this world what the snapshot says. All drivers over it die, as by `crash()`; time does not go back, and what was
   * planned for a moment after the snapshot comes as long after the restoring.
   */
  restore(snapshot: WorldSnapshot): void {
    checkSnapshot(snapshot);
    const shiftMs = this.clock.now() - snapshot.now;
    for (const host of this.hosts) {
      host.process?.crash();
      host.clear();
    }
    this.#hosts.clear();
    this.#storages.clear();
    this.locks.clear();
    this.#ids = new FakeIds(snapshot.ids);
    this.images.clear();
    for (const image of structuredClone(snapshot.images)) this.images.set(image);
    loadStorage(this.volumes.storage, snapshot.volumes);
    for (const storage of snapshot.storages) {
      const { name, capacityBytes, thick } = storage;
      const loaded = new FakeStorage(name, { capacityBytes, thick });
      loadStorage(loaded, storage);
      this.#storages.set(name, loaded);
    }
    this.#behaviours.clear();
    for (const [uuid, behaviour] of snapshot.behaviours) this.#behaviours.set(uuid, { ...behaviour });
    this.#partitioned.clear();
    for (const name of snapshot.partitioned) this.#partitioned.add(name);
    for (const host of snapshot.hosts) loadHost(this.addHost({ ...host.options, name: host.name }), host, shiftMs);
  }

  /** A new world made from a snapshot, at the moment of the snapshot. */
  static from(snapshot: WorldSnapshot, options: Pick<FakeWorldOptions, "clock"> = {}): FakeWorld {
    const clock = options.clock ?? new VirtualClock({ now: snapshot.now, autoAdvance: true });
    const world = new FakeWorld({ clock });
    world.restore(snapshot);
    return world;
  }

  #locate(uuid: string): { readonly host: FakeHost; readonly record: GuestRecord } | undefined {
    const found = this.hosts.flatMap((host) => {
      const record = host.guests.get(uuid);
      return record === undefined ? [] : [{ host, record }];
    });
    return found.find(({ record }) => inMemory(record) && record.incoming !== "waiting") ?? found[0];
  }
}
