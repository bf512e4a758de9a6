import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm, copyFile, chmod } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { identityOf, isAlive, killProcess, readProcess, waitForExit } from "../../../src/host/index.js";

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

async function start(...argv: [string, ...string[]]): Promise<ChildProcess & { readonly pid: number }> {
  const child = spawn(argv[0], argv.slice(1), { stdio: ["ignore", "pipe", "ignore"] });
  children.push(child);
  await new Promise((resolve, reject) => child.once("spawn", resolve).once("error", reject));
  return child as ChildProcess & { readonly pid: number };
}

const exit = (child: ChildProcess): Promise<void> => new Promise((resolve) => child.once("exit", () => resolve()));

/** A process with a dead child that it never reaps. */
async function zombie(): Promise<number> {
  const parent = await start("sh", "-c", "sh -c 'echo $$' & exec sleep 100");
  const pid = await new Promise<number>((resolve) =>
    parent.stdout?.once("data", (line: Buffer) => resolve(Number(line))),
  );
  await expect.poll(async () => (await readProcess(pid))?.state, { timeout: 5_000, interval: 5 }).toBe("Z");
  return pid;
}

describe("a process", () => {
  it("is known by its number and the time it began", async () => {
    const child = await start("sleep", "100");
    const info = await readProcess(child.pid);
    expect(info).toMatchObject({ pid: child.pid, parentPid: process.pid, alive: true });
    const identity = await identityOf(child.pid);
    expect(identity).toEqual({ pid: child.pid, startTime: info?.startTime });
    expect(await isAlive({ pid: child.pid, startTime: info?.startTime ?? 0 })).toBe(true);
  });

  it("is another one when its number began at another time", async () => {
    const child = await start("sleep", "100");
    const identity = await identityOf(child.pid);
    const earlier = { pid: child.pid, startTime: (identity?.startTime ?? 0) - 1 };
    expect(await isAlive(earlier)).toBe(false);
    expect(await killProcess(earlier, "SIGKILL")).toBe(false);
    await waitForExit(earlier);
    expect(await isAlive(identity ?? earlier)).toBe(true);
  });

  it("is dead as a zombie", async () => {
    const pid = await zombie();
    const info = await readProcess(pid);
    expect(info).toMatchObject({ state: "Z", alive: false });
    expect(await identityOf(pid)).toBeUndefined();
    const identity = { pid, startTime: info?.startTime ?? 0 };
    expect(await isAlive(identity)).toBe(false);
    expect(await killProcess(identity, "SIGTERM")).toBe(false);
    await waitForExit(identity);
  });

  it("is absent when nothing has its number, or what was given is none", async () => {
    for (const pid of [0, -1, 1.5, NaN, 2 ** 40, 4_194_305]) expect(await readProcess(pid)).toBeUndefined();
  });

  it("may be called anything", async () => {
    const dir = await mkdtemp(join(tmpdir(), "hv-process-"));
    try {
      const odd = join(dir, "a) Z (1 2\n3");
      await copyFile("/bin/sleep", odd);
      await chmod(odd, 0o755);
      const child = await start(odd, "100");
      expect(await readProcess(child.pid)).toMatchObject({ parentPid: process.pid, alive: true });
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });

  it("is signalled when it is still the same", async () => {
    const child = await start("sleep", "100");
    const identity = await identityOf(child.pid);
    if (identity === undefined) return expect.fail("not running");
    const exited = exit(child);
    expect(await killProcess(identity, "SIGTERM")).toBe(true);
    await exited;
    expect(child.signalCode).toBe("SIGTERM");
    expect(await killProcess(identity, "SIGTERM")).toBe(false);
  });
});

describe("waitForExit", () => {
  it("resolves when the process is gone", async () => {
    const child = await start("sleep", "100");
    const identity = await identityOf(child.pid);
    if (identity === undefined) return expect.fail("not running");
    const waiting = waitForExit(identity);
    child.kill("SIGKILL");
    await waiting;
    expect(await isAlive(identity)).toBe(false);
  });

  it("gives up at its deadline or when aborted, and leaves the process alone", async () => {
    const child = await start("sleep", "100");
    const identity = await identityOf(child.pid);
    if (identity === undefined) return expect.fail("not running");
    await expect(waitForExit(identity, { timeoutMs: 30 })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
      timeoutMs: 30,
    });
    const controller = new AbortController();
    const aborted = waitForExit(identity, { signal: controller.signal });
    controller.abort();
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    expect(await isAlive(identity)).toBe(true);
  });
});
