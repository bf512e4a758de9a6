// The daemon goes away and comes back; others on the host change guests; two drivers and foreign domains.
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { afterEach, describe, expect, it } from "vitest";
import type { DriverEvent } from "../../../../src/driver/index.js";
import { LibvirtDriver } from "../../../../src/libvirt/driver/index.js";
import { LibvirtClient } from "../../../../src/libvirt/index.js";
import { SimulatedLibvirtHost } from "../../../../src/testing/libvirt/index.js";
import { smallSpec } from "../../driver/support/specs.js";
import { LibvirtStage, instance } from "./support/libvirt-stage.js";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function openStage(): Promise<LibvirtStage> {
  const stage = await LibvirtStage.open();
  cleanups.push(() => stage.close());
  return stage;
}

/** Reads events until one is what is looked for. */
async function until(
  events: AsyncIterable<DriverEvent>,
  wanted: (event: DriverEvent) => boolean,
): Promise<readonly string[]> {
  const told: string[] = [];
  for await (const event of events) {
    if (event.type === "lifecycle") told.push(`${event.transition} ${event.cause}`);
    if (event.type === "connection") told.push(event.state);
    if (wanted(event)) return told;
  }
  throw new Error(`the events ended: ${told.join(", ")}`);
}

describe("a daemon that goes away and comes back", () => {
  it("is told of, and what happened meanwhile too", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    const events = stage.driver.events();
    // The guest dies while nobody hears it.
    stage.host.server.faults.hangUp("domainGetState", { nth: 1 });
    await stage.driver.getInfo(instance).catch(() => undefined);
    stage.host.crashGuest(instance.uuid);
    const told = await until(events, (event) => event.type === "lifecycle");
    expect(told).toEqual(["lost", "connected", "crashed crash"]);
    expect((await stage.driver.getInfo(instance)).state).toBe("crashed");
  });

  it("answers with what was last known while it is away", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    const silence = stage.host.faults.silence("domainGetState");
    expect(await stage.driver.getInfo(instance)).toMatchObject({ state: "running", stale: true });
    silence.remove();
    expect(await stage.driver.getInfo(instance)).toMatchObject({ state: "running", stale: false });
  });
});

describe("others on the host", () => {
  it("stop and start guests, which is told", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    const events = stage.driver.events();
    await using virsh = await LibvirtClient.open("qemu:///system", { connect: stage.host.connector });
    const domain = await virsh.lookupDomainByUuid(instance.uuid);
    await domain.suspend();
    await domain.resume();
    await domain.destroy();
    await domain.create();
    const told = await until(events, (event) => event.type === "lifecycle" && event.transition === "started");
    expect(told).toEqual(["paused external", "resumed external", "stopped external", "started external"]);
  });

  it("undefine a guest, which starts all the same", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec(), { powerOn: false });
    await using virsh = await LibvirtClient.open("qemu:///system", { connect: stage.host.connector });
    await (await virsh.lookupDomainByUuid(instance.uuid)).undefine();
    await stage.driver.powerOn(instance);
    expect((await stage.driver.getInfo(instance)).state).toBe("running");
    await stage.driver.destroy(instance);
    expect(stage.host.contents.domains).toEqual([]);
  });

  it.for([
    ["uuid", { uuid: instance.uuid, name: "foreign" }],
    ["name", { uuid: "33333333-2222-4333-8444-555555555555", name: instance.name }],
  ] as const)("have a domain of the same %s, which is left alone", async ([, foreign]) => {
    const stage = await openStage();
    await using virsh = await LibvirtClient.open("qemu:///system", { connect: stage.host.connector });
    await virsh.defineDomainXml(
      `<domain type='qemu'><name>${foreign.name}</name><uuid>${foreign.uuid}</uuid><memory>1024</memory><os><type>hvm</type></os></domain>`,
    );
    await expect(stage.driver.spawn(smallSpec())).rejects.toMatchObject({ code: "INSTANCE_EXISTS" });
    await stage.driver.destroy(instance);
    expect(stage.host.contents.domains).toMatchObject([foreign]);
    expect(stage.host.contents.secrets).toEqual([]);
  });
});

describe("opening", () => {
  it("says why a daemon can't be reached, and holds nothing", async () => {
    const stage = await openStage();
    await stage.driver.close();
    const open = (): LibvirtDriver =>
      new LibvirtDriver({
        stateDirectory: stage.stateDirectory,
        virtType: "qemu",
        uri: `qemu+unix:///system?socket=${stage.stateDirectory}/absent`,
      });
    for (let attempt = 0; attempt < 2; attempt++)
      await expect(open().initHost()).rejects.toMatchObject({
        code: "HYPERVISOR_UNAVAILABLE",
        cause: { code: "LIBVIRT_CONNECT_FAILED" },
      });
  });

  it("refuses a second driver on the same directory", async () => {
    const stage = await openStage();
    const second = new LibvirtDriver({
      stateDirectory: stage.stateDirectory,
      virtType: "qemu",
      connection: { connect: stage.host.connector },
    });
    await expect(second.initHost()).rejects.toMatchObject({
      code: "HYPERVISOR_UNAVAILABLE",
      cause: { code: "LOCKED" },
    });
  });

  it.for([
    ["libvirt", { version: 8_009_000 }, "libvirt 8.9.0 is older than 9.0.0"],
    ["QEMU", { qemuVersion: 6_002_001 }, "QEMU 6.2.1 is older than 7.2.0"],
  ] as const)("refuses a %s that is too old, names both versions, and holds nothing", async ([, release, message]) => {
    const stage = await openStage();
    await stage.driver.close();
    await using old = await SimulatedLibvirtHost.create(release);
    const open = (): LibvirtDriver =>
      new LibvirtDriver({
        stateDirectory: stage.stateDirectory,
        virtType: "qemu",
        connection: { connect: old.connector },
      });
    for (let attempt = 0; attempt < 2; attempt++)
      await expect(open().initHost()).rejects.toMatchObject({
        code: "HYPERVISOR_UNAVAILABLE",
        retryable: false,
        message: expect.stringContaining(message) as string,
        remedy: expect.stringMatching(/Install/) as string,
      });
  });

  it("tells of releases that a later release of this package will refuse", async () => {
    const told: unknown[] = [];
    const hear = (message: unknown): void => void told.push(message);
    subscribe("hypervise:libvirt:old-release", hear);
    try {
      await openStage();
    } finally {
      unsubscribe("hypervise:libvirt:old-release", hear);
    }
    expect(told).toEqual([
      { name: "libvirt", version: "9.0.0", nextLeast: "10.0.0" },
      { name: "QEMU", version: "7.2.0", nextLeast: "8.2.0" },
    ]);
  });

  it.for([
    ["stateDirectory", { stateDirectory: "relative" }],
    ["virtType", { stateDirectory: "/s", virtType: "vmware" as never }],
    ["timeouts.callMs", { stateDirectory: "/s", libvirtTimeouts: { callMs: 0 } }],
    ["consoleLogBytes", { stateDirectory: "/s", consoleLogBytes: 1 }],
    ["uri", { stateDirectory: "/s", uri: "" }],
  ] as const)("names the bad option: %s", ([field, options]) => {
    expect(() => new LibvirtDriver(options)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: `options.${field}` }),
    );
  });
});
