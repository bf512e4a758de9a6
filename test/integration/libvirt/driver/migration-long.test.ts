/** Live migration between two libvirtds, by LibvirtDriver: a guest that never rests goes over, or stays, and is one guest all the time. */
import { EventEmitter, once } from "node:events";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { liveMigrate } from "../../../../src/driver/index.js";
import type {
  InstanceRef,
  LiveMigrateData,
  LiveMigrationOptions,
  MigrationProgress,
} from "../../../../src/driver/index.js";
import type { OperationHandle } from "../../../../src/core/index.js";
import { requirePackages } from "../../../lab/index.js";
import { MigrationHosts } from "./migration-hosts.js";

const SLOW = { bandwidthMiBps: 1, downtimeMs: 1 } as const;

let hosts: MigrationHosts;
let instance: InstanceRef;

beforeAll(async () => {
  requirePackages("libvirtd", "qemu-system-x86_64", "qemu-img");
  hosts = await MigrationHosts.open();
}, 180_000);
afterAll(() => hosts?.remove());

afterEach(async () => {
  for (const place of ["a", "b"] as const) await hosts.at(place).destroy(instance);
  for (const place of ["a", "b"] as const) expect(await hosts.domains(place), place).toEqual([]);
});

const expectHere = (place: "a" | "b", said = ""): Promise<void> => hosts.expectHere(place, instance, said);

/** Begins to leave slowly; resolves when something is on its way. */
async function leave(data: LiveMigrateData, options: LiveMigrationOptions = {}): Promise<OperationHandle<void>> {
  const told = new EventEmitter();
  const onMigrationProgress = (progress: MigrationProgress): void => {
    if (progress.memoryTransferredBytes + progress.diskTransferredBytes > 0) told.emit("sent");
  };
  const onItsWay = once(told, "sent");
  const handle = hosts.at("a").liveMigration(instance, data, { ...SLOW, onMigrationProgress, ...options });
  await Promise.race([onItsWay, handle.result]);
  return handle;
}

describe("a guest on two libvirtds", () => {
  it("goes over by shared storage, there and back, running and paused", { timeout: 240_000 }, async () => {
    const [a, b] = await hosts.openBoth();
    instance = await hosts.spawn();
    const data = await hosts.prepare(instance);
    const seen: MigrationProgress[] = [];
    await a.liveMigration(instance, data, { onMigrationProgress: (progress) => seen.push(progress) }).result;
    await expect(a.powerOn(instance)).rejects.toMatchObject({ code: "INVALID_STATE" });
    const said = await hosts.letters("a", instance);
    await hosts.finish(instance, data);
    await expectHere("b", said);
    expect([...new Set(seen.map(({ phase }) => phase))]).toEqual(["preparing", "memory", "switchover", "completed"]);
    expect(Math.max(...seen.map(({ memoryTransferredBytes }) => memoryTransferredBytes))).toBeGreaterThan(100_000);
    expect(hosts.told("a")).toEqual([
      "started self",
      "migrationStarted self",
      "migrationCompleted self",
      "stopped self",
    ]);
    expect(hosts.told("b")).toEqual(["resumed self"]);

    await b.pause(instance);
    await liveMigrate(b, a, instance).result;
    expect(await a.getInfo(instance)).toMatchObject({ state: "paused", task: "none" });
    expect(await hosts.domains("b")).toEqual([]);
    // What libvirt has kept of it is this host's.
    await a.unpause(instance);
    await a.reboot(instance, "hard");
    await hosts.speaks("a", instance);
  });

  it("goes over with its disks, or stays when that is aborted", { timeout: 240_000 }, async () => {
    const [a, b] = await hosts.openBoth(false);
    instance = await hosts.spawn();
    {
      const data = await hosts.prepare(instance);
      expect(data.copyDisks).toHaveLength(1);
      const handle = await leave(data);
      await handle.abort();
      await expect(handle.result).rejects.toMatchObject({ code: "ABORTED" });
      await hosts.takeBack(instance, data);
      await expectHere("a");
    }
    const data = await hosts.prepare(instance);
    const seen: MigrationProgress[] = [];
    await a.liveMigration(instance, data, { onMigrationProgress: (progress) => seen.push(progress) }).result;
    const said = await hosts.letters("a", instance);
    await hosts.finish(instance, data);
    await expectHere("b", said);
    expect(seen.map(({ phase }) => phase)).toContain("disks");
    // It starts from the disk that it has there.
    await b.reboot(instance, "hard");
    await hosts.speaks("b", instance);
  });

  it("is made to go: by standing still, and by post-copy", { timeout: 240_000 }, async () => {
    const [a, b] = await hosts.openBoth();
    instance = await hosts.spawn();
    const data = await hosts.prepare(instance);
    const handle = await leave(data, { bandwidthMiBps: 2 });
    await a.liveMigrationForceComplete(instance, "pause");
    await handle.result;
    const said = await hosts.letters("a", instance);
    await hosts.finish(instance, data);
    await expectHere("b", said);

    await b.destroy(instance);

    // One with more in its memory than goes over before anybody can ask for it.
    instance = await hosts.spawn({ imageId: "full" });
    const second = await hosts.prepare(instance);
    const asked: Promise<void>[] = [];
    const there = a.liveMigration(instance, second, {
      bandwidthMiBps: 4,
      downtimeMs: 1,
      allowPostcopy: true,
      onMigrationProgress: ({ iteration }) => {
        if (iteration >= 1 && asked.length === 0) asked.push(a.liveMigrationForceComplete(instance, "postcopy"));
      },
    });
    await there.result;
    await Promise.all(asked);
    expect(hosts.told("a")).toContain("postcopyStarted self");
    const spoken = await hosts.letters("a", instance);
    await hosts.finish(instance, second);
    await expectHere("b", spoken);
  });

  it("goes through a tunnel, or stays when its destination is killed on the way", { timeout: 240_000 }, async () => {
    for (const place of ["a", "b"] as const) {
      const migration = { connectionUri: hosts.daemons[place].uri("qemu"), tunnel: true, copy: "running" } as const;
      await hosts.reopen(place, { migration });
    }
    instance = await hosts.spawn();
    const data = await hosts.prepare(instance);
    const handle = await leave(data);
    // Its daemons asked nobody whether it may go.
    await expect(hosts.at("a").liveMigrationAbort(instance)).rejects.toMatchObject({ code: "CONFLICT" });
    process.kill(await hosts.waitingProcess(instance), "SIGKILL");
    await expect(handle.result).rejects.toMatchObject({ code: "MIGRATION_FAILED" });
    await hosts.takeBack(instance, data);
    await expectHere("a");
    await expectHere("b", await hosts.move(instance));
  });

  it("stays when its destination, or either daemon, is killed", { timeout: 300_000 }, async () => {
    await hosts.openBoth();
    instance = await hosts.spawn();
    const failures = [
      async () => void process.kill(await hosts.waitingProcess(instance), "SIGKILL"),
      () => hosts.daemons.b.kill(),
      () => hosts.daemons.a.kill(),
    ];
    for (const [index, fail] of failures.entries()) {
      const data = await hosts.prepare(instance);
      const handle = await leave(data);
      await fail();
      if (index === 2) await hosts.daemons.a.start();
      await expect(handle.result, String(index)).rejects.toMatchObject({ code: "MIGRATION_FAILED" });
      if (index === 1) await hosts.daemons.b.start();
      await hosts.takeBack(instance, data);
      await expectHere("a");
    }
  });
});
