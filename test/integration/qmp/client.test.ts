import { execFileSync } from "node:child_process";
import { mkdir, open, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { DeadlineExceededError } from "../../../src/core/index.js";
import {
  MAX_SOCKET_PATH_BYTES,
  QmpClient,
  QmpCommandError,
  QmpFdSet,
  isQmpCommandError,
} from "../../../src/qmp/index.js";
import type { LateReply, TranscriptEntry, QmpConnectError, QmpDisconnectedError } from "../../../src/qmp/index.js";
import { startQemu } from "./qemu.js";

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("resolved"),
    (error: unknown) => error as Error,
  );
}

describe("a client of a real QEMU", () => {
  it("connects as soon as QEMU is there, reads the schema, and quits", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    expect(client.greeting?.version.major).toBeGreaterThanOrEqual(7);
    expect(client.capabilities).toEqual(["oob"]);
    const schema = await client.execute("query-qmp-schema");
    expect(schema.length).toBeGreaterThan(900);
    expect(await client.quit()).toEqual({ reason: "quit" });
    expect(await qemu.exited).toMatchObject({ exitCode: 0 });
  });

  it("talks over one end of a socketpair, and leaves QEMU alone when it closes", async () => {
    await using qemu = await startQemu({ socketpair: true });
    const client = await QmpClient.open({ stream: qemu.stream });
    expect(await client.execute("query-status")).toHaveProperty("status");
    await client.close();
    expect(qemu.child.exitCode).toBeNull();
  });

  it("sees stop and cont as events before their replies", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    const events = client.events({ names: ["STOP", "RESUME"] });
    const order: string[] = [];
    void client.waitFor("STOP").then(() => order.push("event"));
    await client.execute("stop").then(() => order.push("reply"));
    await client.execute("cont");
    expect(order).toEqual(["event", "reply"]);
    const stop = await events.next();
    expect(stop.value).toMatchObject({ event: "STOP", data: {} });
    expect((await events.next()).value).toMatchObject({ event: "RESUME" });
  });

  it("executes out of band while the main loop hangs", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    // QEMU opens the configuration of blkdebug in its main loop, and a FIFO without a writer makes it wait there.
    const fifo = join(qemu.folder, "fifo");
    execFileSync("mkfifo", [fifo]);
    const stuck = rejection(client.executeUntyped("blockdev-add", {
      driver: "blkdebug", "node-name": "d", config: fifo, image: { driver: "null-co" },
    })); // prettier-ignore
    const others = Array.from({ length: 20 }, () => client.execute("query-status"));
    expect(await client.execute("query-yank", {}, { oob: true })).toEqual(expect.any(Array));
    const writer = await open(fifo, "w");
    await writer.close();
    await stuck;
    await Promise.all(others);
  });

  it("keeps 64-bit integers that QEMU echoes", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    const nanoseconds = 9_007_199_254_740_993n;
    await client.execute("object-add", { "qom-type": "iothread", id: "io", "poll-max-ns": nanoseconds });
    const [thread] = await client.execute("query-iothreads");
    expect(thread?.["poll-max-ns"]).toBe(nanoseconds);
  });

  it("tells QEMU's error classes apart", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    expect(isQmpCommandError(await rejection(client.execute("netdev_del", { id: "none" })), "DeviceNotFound")).toBe(
      true,
    );
    expect(isQmpCommandError(await rejection(client.executeUntyped("no-such")), "CommandNotFound")).toBe(true);
    expect(await rejection(client.executeUntyped("query-status", { a: 1 }))).toBeInstanceOf(QmpCommandError);
    expect(await rejection(client.execute("query-status", {}, { oob: true }))).toBeInstanceOf(QmpCommandError);
  });

  it("carries names in any language, and hostile ones, as they are", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    for (const data of ["日本語 🦕", 'a"b\\c\n', "{'execute':'quit'}", "\u0001\u007f\u0085"]) {
      const error = await rejection(client.executeUntyped("netdev_del", { id: data }));
      expect(error).toMatchObject({ errorClass: "DeviceNotFound" });
      expect((error as QmpCommandError).desc).toContain(data.slice(0, 2));
    }
    expect(client.state).toBe("running");
  });

  it("carries many commands at once", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    const replies = await Promise.all(Array.from({ length: 500 }, () => client.execute("query-version")));
    expect(replies.every((reply) => reply.qemu.major === client.greeting?.version.major)).toBe(true);
  });

  it("says how QEMU ended when it is killed with commands under way", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path }, { exitInfo: () => qemu.exited });
    qemu.child.kill("SIGSTOP");
    const calls = Array.from({ length: 10 }, () => rejection(client.execute("query-status")));
    const events = client.events();
    qemu.child.kill("SIGKILL");
    const errors = (await Promise.all(calls)) as QmpDisconnectedError[];
    for (const error of errors) expect(error).toMatchObject({ code: "QMP_DISCONNECTED", signal: "SIGKILL" });
    expect(errors.map((error) => error.maybeExecuted)).toEqual([...Array<boolean>(8).fill(true), false, false]);
    expect((await events.next()).value).toMatchObject({ event: "disconnected", data: { reason: "lost" } });
  });

  it("gives what QEMU wrote to its standard error when it does not start", async () => {
    await using qemu = await startQemu({ socketpair: true, args: ["-machine", "no-such-machine"] });
    const error = await rejection(QmpClient.open({ stream: qemu.stream }, { exitInfo: () => qemu.exited }));
    expect(error).toMatchObject({ code: "QMP_CONNECT_FAILED", phase: "greeting", exitCode: 1, retryable: false });
    expect((error as QmpConnectError).detail).toContain("unsupported machine type");
  });

  it("ends calls at their deadline when QEMU is stopped, and drops its late replies when it goes on", async () => {
    const late: LateReply[] = [];
    const transcript: TranscriptEntry[] = [];
    await using qemu = await startQemu();
    await using client = await QmpClient.open(
      { path: qemu.path },
      { onLateReply: (reply) => late.push(reply), transcript: (entry) => transcript.push(entry) },
    );
    qemu.child.kill("SIGSTOP");
    const errors = await Promise.all(
      Array.from({ length: 10 }, () => rejection(client.execute("query-status", {}, { deadlineMs: 100 }))),
    );
    for (const error of errors) expect(error).toBeInstanceOf(DeadlineExceededError);
    qemu.child.kill("SIGCONT");
    expect(await client.execute("query-version")).toHaveProperty("qemu");
    expect(late.map((reply) => reply.command)).toEqual(Array<string>(8).fill("query-status"));
    expect(transcript.filter((e) => e.direction === "sent" && e.command === "query-status")).toHaveLength(8);
  });

  it("is the only client of a monitor: a second one hears nothing until the first has gone", async () => {
    await using qemu = await startQemu();
    const first = await QmpClient.open({ path: qemu.path });
    const second = new QmpClient({ path: qemu.path });
    expect(await rejection(second.connect({ deadlineMs: 200 }))).toBeInstanceOf(DeadlineExceededError);
    expect(second.state).toBe("idle");
    const waiting = second.connect();
    await first.close();
    await waiting;
    expect(await second.execute("query-status")).toHaveProperty("status");
    await second.close();
  });

  it("gets through to a monitor whose backlog is full", async () => {
    await using qemu = await startQemu();
    const first = await QmpClient.open({ path: qemu.path });
    const clients = Array.from({ length: 5 }, () => new QmpClient({ path: qemu.path }));
    const connecting = clients.map((client) => client.connect().finally(() => client.close()));
    await first.close();
    await Promise.all(connecting);
  });

  it("reaches a monitor by a path beyond 107 bytes", async () => {
    await using qemu = await startQemu();
    await (await QmpClient.open({ path: qemu.path })).close();
    const deep = join(qemu.folder, "d".repeat(90), "e".repeat(90));
    await mkdir(deep, { recursive: true });
    execFileSync("ln", [qemu.path, join(deep, "monitor")]);
    const path = join(deep, "monitor");
    expect(Buffer.byteLength(path)).toBeGreaterThan(MAX_SOCKET_PATH_BYTES);
    await using client = await QmpClient.open({ path });
    expect(await client.execute("query-status")).toHaveProperty("status");
  });

  it("ends the session when a reply is longer than its bound", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path }, { maxMessageBytes: 1000 });
    const error = await rejection(client.execute("query-qmp-schema"));
    expect(error).toMatchObject({ code: "QMP_DISCONNECTED", cause: { code: "QMP_PROTOCOL", fault: "too-long" } });
  });

  it("passes descriptors with the command that names them, also while others are under way", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    const files = await Promise.all(
      Array.from({ length: 6 }, async (_, n) => {
        const path = join(qemu.folder, `disk${n}`);
        await writeFile(path, Buffer.alloc((n + 1) * 512));
        return open(path, "r+");
      }),
    );
    const added = await Promise.all(
      files.flatMap((file, n) => [
        client.executeWithFds("add-fd", { "fdset-id": n + 10, opaque: `disk${n}` }, [file.fd]),
        client.execute("query-status"),
      ]),
    );
    expect(added).toHaveLength(12);
    for (const file of files) await file.close();
    for (const n of files.keys()) {
      await client.execute("blockdev-add", {
        driver: "file",
        "node-name": `f${n}`,
        filename: `/dev/fdset/${n + 10}`,
        "read-only": false,
      });
    }
    const nodes = await client.execute("query-named-block-nodes");
    const sizes = new Map(nodes.map((node) => [node["node-name"], node.image["virtual-size"]]));
    for (const n of files.keys()) expect(sizes.get(`f${n}`)).toBe((n + 1) * 512);
    const file = await open(join(qemu.folder, "disk0"), "r");
    await client.executeWithFds("getfd", { fdname: "named" }, [file.fd]);
    await file.close();
    await client.execute("closefd", { fdname: "named" });
  });

  it("passes descriptors over a socketpair too", async () => {
    await using qemu = await startQemu({ socketpair: true });
    await using client = await QmpClient.open({ stream: qemu.stream });
    const file = await open(join(qemu.folder), "r");
    await client.executeWithFds("getfd", { fdname: "folder" }, [file.fd]);
    await file.close();
    await client.execute("closefd", { fdname: "folder" });
  });

  it("keeps sets of descriptors, by which QEMU opens files that it could not open itself", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    const path = join(qemu.folder, "disk");
    await writeFile(path, Buffer.alloc(4096));
    const readOnly = await open(path, "r");
    const writable = await open(path, "r+");
    const set = await QmpFdSet.create(client, readOnly.fd, { label: "disk" });
    await set.add(writable.fd);
    await readOnly.close();
    await writable.close();
    await rm(path);
    await client.execute("blockdev-add", { driver: "file", "node-name": "f", filename: set.path });
    await client.execute("blockdev-reopen", {
      options: [{ driver: "file", "node-name": "f", filename: set.path, "read-only": true }],
    });
    expect((await QmpFdSet.find(client, "disk")).map(({ id }) => id)).toEqual([set.id]);
    await client.execute("blockdev-del", { "node-name": "f" });
    await set.remove();
    await set.remove();
    expect(await QmpFdSet.find(client, "disk")).toEqual([]);
  });
});
