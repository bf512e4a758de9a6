/** Guests on a real libvirtd that do what nobody of ours has asked for, others on the host, drivers that only look, and a host that boots. */
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { POWER_OFF_KEY, RESET_KEY } from "../../../../scripts/guest/boot-sector.mjs";
import type { DriverEvent, InstanceRef, InstanceSpec } from "../../../../src/driver/index.js";
import { MemorySecurityGroupSource, NftablesFirewallDriver } from "../../../../src/firewall/index.js";
import { FileStateStore } from "../../../../src/host/index.js";
import type { LibvirtDriver, LibvirtDriverOptions } from "../../../../src/libvirt/driver/index.js";
import { LibvirtClient } from "../../../../src/libvirt/index.js";
import type { Vif } from "../../../../src/network/index.js";
import { bootSector, createBridge, waitFor } from "../../../lab/index.js";
import { startLibvirtHost } from "../../../lab/libvirt-host.js";
import type { LabLibvirtHost } from "../../../lab/libvirt-host.js";
import { isAlive, qemuProcess } from "../../contract/qemu-process.js";

let host: LabLibvirtHost;
beforeAll(async () => {
  host = await startLibvirtHost();
  // It powers off and resets on a key, and is deaf to the power button.
  await host.images.import({ id: "stone", format: "raw", path: bootSector() });
}, 120_000);
afterAll(() => host?.remove());

/** A driver that has a state of its own, so that it knows no other test's guests. */
function open(name: string, options: Partial<LibvirtDriverOptions> = {}): LibvirtDriver {
  return host.open({ stateDirectory: join(host.directory, name), ...options });
}

async function spawn(driver: LibvirtDriver, name: string, more: Partial<InstanceSpec> = {}): Promise<InstanceRef> {
  const instance = { uuid: randomUUID(), name };
  const flavor = { vcpus: 1, memoryMiB: 64, rootGiB: 1 };
  await driver.spawn({ ...instance, flavor, imageId: "stone", vifs: [], ...more });
  return instance;
}

/** What a driver tells of one guest, one after the other. */
class Told {
  readonly #events: AsyncIterator<DriverEvent, undefined>;

  constructor(driver: LibvirtDriver, instance?: InstanceRef) {
    this.#events = driver.events(instance === undefined ? {} : { instance });
  }

  async next(type: DriverEvent["type"] = "lifecycle"): Promise<string> {
    for (;;) {
      const { value, done } = await this.#events.next();
      if (done === true) throw new Error("the events ended");
      if (value.type === "lifecycle" && type === "lifecycle") return `${value.transition} ${value.cause}`;
      if (value.type === "connection" && type === "connection") return value.state;
    }
  }
}

/** Until the guest has booted so many times. */
async function untilBooted(driver: LibvirtDriver, instance: InstanceRef, times = 1): Promise<void> {
  const booted = async (): Promise<boolean> => {
    const { bytes } = await driver.getConsoleOutput(instance);
    return Buffer.from(bytes).toString("latin1").split("HV-BOOT").length > times;
  };
  await waitFor(booted, { timeoutMs: 90_000, what: "the guest's boot" });
}

describe("a guest of its own will", () => {
  it("resets and powers off by itself, which is told with its cause", { timeout: 240_000 }, async () => {
    await using driver = open("wilful");
    await driver.initHost();
    const instance = await spawn(driver, "wilful");
    const told = new Told(driver, instance);
    const pid = await qemuProcess(instance.uuid);
    await untilBooted(driver, instance);
    const console = await driver.openConsole(instance);
    console.resume();
    console.write(RESET_KEY);
    expect(await told.next()).toBe("rebooted guest");
    expect((await driver.getInfo(instance)).state).toBe("running");
    expect(await qemuProcess(instance.uuid)).toBe(pid);
    await untilBooted(driver, instance, 2);
    console.write(POWER_OFF_KEY);
    // A machine may be reset more than once on its way through its firmware.
    let end = await told.next();
    while (end === "rebooted guest") end = await told.next();
    expect(end).toBe("stopped guest");
    expect((await driver.getInfo(instance)).state).toBe("shutdown");
    console.destroy();
    await driver.destroy(instance);
  });

  it("does not hear the power button: it is left alone, killed, or started anew", { timeout: 240_000 }, async () => {
    await using driver = open("deaf");
    await driver.initHost();
    const instance = await spawn(driver, "deaf");
    const told = new Told(driver, instance);
    const grace = { graceMs: 300, resendMs: 100 };
    await expect(driver.powerOff(instance, { ...grace, onTimeout: "fail" })).rejects.toMatchObject({
      code: "SHUTDOWN_REFUSED",
      retryable: true,
    });
    const pid = await qemuProcess(instance.uuid);
    expect(await isAlive(pid)).toBe(true);
    expect(await driver.reboot(instance, "soft", { graceMs: 300 })).toEqual({ type: "hard" });
    expect(await isAlive(pid)).toBe(false);
    expect([await told.next(), await told.next()]).toEqual(["stopped self", "started self"]);
    expect(await driver.powerOff(instance, grace)).toEqual({ how: "killed" });
    expect(await told.next()).toBe("stopped self");
    await driver.destroy(instance, { graceMs: 300 });
  });
});

describe("others on the host", () => {
  it("stop, save, start and undefine guests, and the driver knows", { timeout: 240_000 }, async () => {
    await using driver = open("shared");
    await driver.initHost();
    await using virsh = await LibvirtClient.open(host.daemon.uri("qemu"));
    const instance = await spawn(driver, "shared");
    const domain = await virsh.lookupDomainByUuid(instance.uuid);
    const told = new Told(driver, instance);
    await domain.suspend();
    await domain.resume();
    await domain.managedSave();
    expect([await told.next(), await told.next()]).toEqual(["paused external", "resumed external"]);
    // libvirt stops a guest that it saves.
    let next = await told.next();
    if (next === "paused external") next = await told.next();
    expect(next).toBe("suspended external");
    expect((await driver.getInfo(instance)).state).toBe("suspended");
    await domain.create();
    expect(await told.next()).toBe("resumed external");
    await domain.destroy();
    expect(await told.next()).toBe("stopped external");
    await domain.undefineFlags({ flags: ["managedSave", "nvram"] });
    expect((await driver.getInfo(instance)).state).toBe("shutdown");
    await driver.powerOn(instance);
    expect(await told.next()).toBe("started self");
    // What they have changed in its definition goes with a hard reboot, which makes everything anew.
    const changed = async (): Promise<boolean> =>
      (await domain.getXmlDesc({ flags: ["inactive"] })).includes("<title>theirs</title>");
    await domain.setMetadata(1, { metadata: "theirs", flags: ["config"] });
    expect(await changed()).toBe(true);
    await driver.reboot(instance, "hard");
    expect(await changed()).toBe(false);
    await driver.destroy(instance);
    await expect(virsh.lookupDomainByUuid(instance.uuid)).rejects.toMatchObject({ kind: "domainNotFound" });
  });
});

describe("a driver that only looks", () => {
  it("sees on the socket for readers what another driver does, and does nothing", { timeout: 240_000 }, async () => {
    await using driver = open("seen");
    await driver.initHost();
    const before = await spawn(driver, "before");
    const uri = `qemu+unix:///system?socket=${host.daemon.readOnlySocket}`;
    await using reader = open("seen", { uri, readOnly: true });
    expect(await reader.initHost()).toMatchObject({ adopted: [before], lost: [], orphans: [], operations: [] });
    const told = new Told(reader);
    const after = await spawn(driver, "after", { hardware: { vnc: { address: "127.0.0.1" } } });
    expect(await told.next()).toBe("started external");
    expect(await reader.listInstances()).toEqual(expect.arrayContaining([before, after]));
    for (const instance of [before, after])
      expect(await reader.getInfo(instance)).toMatchObject({ state: "running", stale: false });
    expect((await reader.getDiagnostics(after)).disks).toHaveLength(1);
    expect(await reader.getVncConsole(after)).toEqual(await driver.getVncConsole(after));
    expect((await reader.getAllDiagnostics()).diagnostics).toHaveLength(2);
    expect((await reader.getAvailableResource()).vcpus).toBeGreaterThan(0);
    expect((await reader.getHostCpuStats()).userNs).toBeGreaterThan(0n);
    await expect(reader.destroy(after)).rejects.toMatchObject({ code: "READ_ONLY" });
    await expect(reader.pause(after)).rejects.toMatchObject({ code: "NOT_SUPPORTED", capability: "pause" });
    await host.daemon.kill("SIGKILL");
    expect(await told.next("connection")).toBe("lost");
    expect(await reader.getInfo(after)).toMatchObject({ state: "running", stale: true });
    await host.daemon.start();
    expect(await told.next("connection")).toBe("connected");
    await driver.destroy(after);
    expect(await told.next()).toBe("stopped external");
    await driver.destroy(before);
    expect(await reader.listInstances()).toEqual([]);
  });
});

describe("a host that boots", () => {
  it(
    "has its guests again that ran, with their ports and filters, and none that did not",
    { timeout: 240_000 },
    async () => {
      await using bridge = await createBridge({ dhcp: false });
      const state = join(host.directory, "boots");
      const firewall = (): NftablesFirewallDriver => {
        const groups = new MemorySecurityGroupSource();
        groups.setGroup({ id: "default", rules: [] });
        return new NftablesFirewallDriver({ groups, state: new FileStateStore({ dir: join(state, "firewall") }) });
      };
      const start = (): LibvirtDriver => open("boots", { collaborators: { firewall: firewall() } });
      const vif: Vif = {
        type: "bridge",
        id: randomUUID(),
        macAddress: "52:54:00:b0:07:01",
        bridge: bridge.name,
        network: { id: "lab", subnets: [{ cidr: "10.77.0.0/24" }] },
        fixedIps: [{ address: "10.77.0.9" }],
        securityGroups: ["default"],
      };
      const former = start();
      await former.initHost();
      const running = await spawn(former, "running", { vifs: [vif] });
      const [paused, stopped, saved] = [
        await spawn(former, "paused"),
        await spawn(former, "stopped"),
        await spawn(former, "saved"),
      ];
      await former.pause(paused);
      await former.powerOff(stopped, { graceMs: 0 });
      await former.suspend(saved);
      const ports = await bridge.ports();
      const rules = (): string => spawnSync("nft", ["list", "ruleset"], { encoding: "utf8" }).stdout;
      expect(rules()).toContain("10.77.0.9");
      await former.close();

      // What does not outlive a boot: processes, devices, filters, what is below /run.
      const processes = await Promise.all([running, paused].map(({ uuid }) => qemuProcess(uuid)));
      await host.daemon.kill("SIGKILL");
      for (const pid of processes) process.kill(pid, "SIGKILL");
      await waitFor(async () => !(await Promise.all(processes.map(isAlive))).includes(true), {
        timeoutMs: 30_000,
        what: "the end of all guests",
      });
      for (const port of ports) spawnSync("ip", ["link", "delete", port]);
      spawnSync("nft", ["flush", "ruleset"]);
      const runtime = host.daemon.file("run");
      for (const name of await readdir(runtime)) await rm(join(runtime, name), { recursive: true, force: true });
      await host.daemon.start();

      await using driver = start();
      const report = await driver.initHost();
      expect(report.adopted).toEqual([]);
      expect([...report.lost].sort(byName)).toEqual([paused, running]);
      const told = new Told(driver);
      for (const instance of report.lost) await driver.resumeStateOnHostBoot(instance);
      expect([await told.next(), await told.next()]).toEqual(["started self", "started self"]);
      const states = async (): Promise<readonly string[]> =>
        Promise.all([running, paused, stopped, saved].map(async (one) => (await driver.getInfo(one)).state));
      expect(await states()).toEqual(["running", "running", "shutdown", "suspended"]);
      expect(await bridge.ports()).toEqual(ports);
      expect(rules()).toContain("10.77.0.9");
      // Called for all of them, again: nothing happens to those that run or have their memory on disk.
      for (const instance of [running, paused, saved]) await driver.resumeStateOnHostBoot(instance);
      expect(await states()).toEqual(["running", "running", "shutdown", "suspended"]);
      await driver.resume(saved);
      expect(await states()).toEqual(["running", "running", "shutdown", "running"]);
      for (const instance of [running, paused, stopped, saved]) await driver.destroy(instance);
      // Tables stand as long as the host is used.
      spawnSync("nft", ["flush", "ruleset"]);
    },
  );
});

function byName(a: InstanceRef, b: InstanceRef): number {
  return a.name < b.name ? -1 : 1;
}
