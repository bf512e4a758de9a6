import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buffer, text } from "node:stream/consumers";
import { AbortedError, DeadlineExceededError } from "../../../src/core/index.js";
import { GuestAgentClient, QmpCommandError } from "../../../src/qmp/index.js";
import { testGuest } from "../../lab/index.js";

/** What must not be done to the machine on which the tests run. */
const BLOCKED = [
  "guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid", "guest-fsfreeze-freeze",
  "guest-fsfreeze-freeze-list", "guest-fstrim", "guest-set-user-password", "guest-set-time", "guest-set-vcpus",
]; // prettier-ignore

async function startAgent() {
  const folder = await mkdtemp(join(tmpdir(), "qga-test-"));
  const path = join(folder, "agent.sock");
  const child = spawn(
    (await testGuest()).guestAgent,
    ["-m", "unix-listen", "-p", path, "-t", folder, "-f", join(folder, "pid"), "-b", BLOCKED.join(",")],
    {
      stdio: "ignore",
    },
  );
  const exited = new Promise((resolve) => child.once("close", resolve));
  return {
    folder,
    path,
    async stop() {
      child.kill("SIGKILL");
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("resolved"),
    (error: unknown) => error as Error,
  );
}

describe("a client of a real guest agent", () => {
  let agent: Awaited<ReturnType<typeof startAgent>>;

  beforeAll(async () => {
    agent = await startAgent();
  });

  afterAll(() => agent.stop());

  it("gets into step, and learns what the agent can do", async () => {
    await using client = await GuestAgentClient.open({ path: agent.path });
    await client.ping();
    expect(await client.supports("guest-exec")).toBe(true);
    expect(await client.supports("guest-shutdown")).toBe(false);
    expect(await client.execute("guest-get-host-name")).toEqual({ "host-name": hostname() });
    const interfaces = await client.networkInterfaces();
    expect(interfaces.map((nic) => nic.name)).toContain("lo");
  });

  it("gets into step with an agent in which another client left half a command", async () => {
    await new Promise<void>((resolve) => {
      const socket = createConnection(agent.path, () =>
        socket.end('{"execute": "guest-file-open", "arguments": {"path": "', resolve),
      );
    });
    await using client = await GuestAgentClient.open({ path: agent.path });
    await client.ping();
  });

  it("gives a program's output while it runs, and leaves nothing behind", async () => {
    await using client = await GuestAgentClient.open({ path: agent.path });
    const waits = join(agent.folder, "go on");
    const script = `echo first; while [ ! -e "$1" ]; do sleep 0.05; done; cat; echo "$GREETING" >&2; exit 3`;
    const program = await client.start("/bin/sh", {
      args: ["-c", script, "sh", waits],
      input: "päron",
      env: ["GREETING=hej", "PATH=/usr/bin:/bin"],
    });
    const output = program.stdout.setEncoding("utf8")[Symbol.asyncIterator]();
    expect((await output.next()).value).toBe("first\n");
    await writeFile(waits, "");
    expect((await output.next()).value).toBe("päron");
    expect(await text(program.stderr)).toBe("hej\n");
    expect(await output.next()).toMatchObject({ done: true });
    expect(await program.exited).toEqual({ exitCode: 3 });
    await program.kill();
  });

  it("holds back output that nobody reads, all of it, and ends a program on request", async () => {
    await using client = await GuestAgentClient.open({ path: agent.path });
    const large = await client.start("/bin/sh", { args: ["-c", "head -c 3000000 /dev/zero"] });
    large.stderr.resume();
    expect((await buffer(large.stdout)).length).toBe(3_000_000);
    expect(await large.exited).toEqual({ exitCode: 0 });
    const endless = await client.start("/bin/sh", { args: ["-c", "exec sleep 600"] });
    endless.stdout.resume();
    endless.stderr.resume();
    await endless.kill("SIGKILL");
    expect(await endless.exited).toEqual({ signal: 9 });
  });

  it("lets go of a program when its caller gives up", async () => {
    await using client = await GuestAgentClient.open({ path: agent.path });
    const abort = new AbortController();
    const program = await client.start("/bin/sh", { args: ["-c", "exec sleep 600"], signal: abort.signal });
    const ended = rejection(program.exited);
    const read = rejection(text(program.stdout));
    abort.abort();
    expect(await ended).toBeInstanceOf(AbortedError);
    expect(await read).toBeInstanceOf(AbortedError);
    await program.kill("SIGKILL");
    expect(await rejection(client.start("/bin/sh", { deadlineMs: 1 }))).toBeInstanceOf(DeadlineExceededError);
    const missing = await client.start("/no/such/program");
    missing.stdout.resume();
    expect(await text(missing.stderr)).toContain("/no/such/program");
    expect(await missing.exited).toEqual({ exitCode: 127 });
  });

  it("runs programs, with input, output and exit code", async () => {
    await using client = await GuestAgentClient.open({ path: agent.path });
    const cat = await client.exec("/bin/sh", {
      args: ["-c", 'cat; echo "$GREETING" >&2; exit 3'],
      input: "päron",
      env: ["GREETING=hej"],
    });
    expect(cat).toMatchObject({ exitCode: 3, stdoutTruncated: false });
    expect(cat.stdout.toString()).toBe("päron");
    expect(cat.stderr.toString()).toBe("hej\n");
    const killed = await client.exec("/bin/sh", { args: ["-c", "kill -9 $$"] });
    expect(killed.signal).toBe(9);
    expect(await rejection(client.exec("/no/such/program"))).toBeInstanceOf(QmpCommandError);
  });

  it("carries output of megabytes", async () => {
    await using client = await GuestAgentClient.open({ path: agent.path });
    const { stdout } = await client.exec("/usr/bin/head", { args: ["-c", "4000000", "/dev/zero"] });
    expect(stdout.length).toBe(4_000_000);
  });

  it("reads and writes files", async () => {
    await using client = await GuestAgentClient.open({ path: agent.path });
    const path = join(agent.folder, "file");
    const data = Buffer.from(Array.from({ length: 900_001 }, (_, i) => i % 251));
    await client.writeFile(path, data);
    expect((await readFile(path)).equals(data)).toBe(true);
    await client.writeFile(path, "!", { append: true });
    expect((await client.readFile(path)).length).toBe(900_002);
    await writeFile(path, "");
    expect((await client.readFile(path)).length).toBe(0);
    expect(await rejection(client.readFile(join(agent.folder, "none")))).toBeInstanceOf(QmpCommandError);
  });

  it("is in step again after a command that took too long", async () => {
    await using client = await GuestAgentClient.open({ path: agent.path });
    const fifo = join(agent.folder, "fifo");
    execFileSync("mkfifo", [fifo]);
    // Opening a FIFO to write waits for its reader, and the agent with it.
    const opening = client.execute("guest-file-open", { path: fifo, mode: "w" }, { deadlineMs: 200 });
    const error = await rejection(opening);
    expect(error).toSatisfy((e) => e instanceof DeadlineExceededError || e instanceof QmpCommandError);
    const reader = spawn("cat", [fifo], { stdio: "ignore" });
    await client.ping();
    reader.kill();
  });

  it("tells refusals of commands that are not answered otherwise", async () => {
    await using client = await GuestAgentClient.open({ path: agent.path });
    expect(await rejection(client.shutdown("powerdown"))).toBeInstanceOf(QmpCommandError);
    await client.ping();
  });
});
