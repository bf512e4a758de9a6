// Live migrations between two simulated daemons that don't get on, or don't get what they ask for: how they end, and that the guest is where the driver says.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { liveMigrate } from "../../../../src/driver/index.js";
import type { CpuModel, LiveMigrateData, LiveMigrationOptions } from "../../../../src/driver/index.js";
import type { OperationHandle } from "../../../../src/core/index.js";
import { ErrorDomain, ErrorNumber } from "../../../../src/libvirt/index.js";
import { smallSpec } from "../../driver/support/specs.js";
import { LibvirtStage, instance } from "./support/libvirt-stage.js";

const TIMEOUTS = { queryMs: 1_000, callMs: 5_000, killMs: 5_000, progressMs: 5, arrivalMs: 5_000, cancelMs: 5_000 };
/** Longer than any of these tests. */
const ENDLESS = 3_600_000;

let source: LibvirtStage;
let destination: LibvirtStage;

async function open(
  limits: Partial<typeof TIMEOUTS> & { readonly stallMs?: number } = {},
  virtType: "qemu" | "kvm" = "qemu",
): Promise<void> {
  const common = { virtType, libvirtTimeouts: { ...TIMEOUTS, ...limits } };
  const there = { ...common, migration: { address: "there", connectionUri: "qemu:///system" } };
  destination = await LibvirtStage.open(there, { name: "there" });
  const connection = { connect: destination.host.connector };
  const here = { ...common, migration: { connection, copy: "running" } } as const;
  source = await LibvirtStage.open(here, { name: "here" });
  source.host.reach(destination.host);
  await source.driver.spawn(smallSpec());
}

beforeEach(() => open());
afterEach(async () => {
  await source.close();
  await destination.close();
});

async function prepareChecked(): Promise<LiveMigrateData> {
  const [a, b] = [source.driver, destination.driver];
  const asked = await a.checkCanLiveMigrateSource(instance);
  const checked = await a.checkCanLiveMigrateSource(instance, await b.checkCanLiveMigrateDestination(instance, asked));
  await b.cleanupLiveMigrationDestinationCheck(checked);
  return checked;
}

async function prepare(): Promise<LiveMigrateData> {
  return destination.driver.preLiveMigration(instance, await prepareChecked());
}

/** Leaves without end; resolves when memory goes. */
async function leave(options: LiveMigrationOptions = {}): Promise<OperationHandle<void>> {
  source.host.setBehaviour({ migrationMs: ENDLESS });
  const data = await prepare();
  let onItsWay = (): void => undefined;
  const going = new Promise<void>((resolve) => (onItsWay = resolve));
  const handle = source.driver.liveMigration(instance, data, {
    ...options,
    onMigrationProgress: ({ phase, memoryTotalBytes }) => {
      if (phase !== "preparing" && memoryTotalBytes > 0) onItsWay();
    },
  });
  await Promise.race([going, handle.result.catch(() => undefined)]);
  return handle;
}

/** It runs on the source as before, and the destination has nothing of it when it is told so. */
async function expectHere(): Promise<void> {
  expect(await source.driver.getInfo(instance)).toMatchObject({ state: "running", task: "none" });
  expect(destination.host.contents.domains).toEqual([]);
}

describe("a migration that does not get on", () => {
  it("is given up when nothing goes over any more", async () => {
    await source.close();
    await destination.close();
    await open({ stallMs: 50 });
    const { result } = await leave();
    await expect(result).rejects.toMatchObject({ code: "MIGRATION_FAILED", instance: { uuid: instance.uuid } });
    await expectHere();
  });

  it("is given up at its caller's limit, or when he says so", async () => {
    const late = await leave({ deadline: 300 });
    await expect(late.result).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await expectHere();
    await destination.driver.destroy(instance);

    const { result } = await leave();
    await source.driver.liveMigrationAbort(instance);
    await expect(result).rejects.toMatchObject({ code: "ABORTED" });
    await expectHere();
    await expect(source.driver.liveMigrationAbort(instance)).rejects.toMatchObject({ code: "NO_ACTIVE_MIGRATION" });
    await expect(source.driver.liveMigrationForceComplete(instance)).rejects.toMatchObject({
      code: "NO_ACTIVE_MIGRATION",
    });
  });

  it("is made to end: by post-copy where that is allowed, else by standing still", async () => {
    const { result } = await leave({ allowPostcopy: true });
    await source.driver.liveMigrationForceComplete(instance, "postcopy");
    await result;
    expect(await source.driver.getInfo(instance)).toMatchObject({ state: "shutdown", task: "migratingOut" });
    expect(destination.host.contents.domains).toMatchObject([{ active: true }]);
  });

  it("stands still when it is told to, and runs on when it fails after that", async () => {
    const handle = await leave();
    await expect(source.driver.liveMigrationForceComplete(instance, "postcopy")).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await source.driver.liveMigrationForceComplete(instance, "pause");
    const asked = (): readonly string[] => source.host.server.received.map(({ name }) => name);
    await expect.poll(asked, { timeout: 30_000 }).toContain("domainSuspend");
    await handle.abort();
    await expect(handle.result).rejects.toMatchObject({ code: "ABORTED" });
    await expectHere();
  });
});

describe("a destination with another CPU", () => {
  beforeEach(async () => {
    await source.close();
    await destination.close();
    await open({}, "kvm");
  });

  it("is refused when it lacks something of the source's, by the check before and by the guest's own", async () => {
    const { driver } = destination;
    const data = await source.driver.checkCanLiveMigrateSource(instance);
    const { sourceCpu } = data;
    expect(await driver.compareCpu(sourceCpu)).toBe("identical");
    expect(await driver.compareCpu({ ...sourceCpu, features: [] })).toBe("superset");
    const more: CpuModel = { ...sourceCpu, features: [...sourceCpu.features, "amx-tile"] };
    expect(await driver.compareCpu(more)).toBe("incompatible");
    for (const sourceCpu of [more, { ...more, features: [], model: "Nobody-v9" }])
      await expect(driver.checkCanLiveMigrateDestination(instance, { ...data, sourceCpu })).rejects.toMatchObject({
        code: "MIGRATION_PRECHECK_FAILED",
      });
    const checked = await prepareChecked();
    const guest = { ...checked.guest, cpu: "<cpu><model>Nobody-v9</model></cpu>" };
    await expect(driver.preLiveMigration(instance, { ...checked, guest })).rejects.toMatchObject({
      code: "MIGRATION_PRECHECK_FAILED",
    });
    await expectHere();
    await liveMigrate(source.driver, driver, instance).result;
  });
});

describe("a destination that can't do all", () => {
  it("gets the guest without post-copy", async () => {
    const error = { code: ErrorNumber.argumentUnsupported, domain: ErrorDomain.qemu, message: "no userfaultfd" };
    destination.host.faults.refuse("domainMigratePrepare3Params", error, { nth: 1 });
    const handle = await leave({ allowPostcopy: true });
    await expect(source.driver.liveMigrationForceComplete(instance, "postcopy")).rejects.toMatchObject({
      code: "NOT_SUPPORTED",
    });
    await handle.abort();
    await expect(handle.result).rejects.toMatchObject({ code: "ABORTED" });
    await expectHere();
  });

  it("says before anything is begun that its CPU, or its storage, is not enough", async () => {
    const { driver } = destination;
    const data = await source.driver.checkCanLiveMigrateSource(instance);
    const cpu: CpuModel = { ...data.sourceCpu, arch: "riscv64" };
    await expect(driver.checkCanLiveMigrateDestination(instance, { ...data, sourceCpu: cpu })).rejects.toMatchObject({
      code: "MIGRATION_PRECHECK_FAILED",
    });
    await expect(source.driver.checkCanLiveMigrateSource(instance, data)).rejects.toMatchObject({
      code: "MIGRATION_PRECHECK_FAILED",
    });
    await expectHere();
    await liveMigrate(source.driver, driver, instance).result;
    expect(source.host.contents.domains).toEqual([]);
  });
});
