import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { chown, readFile, readdir } from "node:fs/promises";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { requirePackages, sandboxKind, waitFor, withTemporaryDirectory } from "../../lab/index.js";

const script = fileURLToPath(new URL("../../../scripts/in-sandbox.mjs", import.meta.url));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout(): string;
}

/** Starts the sandbox script anew, whatever sandbox this test is in. */
function start(
  args: readonly string[],
  { prefix = [], temporary }: { readonly prefix?: readonly string[]; readonly temporary?: string } = {},
): Started {
  const env: NodeJS.ProcessEnv = { ...process.env, ...(temporary === undefined ? {} : { TMPDIR: temporary }) };
  delete env["HYPERVISE_SANDBOX"];
  const [file = "", ...rest] = [...prefix, process.execPath, script, ...args];
  const child = spawn(file, rest, { env, stdio: ["ignore", "pipe", "pipe"] });
  const text = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (text.stdout += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (text.stderr += chunk));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, ...text }));
  });
  return { child, ended, stdout: () => text.stdout };
}

const shell = (line: string, ...options: readonly string[]): Promise<Ended> =>
  start([...options, "--", "sh", "-c", line]).ended;

beforeAll(() => requirePackages("unshare", "ip", "nft"));

describe("scripts/in-sandbox.mjs", () => {
  it("gives root a network, a process tree, a host name and a temporary directory of its own", async () => {
    const { code, stdout } = await shell(
      'echo $HYPERVISE_SANDBOX; ls /sys/class/net; cat /proc/1/comm; ls -d "$TMPDIR"; ip -br link show lo',
    );
    const [kind, links, first, temporary, loopback] = stdout.split("\n");
    expect({ code, kind, links, first }).toEqual({ code: 0, kind: "root", links: "lo", first: "sh" });
    expect(temporary).not.toBe(process.env["TMPDIR"]);
    expect(loopback).toContain("LOOPBACK,UP");
    await expect(readdir(temporary ?? "")).rejects.toThrow("ENOENT");
  });

  it("keeps the cgroups in sight under the new /sys", async () => {
    const here = await readdir("/sys/fs/cgroup");
    const { stdout } = await shell("ls -A /sys/fs/cgroup");
    expect(stdout.split("\n").filter(Boolean).sort()).toEqual(here.sort());
  });

  it("passes on standard input's end, the exit code, and the signal that ended the command", async () => {
    expect((await shell("cat; exit 7")).code).toBe(7);
    expect((await shell("kill -KILL $$")).code).toBe(128 + constants.signals.SIGKILL);
    expect((await start(["--", "/no/such/command"]).ended).code).toBe(127);
    expect((await start([]).ended).code).toBe(2);
  });

  it.each(["SIGTERM", "SIGINT"] as const)("passes on %s", async (signal) => {
    const name = signal.slice(3);
    const sandbox = start([
      "--",
      "sh",
      "-c",
      `trap 'echo caught; exit 9' ${name}; echo up; while :; do sleep 0.05; done`,
    ]);
    await waitFor(() => sandbox.stdout().includes("up"), { what: "the command's start", timeoutMs: 30_000 });
    sandbox.child.kill(signal);
    expect(await sandbox.ended).toMatchObject({ code: 9, stdout: "up\ncaught\n" });
  });

  it("reaps orphans at once", async () => {
    // The orphan is dead when its file is there; the loop ends when the kernel has no zombie of it any more.
    const { code, stdout } = await shell(
      '( setsid sh -c "echo \\$\\$ > $TMPDIR/pid" & ); while [ ! -s $TMPDIR/pid ]; do :; done; ' +
        "for i in 1 2 3 4 5 6 7 8 9 10; do [ -d /proc/$(cat $TMPDIR/pid) ] || { echo reaped; exit 0; }; sleep 0.05; done; exit 1",
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: "reaped\n" });
  });

  it("names what was left behind, and with --strict fails for it", async () => {
    const mess = "ip link add left0 type bridge; ip netns add lost; nft add table inet forgotten; sleep 600 &";
    const lenient = await shell(mess);
    expect(lenient.code).toBe(0);
    expect(lenient.stderr).toMatch(/left behind: process \d+ sleep 600/);
    expect(lenient.stderr).toContain("left behind: interface left0");
    expect(lenient.stderr).toContain("left behind: network namespace lost");
    expect(lenient.stderr).toContain("left behind: table inet forgotten");
    expect((await shell(mess, "--strict")).code).toBe(1);
    expect(await shell("ip link add left0 type bridge; ip link del left0", "--strict")).toEqual({
      code: 0,
      stdout: "",
      stderr: "",
    });
  });

  it("dies with whoever started it, and takes its temporary directory with it", async () => {
    await withTemporaryDirectory(async (directory) => {
      const sandbox = start(["--", "sh", "-c", "readlink /proc/self/ns/pid; sleep 600"], { temporary: directory.path });
      const namespace = await waitFor(() => /pid:\[\d+\]/.exec(sandbox.stdout())?.[0], { timeoutMs: 30_000 });
      sandbox.child.kill("SIGKILL");
      await waitFor(async () => !(await inhabited(namespace)), { what: "the end of the sandbox", timeoutMs: 30_000 });
      await waitFor(async () => (await readdir(directory.path)).length === 0, { what: "no temporary files" });
    });
  });

  it("lets an ordinary user have a network of their own, where user namespaces are allowed", async () => {
    expect(sandboxKind()).not.toBe("user");
    await withTemporaryDirectory(async (directory) => {
      await chown(directory.path, 65534, 65534);
      const prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
      const line =
        'echo $HYPERVISE_SANDBOX; [ "$HYPERVISE_SANDBOX" = none ] || ip link add br0 type bridge && ip -br link';
      const { code, stdout } = await start(["--", "sh", "-c", line], { prefix, temporary: directory.path }).ended;
      expect(code).toBe(0);
      const [kind] = stdout.split("\n");
      expect(["user", "none"]).toContain(kind);
      if (kind === "user") expect(stdout).toContain("br0");
      expect(await readdir(directory.path)).toEqual([]);
    });
  });
});

async function inhabited(namespace: string): Promise<boolean> {
  const { readlink } = await import("node:fs/promises");
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const link = await readlink(`/proc/${pid}/ns/pid`).catch(() => "");
      const state = /\) (\S)/.exec(await readFile(`/proc/${pid}/stat`, "utf8").catch(() => ""))?.[1];
      return link === namespace && state !== "Z";
    }),
  );
  return found.includes(true);
}
