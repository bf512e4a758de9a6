// A guest's session with a fake QEMU, for tests of what is built on it.
import { MemoryStateStore, systemClock } from "../../../src/core/index.js";
import type { GuestDefinition } from "../../../src/driver/index.js";
import { AccessLedger } from "../../../src/kvm/access/access-ledger.js";
import type { ProcessEnd } from "../../../src/kvm/events.js";
import { UNLAUNCHED } from "../../../src/kvm/events.js";
import { GuestCore } from "../../../src/kvm/guest-core.js";
import type { KvmHost } from "../../../src/kvm/host.js";
import { planHardware } from "../../../src/kvm/plan/hardware.js";
import type { RunningProcess } from "../../../src/kvm/process.js";
import { GuestSession } from "../../../src/kvm/session.js";
import type { GuestState } from "../../../src/kvm/state/guest-state.js";
import { DEFAULT_KVM_TIMEOUTS } from "../../../src/kvm/timeouts.js";
import type { KvmTimeouts } from "../../../src/kvm/timeouts.js";
import { MemorySecretStore } from "../../../src/storage/index.js";
import { FakeQmpServer } from "../../../src/testing/index.js";
import { UUID } from "./definitions.js";

export class FakeProcess implements RunningProcess {
  readonly identity = { pid: 1, startTime: 1 };
  readonly ended: Promise<ProcessEnd>;
  over = false;
  end!: (end: ProcessEnd) => void;

  constructor() {
    this.ended = new Promise((resolve) => {
      this.end = (end) => {
        this.over = true;
        resolve(end);
      };
    });
  }
  hungUp(): void {}
  kill(): Promise<void> {
    this.end({ signal: "SIGKILL" });
    return Promise.resolve();
  }
  async waitEnded(): Promise<void> {
    await this.ended;
  }
}

export interface FakeGuest extends AsyncDisposable {
  readonly server: FakeQmpServer;
  readonly process: FakeProcess;
  readonly session: GuestSession;
}

/** A connected session. */
export async function fakeGuest(): Promise<FakeGuest> {
  const server = await new FakeQmpServer().listen();
  server.on("qom-list", () => []);
  const process = new FakeProcess();
  const session = new GuestSession({
    instance: { uuid: UUID, name: "web" },
    process,
    monitorPath: server.path,
    biosResets: true,
    clock: systemClock,
    timeouts: { ...DEFAULT_KVM_TIMEOUTS, commandMs: 5_000, exitMs: 50 },
    view: { ...UNLAUNCHED, state: "running", launched: true },
    listener: { report: () => undefined, resync: () => Promise.resolve(), ended: () => undefined },
  });
  await session.keepConnected();
  const dispose = async (): Promise<void> => {
    await session.release();
    await server.close();
  };
  return { server, process, session, [Symbol.asyncDispose]: dispose };
}

/** A guest in memory whose state is kept nowhere but in `saved`. */
export interface FakeCore extends AsyncDisposable {
  readonly server: FakeQmpServer;
  readonly process: FakeProcess;
  readonly core: GuestCore;
  readonly session: GuestSession;
  /** Every state that was written. */
  readonly saved: GuestState[];
  /** When set, the next writing of the state fails by it. */
  failure: Error | undefined;
}

export async function fakeCore(definition: GuestDefinition, timeouts: Partial<KvmTimeouts> = {}): Promise<FakeCore> {
  const server = await new FakeQmpServer().listen();
  server.on("qom-list", () => []);
  const fake = {
    saved: [] as GuestState[],
    failure: undefined as Error | undefined,
  };
  const store = {
    files: () => ({ monitor: server.path, directory: "/nowhere" }),
    save: (state: GuestState): Promise<void> => {
      const { failure } = fake;
      fake.failure = undefined;
      if (failure !== undefined) return Promise.reject(failure);
      fake.saved.push(state);
      return Promise.resolve();
    },
  };
  const host = {
    clock: systemClock,
    timeouts: { ...DEFAULT_KVM_TIMEOUTS, commandMs: 5_000, exitMs: 50, ...timeouts },
    store,
    access: new AccessLedger(new MemoryStateStore(), "/nowhere", undefined),
    secrets: new MemorySecretStore(),
    emit: () => undefined,
  } as unknown as KvmHost;
  const core = new GuestCore(host, {
    version: 1,
    definition,
    hardware: planHardware(definition, "q35", { machineType: "pc-q35-7.2", hotplugPorts: 1 }),
  });
  const process = new FakeProcess();
  const listener = { report: () => undefined, resync: () => Promise.resolve(), ended: () => undefined };
  const view = { ...UNLAUNCHED, state: "running", launched: true } as const;
  const session = core.follow(process, listener, view);
  await session.keepConnected();
  const dispose = async (): Promise<void> => {
    await core.release();
    await server.close();
  };
  return Object.assign(fake, { server, process, core, session, [Symbol.asyncDispose]: dispose });
}
