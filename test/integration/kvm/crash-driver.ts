// Lets a driver process die where a test wants it, and opens the hypervisor anew.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { CrashRequest } from "./driver-child.js";
import type { KvmLab } from "./lab.js";

const child = fileURLToPath(new URL("driver-child.ts", import.meta.url));
const root = fileURLToPath(new URL("../../../", import.meta.url));

/** True when the process came past the point. `afterwards` is called while no driver watches. */
export async function crashDriver(
  lab: KvmLab,
  request: CrashRequest,
  afterwards: () => Promise<void> = () => Promise.resolve(),
): Promise<boolean> {
  await lab.hypervisor.close();
  const driver = spawn(process.execPath, ["--import", "tsx", child, JSON.stringify(request)], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  driver.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
  driver.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const [, signal] = (await once(driver, "close")) as [number | null, string | null];
  expect(signal, said).toBe("SIGKILL");
  await afterwards();
  await lab.reopen();
  return said.includes("survived");
}
