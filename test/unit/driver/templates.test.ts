import { describe, expect, it } from "vitest";
import { failureOf, openStage, worldOf } from "./support/scenarios.js";
import type { Stage } from "./support/scenarios.js";
import { EXPORTS, SOURCE, sourceSpec } from "./support/hardware-scenarios.js";
import { blockDevice, vif } from "./support/specs.js";
import type { InstanceSpec, TemplateManifest } from "../../../src/driver/index.js";
import { FakeDriver, FakeWorld } from "../../../src/fake/index.js";

const TEMPLATE = `${EXPORTS}/template`;

const goldenSpec = (changes: Partial<InstanceSpec> = {}): InstanceSpec =>
  sourceSpec({ ...SOURCE, vifs: [vif(3)], ...changes });

/** The nth instance from the template. */
function cloneSpec(n: number, changes: Partial<InstanceSpec> = {}): InstanceSpec {
  const digit = String(n % 10);
  const uuid = `${digit.repeat(8)}-0000-4000-8000-000000000001`;
  return sourceSpec({ uuid, name: `clone-${n}`, vifs: [vif(0x20 + n)], ...changes });
}

async function saved(changes: Partial<InstanceSpec> = {}): Promise<Stage & { readonly manifest: TemplateManifest }> {
  const stage = await openStage();
  await stage.driver.spawn(goldenSpec(changes));
  stage.world.guest(SOURCE.uuid).write("root", "installed");
  const manifest = await stage.driver.saveTemplate(SOURCE, TEMPLATE).result;
  return { ...stage, manifest };
}

function files({ world }: Pick<Stage, "world">): readonly string[] {
  return world.ledger().flatMap(({ kind, id }) => (kind === "exportedFile" || kind === "temporaryFile" ? [id] : []));
}

describe("saveTemplate", () => {
  it("leaves the guest as it was, and a directory that says what is in it", async () => {
    const { driver, world, manifest } = await saved();
    expect((await driver.getInfo(SOURCE)).state).toBe("running");
    expect(await driver.describeTemplate(TEMPLATE)).toEqual(manifest);
    expect(manifest).toMatchObject({ version: 1, hypervisorType: "fake", spec: { name: "golden" } });
    expect(manifest.disks.map(({ name }) => name)).toEqual(["root", "swap"]);
    const names = ["clones", "memory", "root.qcow2", "swap.qcow2", "template.json"].map(
      (name) => `${TEMPLATE}/${name}`,
    );
    expect(files({ world })).toEqual([TEMPLATE, ...names]);
    world.guest(SOURCE.uuid).write("root", "later");
    expect(driver.host.storage.get(`${TEMPLATE}/root.qcow2`)?.content).toEqual(["image:cirros", "installed"]);
    await driver.destroy(SOURCE);
    world.assertSound();
  });

  it("keeps a paused guest paused", async () => {
    const { driver } = await openStage();
    await driver.spawn(goldenSpec());
    await driver.pause(SOURCE);
    await driver.saveTemplate(SOURCE, TEMPLATE).result;
    expect((await driver.getInfo(SOURCE)).state).toBe("paused");
    await driver.spawnFromTemplate(cloneSpec(1), TEMPLATE);
    expect((await driver.getInfo(cloneSpec(1))).state).toBe("running");
  });

  it("holds no volume and no device of the host", async () => {
    const stage = await openStage();
    const { driver } = stage;
    await driver.spawn(goldenSpec({ blockDevices: [blockDevice("vol-1")] }));
    expect(await failureOf(driver.saveTemplate(SOURCE, TEMPLATE).result)).toMatchObject({
      code: "CONFLICT",
      device: "vol-1",
    });
    await driver.detachVolume(SOURCE, blockDevice("vol-1").connection);
    await driver.attachDevice(SOURCE, { type: "mediated", id: "vgpu", uuid: SOURCE.uuid });
    expect(await failureOf(driver.saveTemplate(SOURCE, TEMPLATE).result)).toMatchObject({ device: "vgpu" });
    await driver.detachDevice(SOURCE, "vgpu");
    await driver.saveTemplate(SOURCE, TEMPLATE).result;
    expect(await failureOf(driver.saveTemplate(SOURCE, TEMPLATE).result)).toMatchObject({ code: "CONFLICT" });
    await driver.powerOff(SOURCE, { graceMs: 0 });
    expect(await failureOf(driver.saveTemplate(SOURCE, `${EXPORTS}/x`).result)).toMatchObject({
      code: "INVALID_STATE",
    });
    expect(await failureOf(driver.saveTemplate(SOURCE, "x").result)).toMatchObject({ field: "directory" });
  });

  it("is aborted without a trace while it copies", async () => {
    const stage = await openStage();
    const { driver } = stage;
    await driver.spawn(goldenSpec());
    const before = worldOf(stage);
    const hang = driver.faults.hang("guest.saveTemplate", { at: "partial" });
    const phases: string[] = [];
    const handle = driver.saveTemplate(SOURCE, TEMPLATE, { onProgress: ({ phase }) => phases.push(phase) });
    await hang.reached;
    await handle.abort();
    expect([...new Set(phases)]).toEqual(["memory", "disks"]);
    expect(worldOf(stage)).toEqual(before);
  });
});

describe("spawnFromTemplate", () => {
  it("makes many guests that run on without booting, each with disks of its own", async () => {
    const { driver, world } = await saved();
    const boots = world.guest(SOURCE.uuid).boots;
    for (const n of [1, 2, 3]) {
      const spec = cloneSpec(n);
      expect(await driver.spawnFromTemplate(spec, TEMPLATE)).toEqual({
        instance: { uuid: spec.uuid, name: spec.name },
        state: "running",
      });
      const guest = world.guest(spec.uuid);
      expect([guest.booted, guest.boots]).toEqual([true, boots]);
      guest.write("root", `by ${n}`);
      expect(guest.read("root")).toEqual(["image:cirros", "installed", `by ${n}`]);
      expect(guest.definition.nics[0]?.macAddress).toBe(spec.vifs?.[0]?.macAddress);
    }
    expect(world.guest(SOURCE.uuid).read("root")).toEqual(["image:cirros", "installed"]);
    await driver.reboot(cloneSpec(1), "hard");
    expect(world.guest(cloneSpec(1).uuid).read("root")).toContain("by 1");
    world.assertSound();
  });

  it.each<readonly [field: string, changes: Partial<InstanceSpec>]>([
    ["spec.flavor.vcpus", { flavor: { ...sourceSpec().flavor, vcpus: 1 } }],
    ["spec.flavor.memoryMiB", { flavor: { ...sourceSpec().flavor, memoryMiB: 640 } }],
    ["spec.flavor.rootGiB", { flavor: { ...sourceSpec().flavor, rootGiB: 2 } }],
    ["spec.flavor.swapMiB", { flavor: { vcpus: 2, memoryMiB: 512, rootGiB: 1 } }],
    ["spec.imageId", { imageId: "debian" }],
    ["spec.machine", { machine: "pc" }],
    ["spec.firmware", { firmware: "uefi" }],
    ["spec.guestAgent", { guestAgent: false }],
    ["spec.hardware.cpu", { hardware: { ...sourceSpec().hardware, cpu: { maxVcpus: 4 } } }],
    ["spec.hardware.devices", { hardware: { cpu: { maxVcpus: 8 }, memory: { maxMiB: 4096 } } }],
    ["spec.hardware.vsock", { hardware: { ...sourceSpec().hardware, vsock: { cid: 5 } } }],
    ["spec.diskTuning", { diskTuning: { cache: "none" } }],
    ["spec.platform", { platform: { fake: { color: "red" } } }],
    ["spec.blockDevices.length", { blockDevices: [blockDevice("vol-1")] }],
    ["spec.vifs.length", { vifs: [vif(0x21), vif(0x22)] }],
    ["spec.vifs[0]", { vifs: [vif(0x21, { model: "e1000" })] }],
  ])("names what differs from the template: %s", async (field, changes) => {
    const stage = await saved();
    const before = worldOf(stage);
    const error = await failureOf(stage.driver.spawnFromTemplate(cloneSpec(1, changes), TEMPLATE));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field });
    expect(worldOf(stage)).toEqual(before);
  });

  it("takes what the guest does not see as it is given", async () => {
    const { driver } = await saved({ hardware: { vnc: { address: "127.0.0.1", port: 5901 }, vsock: { cid: 7 } } });
    const hardware = {
      vnc: { address: "127.0.0.1" },
      vsock: { cid: 8 },
      cpu: { pinning: { emulator: [0] } },
    } satisfies InstanceSpec["hardware"];
    const { flavor } = sourceSpec();
    await driver.spawnFromTemplate(
      cloneSpec(1, { hardware, metadata: { owner: "me" }, flavor: { ...flavor, name: "other", ephemeralGiB: 0 } }),
      TEMPLATE,
    );
    expect((await driver.getSpec(cloneSpec(1))).hardware).toEqual(hardware);
  });

  it("refuses a template that is not there, not whole, or not for this host", async () => {
    const { driver, manifest, world } = await saved();
    const spawn = (directory: string): Promise<unknown> => driver.spawnFromTemplate(cloneSpec(1), directory);
    expect(await failureOf(spawn(`${EXPORTS}/none`))).toMatchObject({ code: "TEMPLATE_NOT_FOUND" });
    expect(await failureOf(spawn("here"))).toMatchObject({ code: "INVALID_ARGUMENT", field: "directory" });
    const text = driver.host.storage.get(`${TEMPLATE}/template.json`)!;
    const cases: readonly (readonly [object | string, string])[] = [
      ["{", "TEMPLATE_UNUSABLE"],
      [{ ...manifest, version: 2 }, "TEMPLATE_UNUSABLE"],
      [{ ...manifest, memoryFile: "../../etc/passwd" }, "TEMPLATE_UNUSABLE"],
      [{ ...manifest, hypervisorType: "kvm" }, "TEMPLATE_UNUSABLE"],
      [{ ...manifest, hypervisorVersion: manifest.hypervisorVersion + 1 }, "TEMPLATE_UNUSABLE"],
      [{ ...manifest, cpu: { ...manifest.cpu, arch: "aarch64" } }, "TEMPLATE_UNUSABLE"],
      [{ ...manifest, disks: manifest.disks.slice(0, 1) }, "TEMPLATE_UNUSABLE"],
      [{ ...manifest, deleting: true }, "TEMPLATE_NOT_FOUND"],
      [{ ...manifest, memoryFile: "nothing" }, "GUEST_START_FAILED"],
    ];
    const before = worldOf({ world });
    for (const [content, code] of cases) {
      text.content = [typeof content === "string" ? content : JSON.stringify(content)];
      expect(await failureOf(spawn(TEMPLATE)), JSON.stringify(content).slice(0, 80)).toMatchObject({ code });
      expect(worldOf({ world })).toEqual(before);
    }
  });

  it("does not start on disks that were kept of an earlier instance", async () => {
    const { driver } = await saved();
    const clone = cloneSpec(1);
    await driver.spawnFromTemplate(clone, TEMPLATE);
    await driver.destroy(clone, { destroyDisks: false });
    expect(await failureOf(driver.spawnFromTemplate(clone, TEMPLATE))).toMatchObject({ code: "CONFLICT" });
    expect(await driver.instanceOnDisk(clone)).toBe(true);
    expect(await failureOf(driver.deleteTemplate(TEMPLATE))).toMatchObject({ code: "CONFLICT" });
    await driver.deleteInstanceFiles(clone);
    await driver.spawnFromTemplate(clone, TEMPLATE);
  });

  it("puts no password into a guest that has booted", async () => {
    const { driver } = await saved();
    const spec = cloneSpec(1, { adminPassword: "secret" });
    expect(await failureOf(driver.spawnFromTemplate(spec, TEMPLATE))).toMatchObject({ code: "NOT_SUPPORTED" });
  });
});

describe("deleteTemplate", () => {
  it("waits for the last instance that has disks on it", async () => {
    const stage = await saved();
    const { driver, world } = stage;
    for (const n of [1, 2]) await driver.spawnFromTemplate(cloneSpec(n), TEMPLATE);
    for (const n of [1, 2]) {
      expect(await failureOf(driver.deleteTemplate(TEMPLATE))).toMatchObject({ code: "CONFLICT" });
      expect((await driver.describeTemplate(TEMPLATE)).version).toBe(1);
      await driver.destroy(cloneSpec(n));
    }
    for (const _again of [1, 2]) await driver.deleteTemplate(TEMPLATE);
    expect(files({ world })).toEqual([]);
    expect(await failureOf(driver.describeTemplate(TEMPLATE))).toMatchObject({ code: "TEMPLATE_NOT_FOUND" });
  });

  it("knows the instances of other hosts that have the directory", async () => {
    const world = new FakeWorld({
      hosts: [
        { name: "a", storage: "shared" },
        { name: "b", storage: "shared" },
      ],
    });
    const [a, b] = [new FakeDriver({ world, host: "a" }), new FakeDriver({ world, host: "b" })];
    await Promise.all([a.initHost(), b.initHost()]);
    await a.spawn(goldenSpec());
    await a.saveTemplate(SOURCE, TEMPLATE).result;
    await b.spawnFromTemplate(cloneSpec(1), TEMPLATE);
    expect(await failureOf(a.deleteTemplate(TEMPLATE))).toMatchObject({ code: "CONFLICT" });
    await b.destroy(cloneSpec(1));
    await a.deleteTemplate(TEMPLATE);
  });

  it("removes nothing that is no template", async () => {
    const { driver, world } = await openStage();
    driver.host.storage.add({
      ...{ path: `${EXPORTS}/precious`, kind: "exportedFile", owner: undefined, name: "precious", format: "raw" },
      ...{ virtualSizeBytes: 1, allocatedBytes: 1, content: [], backing: undefined, complete: true },
    } as never);
    driver.host.storage.add({
      ...{ path: EXPORTS, kind: "exportedFile", owner: undefined, name: EXPORTS, format: "raw" },
      ...{ virtualSizeBytes: 0, allocatedBytes: 0, content: [], backing: undefined, complete: true },
    } as never);
    expect(await failureOf(driver.deleteTemplate(EXPORTS))).toMatchObject({ code: "CONFLICT" });
    expect(files({ world })).toEqual([EXPORTS, `${EXPORTS}/precious`]);
    expect(await failureOf(driver.deleteTemplate("x"))).toMatchObject({ field: "directory" });
  });

  it("is gone on with, wherever it fails; what is left of it can't be started from", async () => {
    const trial = await saved();
    const trace = trial.driver.faults.startTrace();
    await trial.driver.deleteTemplate(TEMPLATE);
    trace.stop();
    const snapshot = (await saved()).world.snapshot();
    for (const { point, nth, stages } of trace.passed.filter((passed) => !passed.point.startsWith("driver."))) {
      for (const at of stages) {
        const world = FakeWorld.from(snapshot);
        const driver = new FakeDriver({ world });
        await driver.initHost();
        driver.faults.failOn(point, { nth, at });
        expect(await failureOf(driver.deleteTemplate(TEMPLATE)), `${point} #${nth} ${at}`).toBeDefined();
        driver.faults.clear();
        const removed = files({ world }).length < 6;
        if (removed)
          expect(
            await failureOf(driver.spawnFromTemplate(cloneSpec(1), TEMPLATE)),
            `${point} #${nth} ${at}`,
          ).toMatchObject({
            code: "TEMPLATE_NOT_FOUND",
          });
        await driver.deleteTemplate(TEMPLATE);
        expect(files({ world }), `${point} #${nth} ${at}`).toEqual([]);
        await driver.close();
      }
    }
  });
});
