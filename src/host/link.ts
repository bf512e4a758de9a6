/** Network interfaces of this process's network namespace, changed by `ip`. */
import { readFile } from "node:fs/promises";
import type { CommandRunner } from "./command.js";
import { systemCommandRunner } from "./command.js";
import { HostIoError } from "./errors.js";
import { checkLinkName } from "./link-name.js";

/** How an interface is changed. */
export interface LinkOptions {
  /** Default: the host's. */
  readonly runner?: CommandRunner | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}

/**
 * Whether an interface is there. Asks `/proc/self/net/dev`, which always shows the namespace of this process, as `/sys` does not.
 * @throws InvalidArgumentError, HostIoError.
 */
export async function linkExists(name: string): Promise<boolean> {
  checkLinkName(name);
  const path = "/proc/self/net/dev";
  const table = await readFile(path, "latin1").catch((error: unknown) => {
    throw new HostIoError({ operation: "listing the network interfaces", path, cause: error });
  });
  return table.split("\n").some((line) => line.slice(0, line.indexOf(":")).trim() === name);
}

/** Sets an interface up; up already is fine. @throws InvalidArgumentError, and what the runner throws. */
export async function setLinkUp(name: string, options: LinkOptions = {}): Promise<void> {
  await setLink(name, ["up"], options);
}

/** Sets an interface down; down already is fine. @throws InvalidArgumentError, and what the runner throws. */
export async function setLinkDown(name: string, options: LinkOptions = {}): Promise<void> {
  await setLink(name, ["down"], options);
}

/** Makes an interface a port of a bridge, or with null of none. @throws InvalidArgumentError, and what the runner throws. */
export async function setLinkMaster(name: string, bridge: string | null, options: LinkOptions = {}): Promise<void> {
  if (bridge !== null) checkLinkName(bridge, "bridge");
  await setLink(name, bridge === null ? ["nomaster"] : ["master", bridge], options);
}

/** Removes an interface; absent is fine. @throws InvalidArgumentError, and what the runner throws. */
export async function deleteLink(name: string, options: LinkOptions = {}): Promise<void> {
  if (!(await linkExists(name))) return;
  try {
    await ip(["link", "delete", "dev", name], options);
  } catch (error) {
    // Someone else may have removed it in between.
    if (await linkExists(name)) throw error;
  }
}

async function setLink(name: string, words: readonly string[], options: LinkOptions): Promise<void> {
  checkLinkName(name);
  await ip(["link", "set", "dev", name, ...words], options);
}

async function ip(words: readonly string[], options: LinkOptions): Promise<void> {
  const { runner = systemCommandRunner, signal, timeoutMs } = options;
  await runner.run(["ip", ...words], { signal, timeoutMs });
}
