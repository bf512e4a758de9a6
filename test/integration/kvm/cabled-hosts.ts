// Two hosts with a network between them: a driver in a process and a network namespace of its own each, and a cable that can be pulled.
import { once } from "node:events";
import type { ChildProcess } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { InstanceRef, LiveMigrateData } from "../../../src/driver/index.js";
import type { KvmTimeouts } from "../../../src/kvm/index.js";
import { findByPidFile } from "../../../src/kvm/process.js";
import { createNetworkNamespace, waitFor } from "../../lab/index.js";
import type { NetworkNamespace, TemporaryDirectory } from "../../lab/index.js";
import type { HostAnswer, HostOptions } from "./host-child.js";

const child = fileURLToPath(new URL("host-child.ts", import.meta.url));
const root = fileURLToPath(new URL("../../../", import.meta.url));

/** A driver in a process and a network namespace of its own. */
export class Host {
  readonly events: { readonly type: string; readonly transition?: string }[] = [];
  readonly #process: ChildProcess;
  readonly #options: HostOptions;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: unknown) => void }>();
  #last = 0;
  #said = "";

  private constructor(namespace: NetworkNamespace, options: HostOptions) {
    this.#options = options;
    const argv = [process.execPath, "--import", "tsx", child, JSON.stringify(options)];
    this.#process = namespace.spawn(argv, { cwd: root, stdio: ["pipe", "pipe", "pipe"] });
    this.#process.stderr!.on("data", (chunk: Buffer) => (this.#said += chunk.toString()));
    createInterface({ input: this.#process.stdout! }).on("line", (line) => this.#hear(JSON.parse(line) as HostAnswer));
    this.#process.once("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the host has ended: ${this.#said}`));
    });
  }

  static async open(namespace: NetworkNamespace, options: HostOptions): Promise<Host> {
    const host = new Host(namespace, options);
    await host.event(({ type }) => type === "ready");
    return host;
  }

  /** Has the driver do something; an operation is waited for. Rejects with the error as JSON. */
  call<T>(method: string, ...args: readonly unknown[]): Promise<T> {
    const id = ++this.#last;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#process.stdin!.write(`${JSON.stringify({ id, method, args })}\n`);
    });
  }

  async event(wanted: (event: { readonly type: string; readonly transition?: string }) => boolean): Promise<void> {
    const detail = (): string => this.#said + JSON.stringify(this.events);
    await waitFor(() => this.events.some(wanted), { timeoutMs: 90_000, what: "an event of a host", detail });
  }

  async letters(instance: InstanceRef): Promise<string> {
    const { bytes } = await this.call<{ bytes: { readonly data: number[] } }>("getConsoleOutput", instance);
    const text = Buffer.from(bytes.data).toString("latin1");
    expect(text).not.toContain("!");
    return text.replace(/[^a-z]/g, "");
  }
  async speaks(instance: InstanceRef): Promise<void> {
    const { length } = await this.letters(instance);
    const options = { timeoutMs: 90_000, what: "another letter" };
    await waitFor(async () => (await this.letters(instance)).length > length, options);
  }

  /** Pid of an instance's QEMU. */
  async pid({ uuid }: InstanceRef): Promise<number | undefined> {
    const file = `${this.#options.directory}/guests/${uuid}/qemu.pid`;
    return (await findByPidFile(new Set([file]))).get(file);
  }

  async close(): Promise<void> {
    const ended = once(this.#process, "exit");
    this.#process.stdin!.end();
    await ended;
  }

  #hear({ id, value, error, event }: HostAnswer): void {
    if (event !== undefined) return void this.events.push(event as { type: string });
    const waiting = this.#waiting.get(id as number);
    this.#waiting.delete(id as number);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(error);
  }
}

/** Two namespaces, joined by a cable with addresses of both kinds, and a host in each. */
export class Cable implements AsyncDisposable {
  readonly #made: AsyncDisposable[] = [];
  hosts: readonly [Host, Host] = [] as unknown as [Host, Host];
  namespaces: readonly NetworkNamespace[] = [];

  static async lay(): Promise<Cable> {
    const cable = new Cable();
    const [one, other] = [await createNetworkNamespace("hvh"), await createNetworkNamespace("hvh")];
    cable.#made.push(one, other);
    cable.namespaces = [one, other];
    await one.run(["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", other.name]);
    for (const [index, namespace] of [one, other].entries()) {
      const last = index + 1;
      await namespace.run(["ip", "addr", "add", `10.77.8.${last}/24`, "dev", "cable"]);
      await namespace.run(["ip", "addr", "add", `fd77::${last}/64`, "dev", "cable", "nodad"]);
      await namespace.run(["ip", "link", "set", "cable", "up"]);
    }
    return cable;
  }

  async begin(shared: TemporaryDirectory, kvmTimeouts: Partial<KvmTimeouts> = {}): Promise<void> {
    const open = async (index: number, listenAddress: string): Promise<Host> => {
      const directory = shared.file(`host-${index}`);
      await mkdir(directory);
      const options = { directory, shared: shared.path, listenAddress, kvmTimeouts };
      const host = await Host.open(this.namespaces[index]!, options);
      this.#made.push({ [Symbol.asyncDispose]: () => host.close() });
      return host;
    };
    // Guests come to the first by IPv6, to the second by IPv4.
    this.hosts = [await open(0, "fd77::1"), await open(1, "10.77.8.2")];
  }

  async pull(): Promise<void> {
    await this.namespaces[1]!.run(["ip", "link", "set", "cable", "down"]);
  }
  async plug(): Promise<void> {
    await this.namespaces[1]!.run(["ip", "link", "set", "cable", "up"]);
    // Those of IPv6 go with the link.
    await this.namespaces[1]!.run(["ip", "addr", "replace", "fd77::2/64", "dev", "cable", "nodad"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const made of this.#made.reverse()) await made[Symbol.asyncDispose]();
  }
}

/** Everything before the memory goes. */
export async function prepare(from: Host, to: Host, instance: InstanceRef): Promise<LiveMigrateData> {
  const asked = await from.call("checkCanLiveMigrateSource", instance);
  const answered = await to.call("checkCanLiveMigrateDestination", instance, asked);
  const checked = await from.call("checkCanLiveMigrateSource", instance, answered);
  await to.call("cleanupLiveMigrationDestinationCheck", checked);
  return to.call<LiveMigrateData>("preLiveMigration", instance, checked);
}

/** Everything after the memory has gone. */
export async function finish(from: Host, to: Host, instance: InstanceRef, data: LiveMigrateData): Promise<void> {
  await to.call("postLiveMigrationAtDestination", instance, data);
  await from.call("postLiveMigration", instance, data);
  await from.call("postLiveMigrationAtSource", instance, data);
  expect(await from.pid(instance)).toBeUndefined();
}
