import { spawn } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { acquireFileLock, identityOf } from "../../../src/host/index.js";
import type { FileLock } from "../../../src/host/index.js";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "hv-lock-"));
});
afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

describe("acquireFileLock", () => {
  it("makes the directory, holds it, and frees it without a trace", async () => {
    const path = join(dir, "a", "b");
    const lock = await acquireFileLock(path);
    await expect(acquireFileLock(path)).rejects.toMatchObject({ code: "LOCKED", pid: process.pid, retryable: true });
    await lock.release();
    await lock.release();
    expect(await readdir(path)).toEqual([]);
    await (await acquireFileLock(path))[Symbol.asyncDispose]();
    expect(await readdir(path)).toEqual([]);
  });

  it("holds locks of different names side by side", async () => {
    const a = await acquireFileLock(dir, { name: "a" });
    const ab = await acquireFileLock(dir, { name: "ab" });
    await a.release();
    await expect(acquireFileLock(dir, { name: "ab" })).rejects.toMatchObject({ code: "LOCKED" });
    await ab.release();
  });

  it("passes over what dead processes left: ended, of another start, of an earlier boot", async () => {
    const boot = (await readFile("/proc/sys/kernel/random/boot_id", "latin1")).slice(0, 8);
    const own = await identityOf(process.pid);
    const nonce = "0123456789abcdef";
    const stale = [
      `lock.${boot}-4194305-1-${nonce}`,
      `lock.${boot}-${own?.pid}-1-${nonce}`,
      `lock.00000000-${own?.pid}-${own?.startTime}-${nonce}`,
    ];
    for (const name of [...stale, "lock.notes", "unrelated"]) await writeFile(join(dir, name), "");
    const lock = await acquireFileLock(dir);
    await lock.release();
    expect((await readdir(dir)).sort()).toEqual(["lock.notes", "unrelated"]);
  });

  it("goes to one of many who come at once, stale leftovers or not", async () => {
    for (let round = 0; round < 4; round++) {
      await writeFile(join(dir, "lock.00000000-1-1-0123456789abcdef"), "");
      const results = await Promise.allSettled(Array.from({ length: 8 }, () => acquireFileLock(dir)));
      const held = results.filter((r): r is PromiseFulfilledResult<FileLock> => r.status === "fulfilled");
      expect(held.length).toBeLessThanOrEqual(1);
      for (const { value } of held) await value.release();
    }
    expect(await readdir(dir)).toEqual([]);
  });

  it("says who holds it when another process does, and is free when that one is killed", async () => {
    const module = new URL("../../../src/host/file-lock.ts", import.meta.url).href;
    const script = `const { acquireFileLock } = await import(${JSON.stringify(module)});
      await acquireFileLock(${JSON.stringify(dir)}); console.log("held"); setInterval(() => undefined, 1000);`;
    const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exited = new Promise((resolve) => child.once("exit", resolve));
    try {
      await new Promise<void>((resolve, reject) => {
        child.stdout.once("data", () => resolve());
        child.once("exit", (code) => reject(new Error(`the holder ended with ${code}`)));
      });
      await expect(acquireFileLock(dir)).rejects.toMatchObject({ code: "LOCKED", pid: child.pid });
    } finally {
      child.kill("SIGKILL");
      await exited;
    }
    await (await acquireFileLock(dir)).release();
    expect(await readdir(dir)).toEqual([]);
  });

  it("fails with a typed error where it can't write", async () => {
    await writeFile(join(dir, "file"), "");
    await expect(acquireFileLock(join(dir, "file"))).rejects.toMatchObject({ code: "HOST_IO" });
  });
});
