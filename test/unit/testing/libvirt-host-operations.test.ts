/** What drivers do to a simulated host beyond what is compared with a real daemon: jobs, limits, agents, networks, and faults at every call. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import { LibvirtConnection, NetworkUpdateCommand, parametersToObject } from "../../../src/libvirt/rpc/index.js";
import type { LibvirtProtocol, TypedParameter } from "../../../src/libvirt/rpc/index.js";
import { parseDomainXml, parseNetworkXml } from "../../../src/libvirt/xml/index.js";
import { SimulatedLibvirtHost } from "../../../src/testing/index.js";
import type { SimulatedLibvirtHostOptions } from "../../../src/testing/index.js";
import { domainXml, play } from "../../integration/libvirt/support/parity-scenarios.js";
import type { Scenario } from "../../integration/libvirt/support/parity-scenarios.js";

type Domain = LibvirtProtocol.RemoteDomain;

const AGENT = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";
const DISK =
  "<disk type='file' device='disk'><driver type='qcow2'/><source file='/d/a.qcow2'/><target dev='vda'/></disk>";
const NIC = "<interface type='bridge'><mac address='52:54:00:00:aa:01'/><source bridge='br0'/></interface>";
const NONE = new Uint8Array(0);
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function simulate(options: SimulatedLibvirtHostOptions = {}): Promise<SimulatedLibvirtHost> {
  const host = await SimulatedLibvirtHost.create(options);
  cleanups.push(() => host.close());
  return host;
}

async function connect(host: SimulatedLibvirtHost): Promise<LibvirtConnection> {
  const connection = await LibvirtConnection.open("qemu:///system", { connect: host.connector });
  cleanups.push(() => connection.close());
  return connection;
}

async function started(libvirt: LibvirtConnection, devices = ""): Promise<Domain> {
  const { dom } = await libvirt.call("domainDefineXml", { xml: domainXml("web", devices) });
  return (await libvirt.call("domainCreateWithFlags", { dom, flags: 0 })).dom;
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("resolved"),
    (error: unknown) => error as Error,
  );
}

const uint = (field: string, value: number): TypedParameter => ({ field, type: "uint", value });
const values = (params: readonly TypedParameter[]): object => parametersToObject(params);

describe("a release", () => {
  it("tells of what earlier ones did not: definitions that a device changed, and guests that stop to go on elsewhere", async () => {
    const scenario: Scenario = {
      name: "device and save",
      async run({ libvirt }, note) {
        const { dom } = await libvirt.call("domainDefineXml", { xml: domainXml("web") });
        await note("attach", libvirt.call("domainAttachDeviceFlags", { dom, xml: NIC, flags: 2 }));
        await note("create", libvirt.call("domainCreateWithFlags", { dom, flags: 1 }));
        await note("save", libvirt.call("domainManagedSave", { dom, flags: 0 }));
      },
    };
    const told: (string | undefined)[] = [];
    for (const release of ["9.0", "11.3"] as const) {
      const libvirt = await connect(await simulate({ release }));
      told.push((await play(scenario, { libvirt, disk: "", directory: "" })).at(-1));
      expect(await libvirt.call("connectGetLibVersion")).toEqual({
        libVer: release === "9.0" ? 9_000_000n : 11_003_000n,
      });
    }
    expect(told).toEqual(["events: 0,0 2,0 3,0 5,4", "events: 0,0 0,1 2,0 3,0 6,2 5,4"]);
  });
});

describe("jobs", () => {
  it("back disks up for whoever fetches them, until they are through, and say what came of it", async () => {
    const clock = new VirtualClock();
    const libvirt = await connect(await simulate({ clock, behaviour: { blockJobMs: 10_000 } }));
    const dom = await started(libvirt, DISK);
    const backUp = (mode: string): Promise<unknown> =>
      libvirt.call("domainBackupBegin", {
        dom,
        backupXml: `<domainbackup mode='${mode}'/>`,
        checkpointXml: undefined,
        flags: 0,
      });
    await backUp("pull");
    await clock.tick(60_000);
    expect((await libvirt.call("domainGetJobStats", { dom, flags: 0 })).type).toBe(2);
    expect(await rejection(backUp("push"))).toMatchObject({ libvirtCode: 68 });
    const described = await libvirt.call("domainBackupGetXmlDesc", { dom, flags: 0 });
    expect(described.xml).toMatch(/mode="pull"[^]*name="vda"/);
    await libvirt.call("domainAbortJob", { dom });
    const completed = await libvirt.call("domainGetJobStats", { dom, flags: 1 });
    expect(completed.type).toBe(3);
    expect(values(completed.params)).toMatchObject({ operation: 9, success: true });
    expect((await libvirt.call("domainGetJobStats", { dom, flags: 1 })).type).toBe(0);

    const jobs = await libvirt.events("domain", ["jobCompleted"]);
    await backUp("push");
    await clock.tick(5_000);
    const half = values((await libvirt.call("domainGetJobStats", { dom, flags: 0 })).params);
    expect(half).toMatchObject({ disk_total: 1024n ** 3n, disk_processed: 512n * 1024n ** 2n });
    await libvirt.call("domainAbortJob", { dom });
    const { value } = await jobs.next();
    expect(value?.kind === "event" && values(value.data.params)).toMatchObject({ success: false });
  });

  it("end with the connection of whoever drove a migration, at both ends, and the guest runs on", async () => {
    const clock = new VirtualClock();
    const [a, b] = [
      await simulate({ name: "a", clock, behaviour: { migrationMs: 60_000 } }),
      await simulate({ name: "b", clock }),
    ];
    a.reach(b);
    const [keeper, from, to] = [await connect(a), await connect(a), await connect(b)];
    const dom = await started(keeper);
    const flags = 1 | 256;
    const { xml } = await from.call("domainMigrateBegin3Params", { dom, params: [], flags });
    const params: TypedParameter[] = [{ field: "destination_xml", type: "string", value: xml }];
    const { uriOut = "" } = await to.call("domainMigratePrepare3Params", { params, cookieIn: NONE, flags });
    expect(uriOut).toBe("tcp://b:49152");
    const target: TypedParameter[] = [{ field: "migrate_uri", type: "string", value: uriOut }];
    const performing = rejection(
      from.call("domainMigratePerform3Params", { dom, dconnuri: undefined, params: target, cookieIn: NONE, flags }),
    );
    await a.server.called("domainMigratePerform3Params");
    expect(b.contents.domains).toMatchObject([{ name: "web", active: true }]);
    await Promise.all([from.close(), to.close()]);
    expect(await performing).toMatchObject({ code: "LIBVIRT_DISCONNECTED" });
    await vi.waitFor(() => expect(b.contents.domains).toEqual([]), { timeout: 60_000 });
    await vi.waitFor(() => expect(a.server.clients).toHaveLength(1), { timeout: 60_000 });
    expect(await keeper.call("domainGetState", { dom, flags: 0 })).toMatchObject({ state: 1 });
    await keeper.call("domainSetMemory", { dom, memory: 16_384n });
  });

  it("switch over at once when post-copy is asked for, and are tuned meanwhile", async () => {
    const clock = new VirtualClock();
    const [a, b] = [
      await simulate({ name: "a", clock, behaviour: { migrationMs: 60_000 } }),
      await simulate({ name: "b", clock }),
    ];
    a.reach(b);
    const libvirt = await connect(a);
    const dom = await started(libvirt);
    const perform = { dom, dconnuri: "qemu+tcp://b/system", params: [], cookieIn: NONE, flags: 1 | 2 | 32_768 };
    const migrating = libvirt.call("domainMigratePerform3Params", perform);
    await a.server.called("domainMigratePerform3Params");
    await libvirt.call("domainMigrateSetMaxDowntime", { dom, downtime: 900n, flags: 0 });
    expect(await libvirt.call("domainMigrateGetMaxDowntime", { dom, flags: 0 })).toEqual({ downtime: 900n });
    await libvirt.call("domainMigrateSetCompressionCache", { dom, cacheSize: 1_048_576n, flags: 0 });
    await libvirt.call("domainMigrateStartPostCopy", { dom, flags: 0 });
    await migrating;
    expect(b.contents.domains).toMatchObject([{ name: "web", active: true }]);
  });
});

describe("guests", () => {
  it("have processors, keys and sleep by way of their agents", async () => {
    const libvirt = await connect(await simulate());
    const dom = await started(libvirt, AGENT);
    const vcpus = async (): Promise<object> =>
      values((await libvirt.call("domainGetGuestVcpus", { dom, flags: 0 })).params);
    expect(await vcpus()).toEqual({ vcpus: "0", online: "0", offlinable: "0" });
    await libvirt.call("domainSetGuestVcpus", { dom, cpumap: "0", state: 0, flags: 0 });
    expect(await vcpus()).toMatchObject({ online: "" });
    const keysOf = { dom, user: "root", flags: 0 };
    await libvirt.call("domainAuthorizedSshKeysSet", { ...keysOf, keys: ["k1", "k2"] });
    await libvirt.call("domainAuthorizedSshKeysSet", { ...keysOf, keys: ["k2", "k3"], flags: 1 });
    await libvirt.call("domainAuthorizedSshKeysSet", { ...keysOf, keys: ["k1"], flags: 2 });
    expect(await libvirt.call("domainAuthorizedSshKeysGet", keysOf)).toEqual({ keys: ["k2", "k3"] });
    await libvirt.call("domainPmSuspendForDuration", { dom, target: 0, duration: 0n, flags: 0 });
    expect(await libvirt.call("domainGetState", { dom, flags: 0 })).toMatchObject({ state: 7 });
    await libvirt.call("domainPmWakeup", { dom, flags: 0 });
    expect(await libvirt.call("domainGetState", { dom, flags: 0 })).toMatchObject({ state: 1 });
  });

  it("keep their limits in their definitions, where they are read again", async () => {
    const libvirt = await connect(await simulate());
    const dom = await started(libvirt, DISK + NIC);
    const iops: TypedParameter[] = [{ field: "write_iops_sec", type: "ullong", value: 40n }];
    await libvirt.call("domainSetBlockIoTune", { dom, disk: "vda", params: iops, flags: 3 });
    await libvirt.call("domainPinVcpuFlags", { dom, vcpu: 0, cpumap: Uint8Array.of(0b1011), flags: 3 });
    await libvirt.call("domainAddIoThread", { dom, ioThreadId: 4, flags: 3 });
    await libvirt.call("domainPinIoThread", { dom, ioThreadsId: 4, cpumap: Uint8Array.of(2), flags: 3 });
    const device = "52:54:00:00:aa:01";
    const band = { dom, device, params: [uint("inbound.average", 100), uint("outbound.peak", 7)], flags: 3 };
    await libvirt.call("domainSetInterfaceParameters", band);
    const { xml } = await libvirt.call("domainGetXmlDesc", { dom, flags: 2 });
    expect(parseDomainXml(xml)).toMatchObject({
      cputune: { vcpupin: [{ vcpu: 0, cpuset: "0-1,3" }], iothreadpin: [{ iothread: 4, cpuset: "1" }] },
      iothreads: 1,
      devices: {
        disk: [{ iotune: { write_iops_sec: 40 } }],
        interface: [{ bandwidth: { inbound: { average: 100 }, outbound: { peak: 7 } } }],
      },
    });
    const pins = await libvirt.call("domainGetVcpuPinInfo", { dom, ncpumaps: 1, maplen: 1, flags: 1 });
    expect(pins).toEqual({ cpumaps: Buffer.of(0b1011), num: 1 });
    const threads = await libvirt.call("domainGetIoThreadInfo", { dom, flags: 1 });
    expect(threads.info).toMatchObject([{ ioThreadId: 4, cpumap: Buffer.of(2) }]);
    const sum = await libvirt.call("domainGetCpuStats", { dom, nparams: 3, startCpu: -1, ncpus: 1, flags: 0 });
    expect(values(sum.params)).toMatchObject({ cpu_time: expect.any(BigInt) as unknown });
    const wrong = { dom, disk: "vda", params: [uint("size_iops_sec", 1)], flags: 1 };
    expect(await rejection(libvirt.call("domainSetBlockIoTune", wrong))).toMatchObject({ libvirtCode: 8, domain: 0 });
  });
});

describe("a network", () => {
  it("is changed piece by piece, and keeps its ports' bandwidth", async () => {
    const libvirt = await connect(await simulate());
    const { net } = await libvirt.call("networkLookupByName", { name: "default" });
    const update = (command: number, ip: string): Promise<unknown> =>
      libvirt.call("networkUpdate", {
        net,
        command,
        section: 4,
        parentIndex: -1,
        xml: `<host mac='52:54:00:00:aa:04' ip='${ip}'/>`,
        flags: 3,
      });
    const hosts = async (): Promise<unknown> =>
      parseNetworkXml((await libvirt.call("networkGetXmlDesc", { net, flags: 0 })).xml).ip?.[0]?.dhcp?.host;
    await update(NetworkUpdateCommand.addLast, "192.0.2.9");
    expect(await hosts()).toMatchObject([{ ip: "192.0.2.9" }]);
    expect(await rejection(update(NetworkUpdateCommand.addFirst, "192.0.2.10"))).toMatchObject({ libvirtCode: 55 });
    await update(NetworkUpdateCommand.modify, "192.0.2.10");
    expect(await hosts()).toMatchObject([{ ip: "192.0.2.10" }]);
    await update(NetworkUpdateCommand.delete, "192.0.2.10");
    expect(await hosts()).toBeUndefined();
    const xml = "<networkport><owner><name>web</name></owner><mac address='52:54:00:00:aa:03'/></networkport>";
    const { port } = await libvirt.call("networkPortCreateXml", { network: net, xml, flags: 0 });
    const params = [uint("inbound.average", 10)];
    await libvirt.call("networkPortSetParameters", { port, params, flags: 0 });
    const read = await libvirt.call("networkPortGetParameters", { port, nparams: 16, flags: 0 });
    expect(values(read.params)).toMatchObject({ "inbound.average": 10, "inbound.peak": 0 });
  });
});

describe("a fault at every call", () => {
  /** What a driver would do; each call is one at which it can be refused or cut off. */
  async function plugAndUnplug(libvirt: LibvirtConnection, dom: Domain): Promise<void> {
    await libvirt.call("domainAttachDeviceFlags", { dom, xml: NIC, flags: 3 });
    await libvirt.call("domainGetXmlDesc", { dom, flags: 0 });
    await libvirt.call("domainDetachDeviceFlags", { dom, xml: NIC, flags: 3 });
  }

  it("is set by its place in the log of calls, and what it strikes had no effect", async () => {
    const host = await simulate();
    const libvirt = await connect(host);
    const dom = await started(libvirt);
    const before = host.server.received.length;
    await plugAndUnplug(libvirt, dom);
    const log = host.server.received.slice(before).map(({ name }) => name);
    expect(log).toEqual(["domainAttachDeviceFlags", "domainGetXmlDesc", "domainDetachDeviceFlags"]);

    for (const [index, name] of log.entries()) {
      const fault = host.faults.refuse("*", { code: 38, domain: 10, int1: 5 }, { nth: index + 1 });
      const error = await rejection(plugAndUnplug(libvirt, dom));
      expect(error, name).toMatchObject({ libvirtCode: 38, procedure: name, int1: 5 });
      expect(fault.hits).toBe(1);
      fault.remove();
      const { xml } = await libvirt.call("domainGetXmlDesc", { dom, flags: 0 });
      expect(xml.includes("52:54:00:00:aa:01"), name).toBe(index > 0);
      if (index > 0) await libvirt.call("domainDetachDeviceFlags", { dom, xml: NIC, flags: 3 });
    }
    for (const [index, name] of log.entries()) {
      const own = await connect(host);
      host.faults.hangUp("*", { nth: index + 1, at: "after" });
      const error = await rejection(plugAndUnplug(own, dom));
      expect(error, name).toMatchObject({ code: "LIBVIRT_DISCONNECTED", maybeExecuted: true });
      host.faults.clear();
      const { xml } = await libvirt.call("domainGetXmlDesc", { dom, flags: 0 });
      expect(xml.includes("52:54:00:00:aa:01"), name).toBe(index < 2);
      if (index < 2) await libvirt.call("domainDetachDeviceFlags", { dom, xml: NIC, flags: 3 });
    }
  });
});
