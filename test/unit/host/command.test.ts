import { readFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { getEventListeners } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { tracingChannel } from "node:diagnostics_channel";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Secret } from "../../../src/core/index.js";
import {
  CommandError,
  CommandNotFoundError,
  SystemCommandRunner,
  readProcess,
  systemCommandRunner,
} from "../../../src/host/index.js";

const { run } = { run: systemCommandRunner.run.bind(systemCommandRunner) };
const sh = (script: string, ...args: string[]): string[] => ["sh", "-c", script, "sh", ...args];

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "hv-command-"));
});
afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

/** Waits for a pid that a command has written down. */
async function pidIn(file: string): Promise<number> {
  for (;;) {
    const text = await readFile(join(dir, file), "utf8").catch(() => "");
    if (text.endsWith("\n")) return Number(text);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Dead, or about to be reaped by whoever adopted it. */
async function expectDead(pid: number): Promise<void> {
  await expect.poll(async () => (await readProcess(pid))?.alive ?? false, { timeout: 5_000, interval: 10 }).toBe(false);
}

describe("a command that ends", () => {
  it("gives what it said", async () => {
    expect(await run(sh("printf 'grüße'; echo problem >&2"))).toEqual({
      stdout: "grüße",
      stderr: "problem\n",
      exitCode: 0,
    });
  });

  it("reads its input, or nothing", async () => {
    expect((await run(["cat"], { input: "hello" })).stdout).toBe("hello");
    expect((await run(["cat"], { input: Buffer.alloc(300_000, "x") })).stdout).toHaveLength(300_000);
    expect((await run(["cat"])).stdout).toBe("");
  });

  it("may leave its input unread", async () => {
    expect((await run(["true"], { input: Buffer.alloc(1_000_000) })).exitCode).toBe(0);
    await expect(run(["false"], { input: Buffer.alloc(1_000_000) })).rejects.toMatchObject({
      code: "COMMAND_FAILED",
      exitCode: 1,
    });
  });

  it("gets its arguments as they are, through no shell", async () => {
    const words = ["$(id)", "a b", "'", '"', ";", "*", "\n", "", "--", "`x`"];
    expect((await run(sh('printf "%s|" "$@"', ...words))).stdout).toBe(`${words.join("|")}|`);
  });

  it("runs in the given directory and environment, in locale C, and finds system commands", async () => {
    const { stdout } = await run(sh('pwd; echo "$EXTRA $LC_ALL"; echo "$PATH"'), { cwd: dir, env: { EXTRA: "yes" } });
    const [pwd, extra, path] = stdout.split("\n");
    expect([pwd, extra]).toEqual([dir, "yes C"]);
    expect(path?.split(":")).toContain("/usr/sbin");
  });

  it("is awaited with what it said last, however much", async () => {
    const { stdout } = await run(sh("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done"));
    expect(stdout.trimEnd().split("\n")).toHaveLength(2000);
  });

  it("may be run a hundred times at once", async () => {
    const results = await Promise.all(Array.from({ length: 100 }, (_, i) => run(["echo", String(i)])));
    expect(results.map((r) => r.stdout)).toEqual(Array.from({ length: 100 }, (_, i) => `${i}\n`));
  });

  it("does not wait for what it has left behind with its output open", async () => {
    const { stdout } = await run(sh(`echo done; (exec sleep 100) & echo $! > ${dir}/pid`));
    expect(stdout).toBe("done\n");
    process.kill(await pidIn("pid"), "SIGKILL");
  });
});

describe("a command that fails", () => {
  it("rejects with argv, status and the end of stderr", async () => {
    const error = await run(sh("echo out; yes problem | head -n 2000 >&2; echo last >&2; exit 3"), {
      maxOutputBytes: 1e6,
    }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(CommandError);
    const { exitCode, stderr, message, argv, signal } = error as CommandError;
    expect([exitCode, signal, message, argv[0]]).toEqual([3, undefined, "sh exited with status 3", "sh"]);
    expect(stderr).toHaveLength(4096);
    expect(stderr.endsWith("last\n")).toBe(true);
  });

  it("tells by which signal it was ended", async () => {
    await expect(run(sh("kill -SEGV $$"))).rejects.toMatchObject({
      signal: "SIGSEGV",
      message: "sh was ended by SIGSEGV",
    });
  });

  it("shows a tenant its name and status, and nothing else", async () => {
    const error = await run(sh("echo /etc/secret-path >&2; exit 1")).catch((e: unknown) => e);
    expect(JSON.stringify(error)).not.toContain("secret-path");
    expect(JSON.stringify((error as CommandError).toOperatorJSON())).toContain("secret-path");
  });

  it("shows no secret, wherever it stood", async () => {
    const secret = Secret.of("hunter2-ü");
    const seen: unknown[] = [];
    const handlers = {
      start: (m: unknown) => void seen.push(m),
      error: (m: unknown) => void seen.push(m),
      end() {},
      asyncStart() {},
      asyncEnd() {},
    };
    const channel = tracingChannel("hypervise:host:command");
    channel.subscribe(handlers);
    try {
      const argv = sh("echo $1 $SECRET >&2; cat >&2; exit 1", secret.reveal());
      const options = { env: { SECRET: secret.reveal() }, input: secret.reveal(), secrets: [secret] };
      const error = (await run(argv, options).catch((e: unknown) => e)) as CommandError;
      const shown = [
        JSON.stringify(error),
        JSON.stringify(error.toOperatorJSON()),
        inspect(error, { depth: Infinity }),
        inspect(seen, { depth: 9 }),
      ];
      for (const text of shown) expect(text).not.toContain("hunter2");
      expect(error.stderr).toBe("[redacted] [redacted]\n[redacted]");
      expect(seen).toHaveLength(2);
    } finally {
      channel.unsubscribe(handlers);
    }
  });
});

describe("a command that can't be started", () => {
  it("is not found, and the package that has it is named", async () => {
    const error = await run(["nft"], { env: { PATH: dir } }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(CommandNotFoundError);
    expect(error).toMatchObject({
      code: "COMMAND_NOT_FOUND",
      command: "nft",
      remedy: expect.stringContaining("nftables") as string,
    });
    await expect(run(["no-such-command-here"])).rejects.toMatchObject({
      remedy: expect.stringContaining("no-such-command-here") as string,
    });
    await expect(run([join(dir, "constructor")])).rejects.toMatchObject({
      message: "the command constructor is not installed",
    });
  });

  it("tells a missing directory from a missing command", async () => {
    await expect(run(["true"], { cwd: join(dir, "gone") })).rejects.toMatchObject({ code: "HOST_IO", errno: "ENOENT" });
  });

  it("may not be executable", async () => {
    const file = join(dir, "plain");
    await writeFile(file, "x", { mode: 0o600 });
    await expect(run([file])).rejects.toMatchObject({ code: "HOST_IO", errno: "EACCES" });
  });

  it("is refused when its arguments are no arguments", async () => {
    const bad: unknown[][] = [
      [],
      [""],
      ["true", "a\0b"],
      ["true", 5],
      ["true", undefined],
      ["true", "x".repeat(2_000_000)],
    ];
    for (const argv of bad) await expect(run(argv as string[])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("a command that has to be stopped", () => {
  it("is ended when its time is over, with what it started", async () => {
    const promise = run(sh(`sleep 100 & echo $! > ${dir}/child; echo $$ > ${dir}/parent; wait`), { timeoutMs: 300 });
    const error = await promise.catch((e: unknown) => e);
    expect(error).toMatchObject({ code: "DEADLINE_EXCEEDED", operation: "running sh", timeoutMs: 300 });
    expect(await readProcess(await pidIn("parent"))).toBeUndefined();
    await expectDead(await pidIn("child"));
  });

  it("is ended when the caller aborts, and leaves neither zombie nor listener", async () => {
    const controller = new AbortController();
    const promise = run(sh(`echo $$ > ${dir}/parent; exec sleep 100`), { signal: controller.signal });
    const parent = await pidIn("parent");
    controller.abort("enough");
    await expect(promise).rejects.toMatchObject({ code: "ABORTED", cause: "enough" });
    expect(await readProcess(parent)).toBeUndefined();
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
  });

  it("is killed when it ignores SIGTERM", async () => {
    const runner = new SystemCommandRunner({ timeouts: { commandKillGraceMs: 50 } });
    const controller = new AbortController();
    const promise = runner.run(sh(`trap '' TERM; echo $$ > ${dir}/parent; while :; do sleep 100; done`), {
      signal: controller.signal,
    });
    const parent = await pidIn("parent");
    controller.abort();
    await expect(promise).rejects.toMatchObject({ code: "ABORTED" });
    expect(await readProcess(parent)).toBeUndefined();
  });

  it("is killed when only a member of its group ignores SIGTERM", async () => {
    const controller = new AbortController();
    const script = `sh -c 'trap "" TERM; echo $$ > ${dir}/child; while :; do sleep 100; done' & wait`;
    const promise = run(sh(script), { signal: controller.signal });
    const child = await pidIn("child");
    controller.abort();
    await expect(promise).rejects.toMatchObject({ code: "ABORTED" });
    await expectDead(child);
  });

  it("is ended when it says too much", async () => {
    const error = await run(sh(`echo $$ > ${dir}/parent; exec yes`), { maxOutputBytes: 10_000 }).catch(
      (e: unknown) => e,
    );
    expect(error).toMatchObject({ code: "OVERFLOW", message: "sh said more than 10000 bytes" });
    expect(await readProcess(await pidIn("parent"))).toBeUndefined();
    await expect(
      run(sh("yes | head -c 6000; yes | head -c 6000 >&2"), { maxOutputBytes: 10_000 }),
    ).rejects.toMatchObject({ code: "OVERFLOW" });
    await expect(run(sh("yes | head -c 10000"), { maxOutputBytes: 10_000 })).resolves.toMatchObject({ exitCode: 0 });
  });

  it("is not started under a signal that has aborted", async () => {
    await expect(run(sh(`echo > ${dir}/ran`), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "ABORTED",
    });
    await expect(readFile(join(dir, "ran"))).rejects.toMatchObject({ code: "ENOENT" });
  });
});
