// A host of its own: a KVM driver in a process that a test starts in another network namespace, and that does what it is asked by lines of JSON.
// Run as `node --import tsx host-child.ts OPTIONS`.
import { createInterface } from "node:readline";
import { join } from "node:path";
import { KvmDriver } from "../../../src/kvm/index.js";
import type { KvmTimeouts } from "../../../src/kvm/index.js";
import { UserNetworkPlugger } from "../../../src/network/index.js";
import { DirectoryImageStore, LocalDiskBackend } from "../../../src/storage/index.js";

export interface HostOptions {
  readonly directory: string;
  /** What both hosts have: images and disks. */
  readonly shared: string;
  readonly listenAddress: string;
  readonly kvmTimeouts?: Partial<KvmTimeouts>;
}
export interface HostCall {
  readonly id: number;
  readonly method: string;
  readonly args: readonly unknown[];
}
/** `{ id, value }`, `{ id, error }`, `{ event }`. */
export type HostAnswer = Readonly<Record<"id" | "value" | "error" | "event", unknown>>;

const { directory, shared, listenAddress, kvmTimeouts = {} } = JSON.parse(process.argv[2] ?? "null") as HostOptions;
const driver = new KvmDriver({
  stateDirectory: directory,
  accelerator: "tcg",
  migration: { listenAddress, copy: "running" },
  kvmTimeouts,
  collaborators: {
    images: new DirectoryImageStore({ directory: join(shared, "images") }),
    disks: new LocalDiskBackend({ directory: join(shared, "disks") }),
    vifs: new UserNetworkPlugger(),
  },
});
await driver.initHost();
const plain = (_: string, value: unknown): unknown => (value instanceof Uint8Array ? Buffer.from(value) : value);
const say = (answer: Partial<HostAnswer>): void => void process.stdout.write(`${JSON.stringify(answer, plain)}\n`);
void (async () => {
  for await (const event of driver.events()) say({ event });
})();
say({ event: { type: "ready" } });

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, args } = JSON.parse(line) as HostCall;
  void answer(method, args).then(
    (value) => say({ id, value: value ?? null }),
    (error: unknown) => say({ id, error }),
  );
}
await driver.close();

/** Waits for operations, too. */
async function answer(method: string, args: readonly unknown[]): Promise<unknown> {
  const called = (driver as unknown as Record<string, (...given: readonly unknown[]) => unknown>)[method]!(...args);
  const handle = called as { readonly result?: Promise<unknown> };
  return handle.result instanceof Promise ? handle.result : called;
}
