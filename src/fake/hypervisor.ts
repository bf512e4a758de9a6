/** The simulated hypervisor of one host: the host half of the seam. */
import { ConflictError } from "../core/index.js";
import type { CommonOptions } from "../core/index.js";
import { InvalidStateError, NoCapacityError } from "../driver/index.js";
import type {
  CpuComparison,
  CpuModel,
  Guest,
  GuestDefinition,
  HostCpuStatistics,
  HostFacts,
  Hypervisor,
  HypervisorContext,
  HypervisorFeature,
  IncomingMigration,
  IncomingMigrationRequest,
} from "../driver/index.js";
import { checkDefinition, describeDefinition, FULL_MACHINE } from "./check-definition.js";
import type { MachineLimits } from "./check-definition.js";
import { compareCpuModels } from "./compare-cpu.js";
import type { FakeGuest } from "./guest.js";
import { checkDevices, claimResources } from "./guest-devices.js";
import { leaveMemory, notify } from "./guest-power.js";
import { inMemory, newGuestRecord } from "./guest-record.js";
import type { GuestRecord } from "./guest-record.js";
import { guestClassFor } from "./guest-class.js";
import { forgetSavedMemory } from "./guest-suspend.js";
import type { FakeHost } from "./host.js";
import { tokenFor } from "./migration-job.js";
import type { FakeProcess } from "./process.js";

export interface FakeHypervisorOptions {
  readonly features: ReadonlySet<HypervisorFeature>;
  /** Default: everything that a definition can name. */
  readonly limits?: MachineLimits;
}

export class FakeHypervisor implements Hypervisor {
  readonly type = "fake";
  readonly features: ReadonlySet<HypervisorFeature>;
  readonly #host: FakeHost;
  readonly #process: FakeProcess;
  readonly #limits: MachineLimits;
  readonly #guestClass: typeof FakeGuest;

  constructor(process: FakeProcess, options: FakeHypervisorOptions) {
    this.#process = process;
    this.#host = process.host;
    this.features = options.features;
    this.#limits = options.limits ?? FULL_MACHINE;
    this.#guestClass = guestClassFor(options.features);
  }

  open(context: HypervisorContext, options: CommonOptions = {}): Promise<void> {
    return this.#process.onHypervisor("hypervisor.open", { signal: options.signal }, () =>
      this.#process.listen(context.onEvent),
    );
  }

  close(): Promise<void> {
    return this.#process.pass("hypervisor.close", {}, () => this.#process.unlisten());
  }

  hostFacts(options: CommonOptions = {}): Promise<HostFacts> {
    return this.#process.onHypervisor("hypervisor.hostFacts", { signal: options.signal }, () => {
      const { name, ipAddress, cpu, vcpus, memoryMiB, reservedMemoryMiB, claimed, numa, bootedAt } = this.#host;
      return {
        hostname: name,
        ipAddress,
        hypervisorType: this.type,
        hypervisorVersion: this.#host.options.hypervisorVersion ?? 1_000_000,
        cpu,
        vcpus,
        memoryMiB,
        memoryUsedMiB: reservedMemoryMiB + claimed.memoryMiB,
        uptimeMs: this.#now() - bootedAt,
        ...(numa === undefined ? {} : { numa }),
      };
    });
  }

  /** Counters that grow with the host's time: vCPUs that guests have claimed are busy a twentieth of it. */
  hostCpuStatistics(options: CommonOptions = {}): Promise<HostCpuStatistics> {
    return this.#process.onHypervisor("hypervisor.hostCpuStatistics", { signal: options.signal }, () => {
      const totalNs = BigInt(Math.round((this.#now() - this.#host.bootedAt) * 1_000_000)) * BigInt(this.#host.vcpus);
      const kernelNs = totalNs / 100n;
      const ioWaitNs = totalNs / 200n;
      const busy = BigInt(Math.min(this.#host.claimed.vcpus, this.#host.vcpus));
      const userNs = (totalNs * busy) / (20n * BigInt(this.#host.vcpus));
      return { kernelNs, userNs, ioWaitNs, idleNs: totalNs - kernelNs - userNs - ioWaitNs, frequencyMHz: 2400 };
    });
  }

  compareCpu(cpu: CpuModel, options: CommonOptions = {}): Promise<CpuComparison> {
    return this.#process.onHypervisor("hypervisor.compareCpu", { signal: options.signal }, () =>
      compareCpuModels(this.#host.cpu, cpu),
    );
  }

  check(definition: GuestDefinition): void {
    this.#process.passNow(() => checkDefinition(definition, this.#limits));
  }

  plan(definition: GuestDefinition): unknown {
    return this.#process.passNow(() => describeDefinition(definition, this.features));
  }

  define(definition: GuestDefinition, options: CommonOptions = {}): Promise<Guest> {
    const call = { instanceUuid: definition.uuid, signal: options.signal };
    return this.#process.onHypervisor("hypervisor.define", call, async (halfway) => {
      this.check(definition);
      this.#checkFree(definition);
      const record = newGuestRecord(definition);
      this.#host.addGuest(record);
      await halfway();
      return this.#guest(definition);
    });
  }

  redefine(definition: GuestDefinition, options: CommonOptions = {}): Promise<Guest> {
    const call = { instanceUuid: definition.uuid, signal: options.signal };
    return this.#process.onHypervisor("hypervisor.redefine", call, async (halfway) => {
      this.check(definition);
      const record = this.#host.guest(definition.uuid);
      refuseInMemory(record, "redefine");
      const holder = this.#host.uuidByName.get(definition.name);
      if (holder !== undefined && holder !== definition.uuid) throw new ConflictError("Another guest has the name");
      this.#host.uuidByName.delete(record.definition.name);
      record.definition = definition;
      this.#host.uuidByName.set(definition.name, definition.uuid);
      await halfway();
      return this.#guest(definition);
    });
  }

  undefine(uuid: string, options: CommonOptions = {}): Promise<void> {
    return this.#process.onHypervisor("hypervisor.undefine", { instanceUuid: uuid, signal: options.signal }, () => {
      const record = this.#host.guests.get(uuid);
      if (record === undefined) return;
      refuseInMemory(record, "undefine");
      forgetSavedMemory(this.#host, record);
      this.#host.dropGuest(record);
    });
  }

  find(uuid: string, options: CommonOptions = {}): Promise<Guest | undefined> {
    return this.#process.onHypervisor("hypervisor.find", { instanceUuid: uuid, signal: options.signal }, () => {
      const record = this.#host.guests.get(uuid);
      return record === undefined ? undefined : this.#guest(record.definition);
    });
  }

  list(options: CommonOptions = {}): Promise<readonly Guest[]> {
    return this.#process.onHypervisor("hypervisor.list", { signal: options.signal }, () =>
      [...this.#host.guests.values()].map((record) => this.#guest(record.definition)),
    );
  }

  prepareIncoming(
    definition: GuestDefinition,
    request: IncomingMigrationRequest,
    options: CommonOptions = {},
  ): Promise<IncomingMigration> {
    const call = { instanceUuid: definition.uuid, signal: options.signal };
    return this.#process.onHypervisor("hypervisor.prepareIncoming", call, async (halfway) => {
      this.check(definition);
      this.#checkFree(definition);
      checkDevices(this.#host, {
        ...definition,
        disks: definition.disks.filter((disk) => request.copyDisks.includes(disk.id)),
      });
      claimResources(this.#host, definition);
      const record: GuestRecord = { ...newGuestRecord(definition), state: "paused", incoming: "waiting" };
      record.startedAt = this.#now();
      this.#host.addGuest(record);
      await halfway();
      return { token: tokenFor(this.#host, definition, request.listenAddress) };
    });
  }

  finishIncoming(uuid: string, options: CommonOptions = {}): Promise<Guest> {
    return this.#process.onHypervisor(
      "hypervisor.finishIncoming",
      { instanceUuid: uuid, signal: options.signal },
      async (halfway) => {
        const record = this.#host.guest(uuid);
        if (record.incoming === "waiting") {
          throw new InvalidStateError({
            operation: "finishIncoming",
            state: "migratingIn",
            expected: ["running", "paused"],
          });
        }
        record.incoming = undefined;
        await halfway();
        return this.#guest(record.definition);
      },
    );
  }

  abortIncoming(uuid: string, options: CommonOptions = {}): Promise<void> {
    return this.#process.onHypervisor(
      "hypervisor.abortIncoming",
      { instanceUuid: uuid, signal: options.signal },
      () => {
        const record = this.#host.guests.get(uuid);
        if (record?.incoming === undefined) return;
        if (record.incoming === "arrived") {
          throw new InvalidStateError({ operation: "abortIncoming", state: record.state, expected: ["migratingIn"] });
        }
        this.#host.dropGuest(record);
        if (inMemory(record)) leaveMemory(this.#host, record, "shutdown");
        notify(record);
      },
    );
  }

  #guest(definition: { readonly uuid: string; readonly name: string }): FakeGuest {
    return new this.#guestClass(this.#process, this.features, definition.uuid, definition.name);
  }

  #now(): number {
    return this.#process.clock.now();
  }

  #checkFree(definition: GuestDefinition): void {
    const { uuid, name, memoryMiB, vcpus } = definition;
    if (this.#host.guests.has(uuid) || this.#host.uuidByName.has(name)) {
      throw new ConflictError("A guest of the host has the uuid or the name", { instance: definition });
    }
    if (memoryMiB > this.#host.guestMemoryMiB || vcpus > this.#host.guestVcpus) {
      throw new NoCapacityError("The guest is larger than the host", { instance: definition });
    }
  }
}

function refuseInMemory(record: GuestRecord, operation: string): void {
  if (!inMemory(record)) return;
  throw new InvalidStateError({
    operation,
    state: record.state,
    expected: ["shutdown", "crashed", "suspended"],
    instance: record.definition,
  });
}
