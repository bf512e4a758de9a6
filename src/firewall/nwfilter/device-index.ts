/** Interfaces by the kernel's numbers, which none ever gets again. */
import { readFile } from "node:fs/promises";

export async function deviceIndex(deviceName: string): Promise<number | undefined> {
  try {
    return Number((await readFile(`/sys/class/net/${deviceName}/ifindex`, "utf8")).trim());
  } catch {
    return undefined;
  }
}
