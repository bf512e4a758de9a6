// A process that connects or disconnects a volume and is killed at a step of it, run as a bundle by volume-crash.test.ts with a `ConnectRequest`.
import { join } from "node:path";
import type { StateStore } from "../../../src/core/index.js";
import { FileStateStore, systemCommandRunner } from "../../../src/host/index.js";
import type { CommandRunner } from "../../../src/host/index.js";
import { KvmDriver } from "../../../src/kvm/index.js";
import type { InstanceRef } from "../../../src/driver/index.js";
import { LocalVolumeConnector, NbdVolumeConnector, NfsVolumeConnector } from "../../../src/storage/index.js";
import type { VolumeConnection, VolumeConnector } from "../../../src/storage/index.js";

export interface ConnectRequest {
  readonly root: string;
  readonly connection: VolumeConnection;
  readonly instance: InstanceRef;
  /** By a connector alone, or by a driver that has it. */
  readonly by: "connector" | "driver";
  readonly action: "connect" | "disconnect";
  /** The step that it is killed at: each write of a record and each command has one before it and one after. */
  readonly dieAt: number;
}

/** What is told of each step. */
export type Step = (what: string) => void;

/** Mounts directories of this host in place of a server's exports. */
export function localExports(root: string, step: Step = () => undefined): CommandRunner {
  return {
    run: async (argv, options) => {
      const [command = "", ...words] = argv;
      const [exported = "", point = ""] = words.slice(-2);
      const directory = join(root, "server", exported.slice(exported.indexOf(":") + 1));
      step(`before ${command}`);
      const done = await systemCommandRunner.run(
        command === "mount" ? ["mount", "--bind", "--", directory, point] : argv,
        options,
      );
      step(`after ${command}`);
      return done;
    },
  };
}

/** Records that outlive the process. */
export function records(root: string, step: Step = () => undefined): StateStore {
  const store = new FileStateStore({ dir: join(root, "records") });
  const stepping = async (what: string, work: () => Promise<void>): Promise<void> => {
    step(`before ${what}`);
    await work();
    step(`after ${what}`);
  };
  return {
    get: (key) => store.get(key),
    list: (prefix) => store.list(prefix),
    put: (key, value) => stepping(`writing ${key}`, () => store.put(key, value)),
    delete: (key) => stepping(`deleting ${key}`, () => store.delete(key)),
  };
}

export function connectorFor(type: string, root: string, state: StateStore, step?: Step): VolumeConnector {
  const commands = localExports(root, step);
  if (type === "nfs") return new NfsVolumeConnector({ mountRoot: join(root, "mounts"), state, commands });
  if (type === "nbd") return new NbdVolumeConnector({ state, commands, connectMs: 60_000 });
  return new LocalVolumeConnector({ roots: [root], state });
}

export function driverWith(root: string, state: StateStore, connector: VolumeConnector): KvmDriver {
  const local = new LocalVolumeConnector({ roots: [root], state });
  const volumes = [local, connector];
  return new KvmDriver({ stateDirectory: join(root, "state"), accelerator: "tcg", state, collaborators: { volumes } });
}

async function main({ root, connection, instance, by, action, dieAt }: ConnectRequest): Promise<void> {
  let steps = -Infinity;
  const step = (what: string): void => {
    steps += 1;
    if (steps !== dieAt) return;
    process.stdout.write(`${what}\n`);
    process.kill(process.pid, "SIGKILL");
    // The signal may find this thread still at work.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  };
  const state = records(root, step);
  const connector = connectorFor(connection.type, root, state, step);
  if (by === "connector") {
    steps = 0;
    if (action === "connect") await connector.connect(connection, instance.uuid);
    else await connector.disconnect(connection, instance.uuid);
  } else {
    const driver = driverWith(root, state, connector);
    await driver.initHost();
    steps = 0;
    if (action === "connect") await driver.attachVolume(instance, connection);
    else await driver.detachVolume(instance, connection);
  }
  process.exit(0);
}

const [, , request] = process.argv;
if (request?.startsWith("{") === true) await main(JSON.parse(request) as ConnectRequest);
