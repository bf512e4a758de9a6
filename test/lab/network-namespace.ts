// Network namespaces of a test: other "hosts" and "the outside" beside the namespace that the test itself lives in.
import { spawn } from "node:child_process";
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { requireNetworkRights } from "./sandbox.js";
import { run } from "./run.js";

export interface NetworkNamespace extends AsyncDisposable {
  readonly name: string;
  /** What setns(2) and nsenter(1) open. */
  readonly path: string;
  /** What to put before a command to run it in there. The command sees the /sys of the test, not of the namespace. */
  readonly prefix: readonly string[];
  /** Runs a command in there; `ownSys` gives it the namespace's own /sys/class/net, and takes the cgroups away. */
  run(argv: readonly string[], options?: { readonly ownSys?: boolean }): Promise<string>;
  /** Starts a command in there; it is killed when the namespace goes. */
  spawn(argv: readonly string[], options?: SpawnOptions): ChildProcess;
  /** Kills everything in there and removes it; its interfaces and rules go with it. */
  remove(): Promise<void>;
}

/** Makes a namespace with `lo` up and nothing else. Needs root, or the user sandbox. */
export async function createNetworkNamespace(prefix = "hv"): Promise<NetworkNamespace> {
  requireNetworkRights();
  const name = `${prefix}-${randomBytes(4).toString("hex")}`;
  await run(["ip", "netns", "add", name]);
  const path = `/run/netns/${name}`;
  const enter = ["nsenter", `--net=${path}`, "--"];
  const children = new Set<ChildProcess>();

  const remove = async (): Promise<void> => {
    const ended = [...children].filter(isRunning).map((child) => once(child, "exit"));
    const pids = (await run(["ip", "netns", "pids", name]).catch(() => "")).split("\n").filter(Boolean);
    for (const pid of pids) {
      try {
        process.kill(Number(pid), "SIGKILL");
      } catch {
        // Gone in the meantime.
      }
    }
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(ended);
    const names = (await run(["ip", "netns", "list"])).split("\n").map((line) => line.split(" ")[0]);
    if (names.includes(name)) await run(["ip", "netns", "del", name]);
  };

  const namespace: NetworkNamespace = {
    name,
    path,
    prefix: enter,
    run: (argv, { ownSys = false } = {}) => run([...(ownSys ? ["ip", "netns", "exec", name] : enter), ...argv]),
    spawn(argv, options = {}) {
      const [file = "", ...args] = [...enter, ...argv];
      const child = spawn(file, args, { stdio: "ignore", ...options });
      children.add(child);
      return child;
    },
    remove,
    [Symbol.asyncDispose]: remove,
  };
  try {
    await namespace.run(["ip", "link", "set", "lo", "up"]);
    return namespace;
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Runs `task` with a new namespace, which is gone when it ends, however it ends. */
export async function withNetworkNamespace<T>(task: (namespace: NetworkNamespace) => Promise<T>): Promise<T> {
  const namespace = await createNetworkNamespace();
  try {
    return await task(namespace);
  } finally {
    await namespace.remove();
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null && child.pid !== undefined;
}
