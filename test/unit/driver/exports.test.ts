import { describe, expect, it } from "vitest";
import { failureOf, instance, openStage, worldOf } from "./support/scenarios.js";
import type { Stage } from "./support/scenarios.js";
import { EXPORTS, roomySpec } from "./support/hardware-scenarios.js";
import { FakeDriver } from "../../../src/fake/index.js";

async function running(): Promise<Stage> {
  const stage = await openStage();
  await stage.driver.spawn(roomySpec());
  return stage;
}

function contentOf({ driver }: Pick<Stage, "driver">, path: string): readonly string[] | undefined {
  return driver.host.storage.get(path)?.content;
}

function files({ world }: Stage): readonly string[] {
  return world.ledger().flatMap(({ kind, id }) => (kind === "exportedFile" || kind === "temporaryFile" ? [id] : []));
}

const ROOT = `${EXPORTS}/root.qcow2`;
const only = (path: string) => ({ disks: [{ diskId: "root", path }] });

describe("backup", () => {
  it("copies all own disks into a directory, as they are at one point in time", async () => {
    const stage = await running();
    const { driver, world } = stage;
    world.guest(instance.uuid).write("root", "before");
    const handle = driver.backup(instance, { directory: EXPORTS });
    expect(handle).toMatchObject({ kind: "backup", state: "running", abortable: true });
    expect(await handle.result).toEqual({
      disks: [{ diskId: "root", path: ROOT, format: "qcow2" }],
      quiesced: true,
    });
    world.guest(instance.uuid).write("root", "after");
    expect(contentOf(stage, ROOT)).toEqual(["image:cirros", "before"]);
    expect(files(stage)).toEqual([ROOT]);
    expect(world.guest(instance.uuid).frozen).toBe(false);
    await driver.destroy(instance);
    expect(files(stage)).toEqual([ROOT]);
    world.assertSound();
  });

  it("copies what has changed since a checkpoint, and nothing else", async () => {
    const stage = await running();
    const { driver, world } = stage;
    const guest = world.guest(instance.uuid);
    await driver.backup(instance, { directory: EXPORTS, checkpoint: "monday" }).result;
    guest.write("root", "on tuesday");
    await driver.backup(instance, { ...only(`${EXPORTS}/2`), since: "monday", checkpoint: "tuesday" }).result;
    guest.write("root", "on wednesday");
    await driver.reboot(instance, "hard");
    await driver.backup(instance, { ...only(`${EXPORTS}/3`), since: "tuesday" }).result;
    expect(contentOf(stage, `${EXPORTS}/2`)).toEqual(["on tuesday"]);
    expect(contentOf(stage, `${EXPORTS}/3`)).toEqual(["on wednesday"]);
    const checkpoints = await driver.listCheckpoints(instance);
    expect(checkpoints.map(({ name, diskIds }) => [name, diskIds])).toEqual([
      ["monday", ["root"]],
      ["tuesday", ["root"]],
    ]);
    await driver.deleteCheckpoint(instance, "monday");
    await driver.deleteCheckpoint(instance, "monday");
    expect((await driver.listCheckpoints(instance)).map(({ name }) => name)).toEqual(["tuesday"]);
  });

  it("takes the place of no file, whoever made it and when", async () => {
    const stage = await running();
    const { driver } = stage;
    await driver.backup(instance, only(ROOT)).result;
    stage.world.guest(instance.uuid).write("root", "later");
    expect(await failureOf(driver.backup(instance, { directory: EXPORTS, checkpoint: "x" }).result)).toMatchObject({
      code: "CONFLICT",
    });
    expect(contentOf(stage, ROOT)).toEqual(["image:cirros"]);
    expect(await driver.listCheckpoints(instance)).toEqual([]);
    const path = `${EXPORTS}/contested`;
    driver.faults.failOn("files.publish", {
      error: ({ subject = "" }) => {
        driver.host.storage.add({ ...driver.host.storage.get(ROOT)!, path: subject, content: ["another's"] });
        return Object.assign(new Error("taken"), { code: "EEXIST" });
      },
    });
    await failureOf(driver.backup(instance, { ...only(path), checkpoint: "x" }).result);
    driver.faults.clear();
    expect(contentOf(stage, path)).toEqual(["another's"]);
    expect(files(stage)).toEqual([path, ROOT].sort());
    expect(await driver.listCheckpoints(instance)).toEqual([]);
  });

  it.each([
    ["required", "hung", "AGENT_UNRESPONSIVE"],
    ["auto", "hung", undefined],
    ["auto", "responding", undefined],
    ["never", "hung", undefined],
  ] as const)("with quiesce %s and an agent that is %s", async (quiesce, agent, code) => {
    const stage = await running();
    stage.world.setBehaviour(instance.uuid, { agent });
    const handle = stage.driver.backup(instance, only(ROOT), { quiesce });
    expect((await failureOf(handle.result))?.code).toBe(code);
    if (code === undefined) expect((await handle.result).quiesced).toBe(agent === "responding");
    expect(stage.world.guest(instance.uuid).frozen).toBe(false);
    expect(files(stage)).toEqual(code === undefined ? [ROOT] : []);
  });

  it("thaws at the point in time, not at the end of the copy, and tells how far it is", async () => {
    const driver = new FakeDriver({ host: { rates: { diskMiBps: 0.01 } } });
    await driver.initHost();
    await driver.spawn(roomySpec({ blockDevices: [] }));
    const seen: (readonly [string, number | undefined])[] = [];
    const frozen: boolean[] = [];
    await driver.backup(instance, only(ROOT), {
      onProgress: ({ phase, fraction }) => {
        seen.push([phase, fraction]);
        if (phase === "copy" && fraction !== undefined && fraction > 0)
          frozen.push(driver.world.guest(instance.uuid).frozen);
      },
    }).result;
    expect(seen[0]?.[0]).toBe("quiesce");
    expect(seen).toContainEqual(["copy", 0.5]);
    expect([...new Set(frozen)]).toEqual([false]);
  });

  it("removes what it has made when it is aborted, and leaves the guest running", async () => {
    const stage = await running();
    const { driver } = stage;
    const before = worldOf(stage);
    const hang = driver.faults.hang("guest.backup", { at: "partial" });
    const handle = driver.backup(instance, { directory: EXPORTS, checkpoint: "x" });
    await hang.reached;
    await handle.abort();
    expect(await failureOf(handle.result)).toMatchObject({ code: "ABORTED", undoErrors: [] });
    expect(worldOf(stage)).toEqual(before);
    expect((await driver.getInfo(instance)).state).toBe("running");
  });

  it("knows which disks and checkpoints there are", async () => {
    const stage = await running();
    const { driver } = stage;
    const codes = [
      [only("relative"), "INVALID_ARGUMENT", "request.disks[0].path"],
      [{}, "INVALID_ARGUMENT", "request.disks"],
      [{ ...only(ROOT), directory: EXPORTS }, "INVALID_ARGUMENT", "request.disks"],
      [{ disks: [] }, "INVALID_ARGUMENT", "request.disks"],
      [{ disks: [...only(ROOT).disks, ...only("/b").disks] }, "INVALID_ARGUMENT", "request.disks[1].diskId"],
      [{ disks: [...only(ROOT).disks, { diskId: "x", path: ROOT }] }, "INVALID_ARGUMENT", "request.disks[1].path"],
      [
        { disks: [{ diskId: "root", path: ROOT, format: "raw" }], since: "a" },
        "INVALID_ARGUMENT",
        "request.disks[0].format",
      ],
      [{ directory: EXPORTS, since: "a", checkpoint: "a" }, "INVALID_ARGUMENT", "request.checkpoint"],
      [{ directory: EXPORTS, checkpoint: "../a" }, "INVALID_ARGUMENT", "request.checkpoint"],
      [{ disks: [{ diskId: "swap", path: ROOT }] }, "DISK_NOT_FOUND", undefined],
      [{ disks: [{ diskId: "drive-sdb", path: ROOT }] }, "DISK_NOT_FOUND", undefined],
      [{ directory: EXPORTS, since: "never" }, "CHECKPOINT_NOT_FOUND", undefined],
    ] as const;
    for (const [request, code, field] of codes) {
      const error = await failureOf(driver.backup(instance, request).result);
      expect(error, JSON.stringify(request)).toMatchObject({ code, ...(field === undefined ? {} : { field }) });
    }
    expect(await failureOf(driver.backup(instance, only(ROOT), { quiesce: "maybe" as never }).result)).toMatchObject({
      field: "options.quiesce",
    });
    expect(files(stage)).toEqual([]);
  });
});

describe("dumpMemory", () => {
  it.each(["running", "paused"] as const)("leaves a guest that is %s as it was", async (state) => {
    const stage = await running();
    const { driver, world } = stage;
    if (state === "paused") await driver.pause(instance);
    const path = `${EXPORTS}/dump`;
    expect(await driver.dumpMemory(instance, path, { format: "kdump-zlib" }).result).toEqual({
      path,
      format: "kdump-zlib",
    });
    expect(driver.host.storage.get(path)).toMatchObject({ allocatedBytes: 512 * 1024 ** 2, complete: true });
    expect((await driver.getInfo(instance)).state).toBe(state);
    world.assertSound();
  });

  it("lets the guest go on when it is aborted, or the storage is full", async () => {
    const stage = await openStage();
    await stage.driver.close();
    const driver = new FakeDriver({ host: { storageOptions: { capacityBytes: 400 * 1024 ** 2 } } });
    await driver.initHost();
    await driver.spawn(roomySpec({ blockDevices: [] }));
    const before = worldOf(driver);
    const error = await failureOf(driver.dumpMemory(instance, `${EXPORTS}/dump`).result);
    expect(error).toMatchObject({ code: "DISK_FULL", undoErrors: [] });
    expect(worldOf(driver)).toEqual(before);
  });

  it("refuses what is no path or no format", async () => {
    const { driver } = await running();
    expect(await failureOf(driver.dumpMemory(instance, "dump").result)).toMatchObject({ field: "path" });
    expect(await failureOf(driver.dumpMemory(instance, "/a/../b").result)).toMatchObject({ field: "path" });
    const format = { format: "jpeg" } as never;
    expect(await failureOf(driver.dumpMemory(instance, "/a", format).result)).toMatchObject({
      field: "options.format",
    });
  });
});
