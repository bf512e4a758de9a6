/** The fake driver: the choreography that all drivers share, over a simulated world. */
import { OperationController, onAbort } from "../core/index.js";
import type { Clock, CommonOptions, OperationHandle, StateStore } from "../core/index.js";
import { BaseDriver, HANDLE_METHODS } from "../driver/index.js";
import type { AllFacets, Collaborators, ComputeDriver, DriverTimeouts, HypervisorFeature } from "../driver/index.js";
import { CallJournal, DEFAULT_CALL_LIMIT, uuidOf } from "./call-journal.js";
import type { DriverCall } from "./call-journal.js";
import { FULL_MACHINE } from "./check-definition.js";
import { FakeConfigDriveBuilder } from "./config-drive-builder.js";
import { FakeDiskBackend } from "./disk-backend.js";
import { DRIVER_METHODS } from "./fault-points.js";
import type { DriverMethod } from "./fault-points.js";
import type { EventFaults } from "./events.js";
import type { Faults } from "./faults.js";
import { FakeExportedFiles } from "./exported-files.js";
import { FakeFirewallDriver } from "./firewall-driver.js";
import type { FakeHost } from "./host.js";
import type { FakeHostOptions } from "./host-facts.js";
import { FakeHypervisor } from "./hypervisor.js";
import { FakeImageStore } from "./image-store.js";
import { FAKE_PRESETS } from "./presets.js";
import type { FakePreset, FakePresetName } from "./presets.js";
import { FakeProcess } from "./process.js";
import { FakeSecretStore } from "./secret-store.js";
import { FakeStateStore } from "./state-store.js";
import { FakeVifPlugger } from "./vif-plugger.js";
import { FakeVolumeConnector } from "./volume-connector.js";
import { FAKE_VOLUME_TYPES } from "./volume-registry.js";
import { FakeWorld } from "./world.js";

export interface FakeDriverOptions {
  /** Default: a world of its own. */
  readonly world?: FakeWorld;
  /** Name of a host of the world, or what a new one is to be like. Default: the world's first host. */
  readonly host?: string | FakeHostOptions;
  /** Of the driver's own world; a `VirtualClock` that moves on by itself by default. */
  readonly clock?: Clock;
  /** Of the driver's own world. Default 1. */
  readonly seed?: number;
  readonly timeouts?: Partial<DriverTimeouts>;
  /** Default: kept by the host, so that a restarted driver finds it. */
  readonly state?: StateStore;
  /** In place of the simulated ones; they then have no fault points and stand in no ledger. */
  readonly collaborators?: Partial<Omit<Collaborators, "clock" | "state">>;
  /** Calls that `calls` keeps. Default 10,000. */
  readonly callLimit?: number;
}

/** For drivers that lack something: a preset's name, or a set of features of one's own. */
export type FakeCapabilities = FakePresetName | FakePreset | Iterable<HypervisorFeature>;

/** A fake driver with any set of capabilities: ask `supports` before you call a facet, as with any driver. */
export class PartialFakeDriver extends BaseDriver {
  readonly world: FakeWorld;
  readonly host: FakeHost;
  readonly firewall: FakeFirewallDriver;
  readonly #process: FakeProcess;
  readonly #journal: CallJournal;
  readonly #options: FakeDriverOptions;
  readonly #preset: FakePreset;

  constructor(
    options: FakeDriverOptions = {},
    capabilities: FakeCapabilities = "full",
    seat: Seat = takeSeat(options),
  ) {
    const { process, world } = seat;
    const preset = presetOf(capabilities);
    const firewall = new FakeFirewallDriver(process);
    super({
      hypervisor: new FakeHypervisor(process, preset),
      collaborators: { ...createFakeCollaborators(process, options.state), firewall, ...options.collaborators },
      ...(options.timeouts === undefined ? {} : { timeouts: options.timeouts }),
    });
    process.host.foreign.ports = options.collaborators?.vifs !== undefined;
    this.world = world;
    this.host = process.host;
    this.firewall = firewall;
    this.#process = process;
    this.#journal = new CallJournal(process.clock, options.callLimit ?? DEFAULT_CALL_LIMIT);
    this.#options = options;
    this.#preset = preset;
    onAbort(process.death, () => void super.close().catch(() => undefined));
  }

  get clock(): Clock {
    return this.#process.clock;
  }
  /** What is to go wrong, and the trace of what is passed. Outlives `restart`. */
  get faults(): Faults {
    return this.#process.faults;
  }
  /** What is to happen to the hypervisor's events on their way. Outlives `restart`. */
  get eventFaults(): EventFaults {
    return this.#process.eventFaults;
  }
  /** The last calls on this driver, oldest first, without secrets. */
  get calls(): readonly DriverCall[] {
    return this.#journal.calls;
  }
  clearCalls(): void {
    this.#journal.clear();
  }

  /**
   * Ends the driver's process as `SIGKILL` does: what it has under way stops where it is, undoes nothing, and rejects with
   * `FakeProcessCrashedError` or the error that led there. Guests run on.
   */
  crash(): void {
    this.#process.crash();
  }

  get crashed(): boolean {
    return !this.#process.alive;
  }

  /** Crashes this driver, and gives a new one over the same host: call its `initHost`. */
  restart(): this {
    this.crash();
    const host = this.world.host(this.host.name);
    const process = new FakeProcess(host, { faults: this.faults, eventFaults: this.eventFaults });
    const again = this.constructor as new (
      options: FakeDriverOptions,
      capabilities: FakeCapabilities,
      seat: Seat,
    ) => this;
    return new again(this.#options, this.#preset, { process, world: this.world });
  }

  override async close(): Promise<void> {
    if (this.#process.alive) await super.close();
  }

  override [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  static {
    for (const method of DRIVER_METHODS) {
      const inner = (
        BaseDriver.prototype as unknown as Record<string, (this: ComputeDriver, ...args: unknown[]) => unknown>
      )[method];
      if (inner === undefined) continue;
      const value = function (this: PartialFakeDriver, ...args: unknown[]): unknown {
        const call = (): unknown => inner.apply(this, args);
        return HANDLE_METHODS.has(method)
          ? this.#passHandle(method, args, call as () => OperationHandle<unknown>)
          : this.#pass(method, args, call as () => Promise<unknown>);
      };
      Object.defineProperty(this.prototype, method, { value, configurable: true, writable: true, enumerable: false });
    }
  }

  async #pass(method: DriverMethod, args: readonly unknown[], call: () => Promise<unknown>): Promise<unknown> {
    const noted = this.#journal.begin(method, args);
    try {
      const about = { instanceUuid: uuidOf(args[0]), signal: signalOf(args) };
      const result = await this.#process.pass(`driver.${method}`, about, call);
      noted.resolved(result);
      return result;
    } catch (error) {
      noted.rejected(error);
      throw error;
    }
  }

  #passHandle(
    method: DriverMethod,
    args: readonly unknown[],
    call: () => OperationHandle<unknown>,
  ): OperationHandle<unknown> {
    const noted = this.#journal.begin(method, args);
    const handle = this.#handleOf(method, args, call);
    handle.result.then(
      (result) => noted.resolved(result),
      (error: unknown) => noted.rejected(error),
    );
    return handle;
  }

  /** The operation's own handle; where a fault is to strike first, a handle at once of an operation that begins when it has. */
  #handleOf(
    method: DriverMethod,
    args: readonly unknown[],
    call: () => OperationHandle<unknown>,
  ): OperationHandle<unknown> {
    const struck = this.#process.strikeOf({ point: `driver.${method}`, instanceUuid: uuidOf(args[0]) });
    if (struck === undefined) return call();
    return OperationController.run({ kind: method, clock: this.clock, signal: signalOf(args) }, async (controller) => {
      await struck(controller.signal);
      return follow(call(), controller);
    });
  }
}

/** The fake driver with everything that a driver can do, as `new FakeDriver()`. */
export class FakeDriver extends (PartialFakeDriver as unknown as new (
  options?: FakeDriverOptions,
) => PartialFakeDriver & AllFacets) {
  /** A fake with the capabilities of a preset, or of a set of one's own; its type promises the core only. */
  static withCapabilities(capabilities: FakeCapabilities, options: FakeDriverOptions = {}): PartialFakeDriver {
    return new PartialFakeDriver(options, capabilities);
  }
}

/** The simulated collaborators of one driver process, for use with another driver than `FakeDriver`. */
export function createFakeCollaborators(process: FakeProcess, state?: StateStore): Collaborators {
  const { name, ipAddress } = process.host;
  return {
    images: new FakeImageStore(process),
    disks: new FakeDiskBackend(process),
    volumes: FAKE_VOLUME_TYPES.map((type) => new FakeVolumeConnector(process, type)),
    vifs: new FakeVifPlugger(process),
    firewall: new FakeFirewallDriver(process),
    secrets: new FakeSecretStore(process),
    state: new FakeStateStore(process, state),
    clock: process.clock,
    files: new FakeExportedFiles(process),
    configDrives: new FakeConfigDriveBuilder(process),
    volumeHostProperties: () =>
      Promise.resolve({
        hostname: name,
        ip: ipAddress,
        initiator: `iqn.2020-01.invalid.fake:${name}`,
        multipath: false,
      }),
  };
}

/** What a fake driver is made of. */
export interface FakeParts {
  readonly world: FakeWorld;
  readonly host: FakeHost;
  readonly process: FakeProcess;
  readonly faults: Faults;
  readonly hypervisor: FakeHypervisor;
  readonly collaborators: Collaborators;
}

/** The parts by themselves, for tests of what stands below a driver. */
export function createFakeParts(options: FakeDriverOptions = {}, capabilities: FakeCapabilities = "full"): FakeParts {
  const { process, world } = takeSeat(options);
  return {
    world,
    host: process.host,
    process,
    faults: process.faults,
    hypervisor: new FakeHypervisor(process, presetOf(capabilities)),
    collaborators: { ...createFakeCollaborators(process, options.state), ...options.collaborators },
  };
}

/** Where a driver sits: its process, on a host of a world. */
interface Seat {
  readonly process: FakeProcess;
  readonly world: FakeWorld;
}

function takeSeat(options: FakeDriverOptions): Seat {
  const { clock, seed } = options;
  const world =
    options.world ??
    new FakeWorld({ ...(clock === undefined ? {} : { clock }), ...(seed === undefined ? {} : { seed }) });
  const { host } = options;
  if (typeof host === "string") return { world, process: new FakeProcess(world.host(host)) };
  return {
    world,
    process: new FakeProcess(host === undefined ? (world.hosts[0] ?? world.addHost()) : world.addHost(host)),
  };
}

function presetOf(capabilities: FakeCapabilities): FakePreset {
  if (typeof capabilities === "string") return FAKE_PRESETS[capabilities];
  return "features" in capabilities ? capabilities : { features: new Set(capabilities), limits: FULL_MACHINE };
}

function signalOf(args: readonly unknown[]): AbortSignal | undefined {
  const options = args.at(-1) as CommonOptions | undefined;
  return typeof options === "object" && options !== null && options.signal instanceof AbortSignal
    ? options.signal
    : undefined;
}

/** Hands an operation's progress and end on to another handle. */
async function follow<T>(handle: OperationHandle<T>, controller: OperationController<T>): Promise<T> {
  controller.signal.addEventListener(
    "abort",
    () => void handle.abort(controller.signal.reason).catch(() => undefined),
    { once: true },
  );
  for await (const { phase, fraction, bytesDone, bytesTotal } of handle.events()) {
    controller.update({
      phase,
      ...(fraction === undefined ? {} : { fraction }),
      ...(bytesDone === undefined ? {} : { bytesDone }),
      ...(bytesTotal === undefined ? {} : { bytesTotal }),
    });
  }
  return handle.result;
}
