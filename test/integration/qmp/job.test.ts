import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { AbortedError, ConflictError } from "../../../src/core/index.js";
import { QmpClient, QmpCommandError, QmpDisconnectedError, QmpJob, QmpJobError } from "../../../src/qmp/index.js";
import { startQemu } from "./qemu.js";
import type { TestQemu } from "./qemu.js";

const MIB = 1024 * 1024;

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("resolved"),
    (error: unknown) => error as Error,
  );
}

/** Two disks of 64 MiB, `a` with something in it. */
async function disks(qemu: TestQemu, client: QmpClient): Promise<void> {
  for (const name of ["a", "b"]) {
    const path = join(qemu.folder, name);
    await writeFile(path, name === "a" ? Buffer.alloc(4 * MIB, 7) : "");
    await truncate(path, 64 * MIB);
    await client.execute("blockdev-add", {
      driver: "raw",
      "node-name": name,
      file: { driver: "file", filename: path },
    });
  }
}

async function jobs(client: QmpClient): Promise<readonly string[]> {
  return (await client.execute("query-jobs")).map((job) => job.id);
}

describe("jobs of a real QEMU", () => {
  it("are waited for and dismissed", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    await disks(qemu, client);
    const job = await QmpJob.start(client, "blockdev-backup", {
      "job-id": "copy",
      device: "a",
      target: "b",
      sync: "full",
    });
    await job.wait();
    await job.wait();
    expect(await jobs(client)).toEqual([]);
    expect(await job.progress()).toBeUndefined();
  });

  it("that mirror become ready, follow, and complete", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    await disks(qemu, client);
    const job = await QmpJob.start(client, "blockdev-mirror", {
      "job-id": "mirror",
      device: "a",
      target: "b",
      sync: "full",
    });
    await job.waitUntilReady();
    expect(job.status).toBe("ready");
    expect(await job.progress()).toMatchObject({ status: "ready", current: 64 * MIB, total: 64 * MIB });
    await job.complete();
    await job.wait();
    expect(await jobs(client)).toEqual([]);
  });

  it("that fail reject with QEMU's words, although their command succeeded", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    const path = join(qemu.folder, "none", "x.qcow2");
    const options = { driver: "file", filename: path, size: MIB } as const;
    const job = await QmpJob.start(client, "blockdev-create", { "job-id": "create", options });
    const error = await rejection(job.wait());
    expect(error).toBeInstanceOf(QmpJobError);
    expect(error).toMatchObject({ jobId: "create", jobType: "create", cancelled: false });
    expect((error as QmpJobError).detail).toContain("No such file");
    expect(await jobs(client)).toEqual([]);
  });

  it("that can't start leave nothing", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    const start = QmpJob.start(client, "blockdev-mirror", {
      "job-id": "m",
      device: "none",
      target: "none",
      sync: "full",
    });
    expect(await rejection(start)).toBeInstanceOf(QmpCommandError);
    expect(await jobs(client)).toEqual([]);
  });

  it("are cancelled, and waited for, when their caller gives up", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    await disks(qemu, client);
    const start = () =>
      QmpJob.start(client, "blockdev-mirror", { "job-id": "slow", device: "a", target: "b", sync: "full", speed: MIB });
    const abort = new AbortController();
    const job = await start();
    const waiting = rejection(job.waitOrCancel({ signal: abort.signal }));
    await job.pause();
    await job.resume();
    await job.setSpeed(2 * MIB);
    abort.abort();
    expect(await waiting).toBeInstanceOf(AbortedError);
    expect(await jobs(client)).toEqual([]);
    const again = await start();
    await again.cancel();
    expect(await rejection(again.wait())).toMatchObject({ code: "QMP_JOB_FAILED", cancelled: true });
    await again.cancel();
  });

  it("are taken up again by another client", async () => {
    await using qemu = await startQemu();
    const first = await QmpClient.open({ path: qemu.path });
    await disks(qemu, first);
    await QmpJob.start(first, "blockdev-mirror", { "job-id": "mirror", device: "a", target: "b", sync: "full" });
    await first.close();
    await using second = await QmpClient.open({ path: qemu.path });
    const job = await QmpJob.adopt(second, "mirror");
    await job?.waitUntilReady();
    await job?.cancel();
    await job?.wait().catch(() => undefined);
    expect(await QmpJob.adopt(second, "mirror")).toBeUndefined();
  });

  it("reject when QEMU dies, or when they end without being ready", async () => {
    await using qemu = await startQemu();
    await using client = await QmpClient.open({ path: qemu.path });
    await disks(qemu, client);
    const backup = await QmpJob.start(client, "blockdev-backup", {
      "job-id": "copy",
      device: "a",
      target: "b",
      sync: "full",
    });
    expect(await rejection(backup.waitUntilReady())).toBeInstanceOf(ConflictError);
    const mirror = await QmpJob.start(client, "blockdev-mirror", {
      "job-id": "m",
      device: "a",
      target: "b",
      sync: "full",
    });
    await mirror.waitUntilReady();
    const waiting = rejection(mirror.wait());
    qemu.child.kill("SIGKILL");
    expect(await waiting).toBeInstanceOf(QmpDisconnectedError);
  });
});
