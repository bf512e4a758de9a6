import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { readPng } from "../../../scripts/demo/read-png.js";

const script = fileURLToPath(new URL("../../../scripts/demo.mjs", import.meta.url));

let output: string;
beforeEach(async () => {
  output = await mkdtemp(join(tmpdir(), "hypervise-demo-"));
});
afterEach(() => rm(output, { recursive: true, force: true }));

/** Runs the demo; sends SIGINT once it has said `interruptAt`. */
function demo(interruptAt?: string): Promise<{ readonly exitCode: number | null; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, "--driver", "kvm", "--output", output], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let text = "";
    let interrupted = false;
    const take = (chunk: Buffer): void => {
      text += chunk.toString();
      if (interruptAt === undefined || interrupted || !text.includes(interruptAt)) return;
      interrupted = true;
      child.kill("SIGINT");
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.once("error", reject);
    child.once("close", (exitCode) => resolve({ exitCode, text }));
  });
}

it("boots a real guest, shows everything, and leaves nothing", async () => {
  const { exitCode, text } = await demo();
  expect(text).toContain("Everything held");
  expect(exitCode).toBe(0);
  expect(text).toMatch(/guests run on (KVM|TCG) \(/);
  expect(text).toContain("HV-DHCP eth0 10.0.2.15/24");
  expect(text).toContain("HV-UEVENT add block vdb");
  expect(text).toContain("HV-DHCP eth1 10.0.3.15/24");
  expect(readPng(await readFile(join(output, "screenshot.png"))).height).toBeGreaterThan(0);
});

it("takes its guest down when it is interrupted", async () => {
  const { exitCode, text } = await demo("Waiting until it is up");
  expect(text).toContain("instance destroyed");
  expect(text).toMatch(/ok nothing.*\n.*Interrupted/);
  expect(exitCode).toBe(130);
});
