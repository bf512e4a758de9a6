/** Network interfaces of this process's network namespace. What changes them is src/network/links.ts. */
import { readFile } from "node:fs/promises";
import { HostIoError } from "./errors.js";
import { checkLinkName } from "./link-name.js";

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
