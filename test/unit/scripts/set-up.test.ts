import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { holdServices } from "../../../scripts/lib/apt-install.mjs";
import { cacheDirectoryCandidates } from "../../../scripts/lib/cache-directory.mjs";
import { ensureDependencies } from "../../../scripts/lib/dependencies.mjs";
import { withExclusiveLock } from "../../../scripts/lib/exclusive-lock.mjs";
import { createLog, silentLog } from "../../../scripts/lib/progress.mjs";
import { CommandFailed, runCommand } from "../../../scripts/lib/run-command.mjs";
import { temporaryDirectory } from "../../lab/temporary-directory.js";
import type { TemporaryDirectory } from "../../lab/temporary-directory.js";

let directory: TemporaryDirectory;

beforeEach(async () => {
  directory = await temporaryDirectory();
});

afterEach(() => directory.remove());

describe("cacheDirectoryCandidates", () => {
  const places = { home: "/home/u", temporary: "/tmp", user: "7" };

  it("prefers the user's own words, then the base directory specification, then home, then the temporary directory", () => {
    expect(cacheDirectoryCandidates({ HYPERVISE_CACHE: "/c", XDG_CACHE_HOME: "/x" }, places)).toEqual([
      "/c",
      "/x/hypervise",
      "/home/u/.cache/hypervise",
      "/tmp/hypervise-cache-7",
    ]);
  });

  it("passes over a relative XDG_CACHE_HOME and a missing home", () => {
    expect(cacheDirectoryCandidates({ XDG_CACHE_HOME: "x" }, { ...places, home: "" })).toEqual([
      "/tmp/hypervise-cache-7",
    ]);
  });
});

describe("withExclusiveLock", () => {
  it("lets one in at a time, and says when it waits", async () => {
    const lock = directory.file("lock");
    const order: string[] = [];
    let leave = (): void => {};
    let entered = (): void => {};
    const inside = new Promise<void>((resolve) => (entered = resolve));
    const first = withExclusiveLock(lock, async () => {
      order.push("first in");
      entered();
      await new Promise<void>((resolve) => (leave = resolve));
      order.push("first out");
    });
    await inside;
    await withExclusiveLock(lock, async () => order.push("second in"), {
      onWait: () => {
        order.push("second waits");
        leave();
      },
    });
    await first;
    expect(order).toEqual(["first in", "second waits", "first out", "second in"]);
  });

  it("gives up at its deadline, and lets go when the task fails", async () => {
    const lock = directory.file("lock");
    await withExclusiveLock(lock, async () => {
      const late = withExclusiveLock(lock, async () => {}, { timeoutMs: 1_000 });
      await expect(late).rejects.toThrow("more than 1000 ms");
    });
    await expect(withExclusiveLock(lock, () => Promise.reject(new Error("task")))).rejects.toThrow("task");
    expect(await withExclusiveLock(lock, async () => "free")).toBe("free");
  });

  it("goes on unlocked where no lock can be made", async () => {
    expect(await withExclusiveLock(directory.file("no/such/directory/lock"), async () => 1)).toBe(1);
  });
});

describe("holdServices", () => {
  it("forbids services to start while it holds, and leaves no trace", async () => {
    const policy = directory.file("policy-rc.d");
    const release = holdServices(policy);
    expect(await runCommand([policy], { check: false })).toMatchObject({ code: 101 });
    release();
    expect(existsSync(policy)).toBe(false);
  });

  it("leaves an administrator's policy alone", async () => {
    const policy = directory.file("policy-rc.d");
    await writeFile(policy, "#!/bin/sh\nexit 104\n");
    holdServices(policy)();
    expect(await readFile(policy, "utf8")).toContain("exit 104");
  });

  it("takes over from a set-up that was killed, whose policy has no effect any more", async () => {
    const policy = directory.file("policy-rc.d");
    const script = new URL("../../../scripts/lib/apt-install.mjs", import.meta.url).href;
    const code = `(await import(${JSON.stringify(script)})).holdServices(${JSON.stringify(policy)}); process.kill(process.pid, "SIGKILL")`;
    await runCommand([process.execPath, "--input-type=module", "-e", code], { check: false });
    expect(await runCommand([policy], { check: false })).toMatchObject({ code: 0 });
    holdServices(policy)();
    expect(existsSync(policy)).toBe(false);
  });
});

describe("runCommand", () => {
  it("rejects with what the command said, and kills its whole group at the deadline", async () => {
    const failing = runCommand(["sh", "-c", "echo broken >&2; exit 3"]);
    await expect(failing).rejects.toThrow(/exited with 3:\nbroken/);
    const marker = directory.file("survived");
    const slow = runCommand(["sh", "-c", `(sleep 0.5; touch ${marker}) & wait`], { timeoutMs: 100 });
    await expect(slow).rejects.toBeInstanceOf(CommandFailed);
    await runCommand(["sleep", "0.6"]);
    expect(existsSync(marker)).toBe(false);
    await expect(runCommand(["no-such-command-here"])).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("hands out the lines of a status descriptor", async () => {
    const lines: string[] = [];
    await runCommand(["sh", "-c", "echo one >&3; printf 'two\\nthree' >&3"], {
      statusLine: (line) => lines.push(line),
    });
    expect(lines).toEqual(["one", "two"]);
  });
});

describe("createLog", () => {
  it("rewrites one line on a terminal, and is sparing elsewhere", () => {
    const written = (isTTY: boolean): string => {
      let text = "";
      const stream = { isTTY, columns: 20, write: (chunk: string) => ((text += chunk), true) };
      const log = createLog(stream as unknown as NodeJS.WriteStream);
      log.progress?.("1% of it");
      log.progress?.("2% of something long enough");
      log("done");
      return text;
    };
    expect(written(true)).toBe("\r\u001b[K1% of it\r\u001b[K2% of something lon…\r\u001b[Kdone\n");
    expect(written(false)).toBe("1% of it\ndone\n");
  });
});

describe("ensureDependencies", () => {
  const project = async (version: string): Promise<void> => {
    const description = { name: "scratch", version };
    await writeFile(directory.file("package.json"), JSON.stringify(description));
    await writeFile(
      directory.file("package-lock.json"),
      JSON.stringify({ ...description, lockfileVersion: 3, requires: true, packages: { "": description } }),
    );
  };
  const ensure = () => ensureDependencies({ root: directory.path, log: silentLog });

  it("installs once, and again only when the lock file names what is not installed", async () => {
    await project("1.0.0");
    expect(await ensure()).toBe(true);
    expect(await ensure()).toBe(false);
    // Only the project's own version has changed: the same dependencies.
    const hidden = directory.file("node_modules/.package-lock.json");
    await mkdir(dirname(hidden), { recursive: true });
    await writeFile(hidden, JSON.stringify({ lockfileVersion: 3, packages: {} }));
    await project("1.0.1");
    expect(await ensure()).toBe(false);
    await rm(directory.file("node_modules"), { recursive: true });
    expect(await ensure()).toBe(true);
  });
});
