// A driver that only looks, beside the one that manages the guests: it follows, and changes nothing.
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import {
  READING_FACETS,
  FACET_METHODS,
  FACET_NAMES,
  HANDLE_METHODS,
  supports,
  withAllFacets,
} from "../../../../src/driver/index.js";
import type { DriverEvent } from "../../../../src/driver/index.js";
import type { OperationHandle } from "../../../../src/index.js";
import { LibvirtDriver } from "../../../../src/libvirt/driver/index.js";
import { smallSpec, vif } from "../../driver/support/specs.js";
import { LibvirtStage, instance } from "./support/libvirt-stage.js";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function openStage(): Promise<{ readonly stage: LibvirtStage; readonly reader: LibvirtDriver }> {
  const stage = await LibvirtStage.open();
  cleanups.push(() => stage.close());
  const reader = stage.openReader();
  cleanups.push(() => reader.close());
  return { stage, reader };
}

async function lifecycle(events: AsyncIterable<DriverEvent>, count: number): Promise<readonly string[]> {
  const told: string[] = [];
  for await (const event of events) {
    if (event.type === "lifecycle") told.push(`${event.instance.name} ${event.transition} ${event.cause}`);
    if (told.length === count) return told;
  }
  return told;
}

describe("a driver that only looks", () => {
  it("answers questions about guests that another driver manages, as they are now", async () => {
    const { stage, reader } = await openStage();
    await stage.driver.spawn(smallSpec());
    const report = await reader.initHost();
    expect(report).toEqual({ adopted: [instance], lost: [], orphans: [], degraded: [], operations: [] });
    expect(await reader.listInstances()).toEqual([instance]);
    expect(await reader.getInfo(instance)).toMatchObject({ state: "running", stale: false, vcpus: 1 });
    expect(await reader.getSpec(instance)).toEqual(await stage.driver.getSpec(instance));
    expect(await reader.getAllDiagnostics()).toMatchObject({ diagnostics: [{ instance, state: "running" }] });
    expect(await reader.getAvailableResource()).toEqual(await stage.driver.getAvailableResource());

    const other = { uuid: "22222222-2222-4333-8444-555555555555", name: "web-9" };
    await stage.driver.spawn(smallSpec({ ...other, blockDevices: [], vifs: [] }));
    expect(await reader.listInstances()).toEqual(expect.arrayContaining([instance, other]));
    expect((await reader.getInfo(other)).state).toBe("running");
    await stage.driver.attachInterface(instance, vif(2));
    expect(await reader.getSpec(instance)).toEqual(await stage.driver.getSpec(instance));
    expect((await reader.getDiagnostics(instance)).interfaces).toHaveLength(2);
    await stage.driver.destroy(instance);
    await expect(reader.getInfo(instance)).rejects.toMatchObject({ code: "INSTANCE_NOT_FOUND" });
    expect(await reader.listInstances()).toEqual([other]);
  });

  it("tells what happens to guests, those that were not there when it was opened too", async () => {
    const { stage, reader } = await openStage();
    await reader.initHost();
    const events = reader.events();
    await stage.driver.spawn(smallSpec());
    await stage.driver.pause(instance);
    await stage.driver.unpause(instance);
    await stage.driver.powerOff(instance, { graceMs: 0 });
    await stage.driver.powerOn(instance);
    await stage.driver.destroy(instance);
    const told = await lifecycle(events, 6);
    expect(told).toEqual(
      ["started", "paused", "resumed", "stopped", "started", "stopped"].map((what) => `web-1 ${what} external`),
    );
  });

  it("keeps up over a daemon that goes away", async () => {
    const { stage, reader } = await openStage();
    await stage.driver.spawn(smallSpec());
    await reader.initHost();
    const events = reader.events();
    stage.host.restartDaemon();
    stage.host.crashGuest(instance.uuid);
    expect(await lifecycle(events, 1)).toEqual(["web-1 crashed crash"]);
    expect((await reader.getInfo(instance)).state).toBe("crashed");
  });

  it("refuses every change before anything is made", async () => {
    const { stage, reader } = await openStage();
    await stage.driver.spawn(smallSpec());
    await reader.initHost();
    const before = await stage.ledger();
    const sent = stage.host.server.received.length;
    const changes: Readonly<Record<string, () => Promise<unknown>>> = {
      spawn: () => reader.spawn(smallSpec({ uuid: "33333333-2222-4333-8444-555555555555", name: "new", vifs: [] })),
      destroy: () => reader.destroy(instance),
      cleanup: () => reader.cleanup(instance),
      powerOn: () => reader.powerOn(instance),
      powerOff: () => reader.powerOff(instance),
      reboot: () => reader.reboot(instance, "hard"),
      deleteInstanceFiles: () => reader.deleteInstanceFiles(instance),
      resumeStateOnHostBoot: () => reader.resumeStateOnHostBoot(instance),
    };
    for (const [operation, change] of Object.entries(changes))
      await expect(change(), operation).rejects.toMatchObject({ code: "READ_ONLY", operation });
    expect(stage.host.server.received.slice(sent)).toEqual([]);
    expect(await stage.ledger()).toEqual(before);
  });

  it("has the facets that only look, and refuses the others", async () => {
    const { stage, reader } = await openStage();
    await reader.initHost();
    expect(reader.capabilities.readOnly).toBe(true);
    expect(Object.values(reader.capabilities.flags)).not.toContain(true);
    expect(FACET_NAMES.filter((name) => supports(reader, name)).sort()).toEqual([...READING_FACETS].sort());
    const all = withAllFacets(reader) as unknown as Record<string, (...args: unknown[]) => unknown>;
    for (const facet of FACET_NAMES.filter((name) => !supports(reader, name)))
      for (const method of FACET_METHODS[facet]) {
        if (method === "filterDeferApplyOn") continue;
        const result = all[method]?.call(reader, instance);
        const settled = HANDLE_METHODS.has(method) ? (result as OperationHandle<unknown>).result : result;
        await expect(settled, method).rejects.toMatchObject({ code: "NOT_SUPPORTED", capability: facet });
      }
    expect(stage.driver.capabilities.readOnly).toBe(false);
  });

  it("locks nothing and makes nothing, and finds nothing where nobody manages guests", async () => {
    const { stage } = await openStage();
    const empty = await mkdtemp(join(tmpdir(), "ro-"));
    cleanups.push(() => rm(empty, { recursive: true, force: true }));
    const open = (): LibvirtDriver =>
      new LibvirtDriver({
        stateDirectory: join(empty, "absent"),
        virtType: "qemu",
        connection: { connect: stage.host.connector, readOnly: true },
      });
    await using first = open();
    await using second = open();
    for (const driver of [first, second])
      expect(await driver.initHost()).toMatchObject({ adopted: [], lost: [], orphans: [] });
    expect(await first.listInstances()).toEqual([]);
    expect(await first.getHostIpAddress()).toMatch(/\d/);
    expect(await readdir(empty)).toEqual([]);
  });
});
