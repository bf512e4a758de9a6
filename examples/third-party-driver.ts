/**
 * A driver of one's own, and the contract suite run on it: a hypervisor is the two seams `Hypervisor` and `Guest`, and the order of steps,
 * their undoing, the journal and the events are the library's. This one keeps guests in memory, and can do no more than start and stop them.
 */
import { after, before, describe, it } from "node:test";
import { ConflictError, InvalidStateError, NotSupportedError, createDriver } from "hypervise";
import type {
  ComputeDriver,
  Guest,
  GuestDefinition,
  GuestInfo,
  HostFacts,
  Hypervisor,
  HypervisorContext,
  PowerState,
} from "hypervise";
import { createFakeParts, fakeSpec, fakeVif } from "hypervise/fake";
import { defineContractSuite } from "hypervise/testing";
import type { ContractSubject } from "hypervise/testing";

/** What outlives the driver's process: a real hypervisor has processes or a daemon here. */
class Machine {
  readonly guests = new Map<string, MachineGuest>();
  context: HypervisorContext | undefined;
}

class MachineGuest implements Guest {
  readonly #machine: Machine;
  readonly #stopped = new EventTarget();
  #definition: GuestDefinition;
  #state: PowerState = "shutdown";
  #startedAt = 0;

  constructor(machine: Machine, definition: GuestDefinition) {
    this.#machine = machine;
    this.#definition = definition;
  }

  get uuid(): string {
    return this.#definition.uuid;
  }
  get name(): string {
    return this.#definition.name;
  }
  get running(): boolean {
    return this.#state === "running";
  }
  async definition(): Promise<GuestDefinition> {
    return this.#definition;
  }
  async info(): Promise<GuestInfo> {
    const { vcpus, memoryMiB } = this.#definition;
    return {
      state: this.#state,
      stale: false,
      vcpus,
      memoryMiB,
      ...(this.running ? { startedAt: this.#startedAt } : {}),
    };
  }

  async start(): Promise<void> {
    if (this.running) throw new InvalidStateError({ operation: "start", state: this.#state, expected: ["shutdown"] });
    this.#startedAt = this.#machine.context?.clock.now() ?? 0;
    this.#move("running", "started");
  }
  async requestShutdown(): Promise<void> {
    this.end("shutdown");
  }
  async kill(): Promise<void> {
    this.end("shutdown");
  }
  async waitUntilStopped({ signal }: { readonly signal?: AbortSignal | undefined }): Promise<void> {
    if (!this.running) return;
    await new Promise<void>((resolve, reject) => {
      this.#stopped.addEventListener("stopped", () => resolve(), { once: true });
      signal?.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    });
  }

  /** Features that this hypervisor does not claim: the driver never gets here. */
  pause = unsupported;
  resume = unsupported;
  reset = unsupported;
  attachDisk = unsupported;
  detachDisk = unsupported;
  attachNic = unsupported;
  detachNic = unsupported;

  end(how: "shutdown" | "crashed"): void {
    if (!this.running) return;
    this.#move(how, how === "crashed" ? "crashed" : "stopped");
    this.#stopped.dispatchEvent(new Event("stopped"));
  }

  #move(state: PowerState, transition: "started" | "stopped" | "crashed"): void {
    this.#state = state;
    const cause = transition === "crashed" ? "crash" : "guest";
    this.#machine.context?.onEvent({ type: "lifecycle", uuid: this.uuid, name: this.name, transition, cause });
  }
}

function unsupported(): Promise<never> {
  return Promise.reject(new NotSupportedError({ capability: "this hypervisor starts and stops guests, and no more" }));
}

class MemoryHypervisor implements Hypervisor {
  readonly type = "memory";
  readonly features = new Set<never>();
  readonly #machine: Machine;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  async open(context: HypervisorContext): Promise<void> {
    this.#machine.context = context;
  }
  async close(): Promise<void> {
    this.#machine.context = undefined;
  }
  async hostFacts(): Promise<HostFacts> {
    const cpu = { arch: "x86_64", topology: { sockets: 1, cores: 64, threads: 1 }, features: [] };
    return {
      hostname: "here",
      ipAddress: "192.0.2.1",
      hypervisorType: this.type,
      hypervisorVersion: 1_000_000,
      cpu,
      vcpus: 64,
      memoryMiB: 65_536,
      memoryUsedMiB: 1_024,
      uptimeMs: 1,
    };
  }
  check(): void {}
  plan(definition: GuestDefinition): unknown {
    return definition;
  }
  async define(definition: GuestDefinition): Promise<Guest> {
    const { uuid, name } = definition;
    const taken = [...this.#machine.guests.values()].some((guest) => guest.uuid === uuid || guest.name === name);
    if (taken) throw new ConflictError("there is such a guest already", { instance: definition });
    return this.#put(definition);
  }
  async redefine(definition: GuestDefinition): Promise<Guest> {
    return this.#put(definition);
  }
  async undefine(uuid: string): Promise<void> {
    this.#machine.guests.delete(uuid);
  }
  async find(uuid: string): Promise<Guest | undefined> {
    return this.#machine.guests.get(uuid);
  }
  async list(): Promise<readonly Guest[]> {
    return [...this.#machine.guests.values()];
  }

  #put(definition: GuestDefinition): Guest {
    const guest = new MachineGuest(this.#machine, definition);
    this.#machine.guests.set(definition.uuid, guest);
    return guest;
  }
}

/** The suite's hands on the host: disks, ports and records are the fake's. */
async function open(): Promise<ContractSubject> {
  const machine = new Machine();
  let parts = createFakeParts();
  let driver = createDriver({ hypervisor: new MemoryHypervisor(machine), collaborators: parts.collaborators });
  const { world, host } = parts;
  return {
    driver,
    spec: (overrides) => fakeSpec(overrides),
    otherImageId: "rescue",
    volume: async () => world.volumes.create(),
    vif: () => fakeVif(),
    restart: async (): Promise<ComputeDriver> => {
      // What the old process has under way stops where it is.
      parts.process.crash();
      await driver.close().catch(() => undefined);
      parts = createFakeParts({ world, host: host.name });
      driver = createDriver({ hypervisor: new MemoryHypervisor(machine), collaborators: parts.collaborators });
      return driver;
    },
    crashGuest: async ({ uuid }) => machine.guests.get(uuid)?.end("crashed"),
    waitUntilBooted: async () => undefined,
    residue: async () => [
      ...[...machine.guests.keys()].map((uuid) => `guest ${uuid}`),
      ...world
        .ledger()
        .filter(({ kind }) => kind !== "image")
        .map((entry) => JSON.stringify(entry)),
    ],
    dispose: () => driver.close(),
  };
}

defineContractSuite(
  { name: "memory", facets: ["snapshots", "firewall", "imageCache"], cheapGuests: true, open },
  { describe, it, before, after },
);
