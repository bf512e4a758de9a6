/** The simulated host: what the parity test does not compare with a real daemon, and what only a test can do to it. */
import { afterEach, describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import {
  DomainEventType,
  LibvirtClient,
  LibvirtConnection,
  parametersToObject,
} from "../../../src/libvirt/rpc/index.js";
import type { LibvirtConnectionOptions, LibvirtProtocol } from "../../../src/libvirt/rpc/index.js";
import { parseCapabilitiesXml, parseDomainCapabilitiesXml, parseDomainXml } from "../../../src/libvirt/xml/index.js";
import { SimulatedLibvirtHost } from "../../../src/testing/index.js";
import type { SimulatedLibvirtHostOptions } from "../../../src/testing/index.js";
import { DRIVER_SCENARIOS } from "../../integration/libvirt/support/driver-scenarios.js";
import { SCENARIOS, domainXml, play } from "../../integration/libvirt/support/parity-scenarios.js";

const AGENT = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";
const NIC = "<interface type='bridge'><mac address='52:54:00:00:aa:01'/><source bridge='br0'/></interface>";
const SERIAL = "<serial type='pty'><target port='0'/></serial>";
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function simulate(options: SimulatedLibvirtHostOptions = {}): Promise<SimulatedLibvirtHost> {
  const host = await SimulatedLibvirtHost.create(options);
  cleanups.push(() => host.close());
  return host;
}

async function connect(host: SimulatedLibvirtHost, options: LibvirtConnectionOptions = {}): Promise<LibvirtConnection> {
  const connection = await LibvirtConnection.open("qemu:///system", { connect: host.connector, ...options });
  cleanups.push(() => connection.close());
  return connection;
}

async function started(libvirt: LibvirtConnection, devices = ""): Promise<LibvirtProtocol.RemoteDomain> {
  const { dom } = await libvirt.call("domainDefineXml", { xml: domainXml("web", devices) });
  return (await libvirt.call("domainCreateWithFlags", { dom, flags: 0 })).dom;
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("resolved"),
    (error: unknown) => error as Error,
  );
}

it.each([...SCENARIOS, ...DRIVER_SCENARIOS])(
  "goes through the scenario that is compared with a real daemon: $name",
  async (scenario) => {
    const host = await simulate();
    const notes = await play(scenario, { libvirt: await connect(host), disk: "/d/a.qcow2", directory: "/d" });
    expect(notes.length).toBeGreaterThan(5);
    expect(host.contents.domains).toEqual([]);
  },
);

describe("guests", () => {
  it("take their time by the host's clock: they boot, obey a button, and ignore it when told to", async () => {
    const clock = new VirtualClock();
    const host = await simulate({ clock, behaviour: { bootMs: 10_000, shutdownMs: 3_000 } });
    const libvirt = await connect(host);
    const dom = await started(libvirt, AGENT);
    const agent = await libvirt.events("domain", ["agentLifecycle"]);
    const life = await libvirt.events("domain", ["lifecycle"], { object: dom });
    await libvirt.call("domainShutdown", { dom });
    await clock.tick(9_000);
    expect(await libvirt.call("domainGetState", { dom, flags: 0 })).toEqual({ state: 1, reason: 1 });
    expect(await rejection(libvirt.call("domainFsFreeze", { dom, mountpoints: [], flags: 0 }))).toMatchObject({
      kind: "agentUnresponsive",
    });
    await clock.tick(1_000);
    expect(await agent.next()).toMatchObject({ value: { data: { state: 1 } } });
    expect(await libvirt.call("domainFsFreeze", { dom, mountpoints: [], flags: 0 })).toEqual({ filesystems: 1 });
    host.setBehaviour({ acpi: "ignore" }, "web");
    await libvirt.call("domainShutdown", { dom });
    await clock.tick(60_000);
    expect(await libvirt.call("domainIsActive", { dom })).toEqual({ active: 1 });
    host.setBehaviour({ acpi: "obey" }, "web");
    await libvirt.call("domainShutdown", { dom });
    await clock.tick(3_000);
    expect(await life.next()).toMatchObject({ value: { data: { event: DomainEventType.shutdown, detail: 1 } } });
    expect(await life.next()).toMatchObject({ value: { data: { event: DomainEventType.stopped, detail: 0 } } });
    expect(await libvirt.call("domainGetState", { dom, flags: 0 })).toEqual({ state: 5, reason: 1 });
  });

  it("crash, power themselves off, and end with the connection that asked for it", async () => {
    const host = await simulate();
    const libvirt = await connect(host);
    const life = await libvirt.events("domain", ["lifecycle"]);
    const dom = await started(libvirt);
    host.crashGuest("web");
    expect(await libvirt.call("domainGetState", { dom, flags: 0 })).toEqual({ state: 5, reason: 3 });
    await libvirt.call("domainCreate", { dom });
    host.powerOffGuest("web");
    const other = await connect(host);
    await other.call("domainCreateWithFlags", { dom, flags: 2 });
    await other.close();
    const seen: string[] = [];
    while (seen.length < 11) {
      const { value } = await life.next();
      if (value?.kind === "event") seen.push(`${value.data.event},${value.data.detail}`);
    }
    expect(seen.join(" ")).toBe("0,0 4,0 2,0 5,5 4,0 2,0 6,1 5,0 4,0 2,0 5,1");
  });

  it("let go of devices, refuse, or do not answer", async () => {
    const host = await simulate();
    const libvirt = await connect(host);
    const dom = await started(libvirt, AGENT);
    const agent = await libvirt.events("domain", ["agentLifecycle"]);
    await libvirt.call("domainReset", { dom, flags: 0 });
    await agent.next();
    const events = await libvirt.events("domain", ["deviceAdded", "deviceRemoved", "deviceRemovalFailed"]);
    await libvirt.call("domainAttachDeviceFlags", { dom, xml: NIC, flags: 3 });
    const { xml } = await libvirt.call("domainGetXmlDesc", { dom, flags: 0 });
    const [nic] = parseDomainXml(xml).devices?.interface ?? [];
    expect(nic).toMatchObject({ alias: { name: "net0" }, target: { dev: expect.stringMatching(/^vnet/) as unknown } });
    host.setBehaviour({ detach: "refuse" });
    await libvirt.call("domainDetachDeviceFlags", { dom, xml: NIC, flags: 1 });
    host.setBehaviour({ detach: "release" });
    const names: string[] = [];
    for (let i = 0; i < 2; i++) {
      const { value } = await events.next();
      if (value?.kind === "event") names.push(`${value.name} ${value.data.devAlias}`);
    }
    await libvirt.call("domainDetachDeviceFlags", { dom, xml: NIC, flags: 1 });
    const { value } = await events.next();
    if (value?.kind === "event") names.push(`${value.name} ${value.data.devAlias}`);
    expect(names).toEqual(["deviceAdded net0", "deviceRemovalFailed net0", "deviceRemoved net0"]);
    const kept = await libvirt.call("domainGetXmlDesc", { dom, flags: 2 });
    expect(parseDomainXml(kept.xml).devices?.interface).toHaveLength(1);
    const now = await libvirt.call("domainGetXmlDesc", { dom, flags: 0 });
    expect(parseDomainXml(now.xml).devices?.interface).toBeUndefined();
  });

  it("fail to start when told to, and nothing is left of a transient one", async () => {
    const host = await simulate({ behaviour: { startError: "no memory" } });
    const libvirt = await connect(host);
    const create = libvirt.call("domainCreateXml", { xmlDesc: domainXml("web"), flags: 0 });
    expect(await rejection(create)).toMatchObject({ libvirtCode: 1, domain: 10, detail: "no memory" });
    expect(host.contents.domains).toEqual([]);
  });

  it("have consoles, agents and screens", async () => {
    const host = await simulate();
    const libvirt = await connect(host);
    const dom = await started(libvirt, SERIAL + AGENT);
    const console = await libvirt.openStream("domainOpenConsole", { dom, devName: undefined, flags: 0 });
    host.onConsoleInput((_, input) => `you said ${input.toString()}`);
    console.write("hello");
    const said = await new Promise<Buffer>((resolve) => console.once("data", resolve));
    expect(said.toString()).toBe("you said hello");
    const second = libvirt.openStream("domainOpenConsole", { dom, devName: undefined, flags: 0 });
    expect(await rejection(second)).toMatchObject({ libvirtCode: 9 });
    console.destroy();
    const picture: Buffer[] = [];
    for await (const part of await libvirt.openStream("domainScreenshot", { dom, screen: 0, flags: 0 }))
      picture.push(part as Buffer);
    expect(Buffer.concat(picture).subarray(0, 2).toString()).toBe("P6");
    host.onAgentCommand((_, { execute }) => (execute === "guest-get-osinfo" ? { id: "test" } : undefined));
    const command = { dom, cmd: '{"execute":"guest-get-osinfo"}', timeout: -2, flags: 0 };
    expect(await libvirt.callQemu("domainQemuAgentCommand", command)).toEqual({ result: '{"return":{"id":"test"}}' });
  });
});

describe("migration", () => {
  it("moves a running guest, tells it at both ends, and persists it there", async () => {
    const clock = new VirtualClock();
    const [a, b] = [
      await simulate({ name: "a", clock, behaviour: { migrationMs: 8_000 } }),
      await simulate({ name: "b", clock }),
    ];
    a.reach(b);
    const [from, to] = [await connect(a), await connect(b)];
    const dom = await started(from);
    const [left, arrived] = [await from.events("domain", ["lifecycle"]), await to.events("domain", ["lifecycle"])];
    const flags = 1 | 2 | 8 | 16;
    const perform = { dom, dconnuri: "qemu+tcp://b/system", params: [], cookieIn: new Uint8Array(0), flags };
    const migrating = from.call("domainMigratePerform3Params", perform);
    await a.server.called("domainMigratePerform3Params");
    await clock.tick(4_000);
    const job = parametersToObject((await from.call("domainGetJobStats", { dom, flags: 0 })).params);
    expect(job).toMatchObject({ operation: 5, time_elapsed: 4_000n });
    expect(await to.call("domainGetState", { dom, flags: 0 })).toEqual({ state: 3, reason: 2 });
    expect(await rejection(to.call("domainSetMemory", { dom, memory: 1n }))).toMatchObject({ libvirtCode: 68 });
    expect(await rejection(from.call("domainSetMemory", { dom, memory: 1n }))).toMatchObject({ libvirtCode: 68 });
    await clock.tick(4_000);
    await migrating;
    const tell = async (reader: typeof left, count: number): Promise<string> => {
      const seen: string[] = [];
      for (let i = 0; i < count; i++) {
        const { value } = await reader.next();
        if (value?.kind === "event") seen.push(`${value.data.event},${value.data.detail}`);
      }
      return seen.join(" ");
    };
    expect(await tell(left, 2)).toBe("3,1 5,3");
    expect(await tell(arrived, 3)).toBe("2,1 0,0 4,1");
    expect(a.contents.domains).toEqual([]);
    expect(b.contents.domains).toMatchObject([{ name: "web", active: true }]);
  });

  it("is aborted: the guest stays where it was, and nothing is there", async () => {
    const clock = new VirtualClock();
    const [a, b] = [
      await simulate({ name: "a", clock, behaviour: { migrationMs: 8_000 } }),
      await simulate({ name: "b", clock }),
    ];
    a.reach(b);
    const libvirt = await connect(a);
    const dom = await started(libvirt);
    const perform = { dom, params: [], cookieIn: new Uint8Array(0), flags: 3 };
    const nowhere = libvirt.call("domainMigratePerform3Params", { ...perform, dconnuri: "qemu+tcp://c/system" });
    expect(await rejection(nowhere)).toMatchObject({ libvirtCode: 9, domain: 10 });
    const migrating = rejection(
      libvirt.call("domainMigratePerform3Params", { ...perform, dconnuri: "qemu+tcp://b/system" }),
    );
    await a.server.called("domainMigratePerform3Params", 2);
    await libvirt.call("domainAbortJob", { dom });
    expect(await migrating).toMatchObject({ kind: "cancelled" });
    expect(await libvirt.call("domainGetState", { dom, flags: 0 })).toMatchObject({ state: 1 });
    expect(b.contents.domains).toEqual([]);
  });
});

describe("the host", () => {
  it("says what it can in documents that are read back", async () => {
    const libvirt = await connect(await simulate({ hardware: { cpus: 4 } }));
    const { capabilities } = await libvirt.call("connectGetCapabilities");
    expect(parseCapabilitiesXml(capabilities).host?.cpu).toMatchObject({ arch: "x86_64" });
    const question = { emulatorbin: undefined, arch: undefined, machine: "q35", virttype: "kvm", flags: 0 };
    const { capabilities: domain } = await libvirt.call("connectGetDomainCapabilities", question);
    expect(parseDomainCapabilitiesXml(domain)).toMatchObject({ machine: "pc-q35-7.2", vcpu: { max: 288 } });
    expect(await libvirt.call("nodeGetInfo")).toMatchObject({ cpus: 4, memory: 16n * 1024n ** 2n });
  });

  it("tells of all domains at once, and is driven by handles as well", async () => {
    const host = await simulate();
    const client = await LibvirtClient.open("qemu:///system", { connect: host.connector });
    cleanups.push(() => client.close());
    await started(client.connection, NIC);
    const [domain] = await client.listAllDomains({ flags: ["active"] });
    expect(domain?.name).toBe("web");
    const { retStats } = await client.connection.call("connectGetAllDomainStats", { doms: [], stats: 0, flags: 0 });
    expect(parametersToObject(retStats[0]?.params ?? [])).toMatchObject({
      "state.state": 1, "balloon.maximum": 32_768n, "net.count": 1, "vcpu.current": 1,
    }); // prettier-ignore
  });

  it("keeps volumes: what goes up comes down, with zeros or a hole where nothing was written", async () => {
    const host = await simulate();
    const libvirt = await connect(host);
    const { pool } = await libvirt.call("storagePoolLookupByName", { name: "default" });
    const xml = "<volume><name>v</name><capacity unit='MiB'>1</capacity></volume>";
    const { vol } = await libvirt.call("storageVolCreateXml", { pool, xml, flags: 0 });
    const all = { vol, offset: 0n, length: 0n, flags: 0 };
    const upload = await libvirt.openStream("storageVolUpload", all);
    upload.end(Buffer.alloc(70_000, 9));
    await new Promise((resolve) => upload.once("close", resolve));
    const parts: Buffer[] = [];
    for await (const part of await libvirt.openStream("storageVolDownload", all)) parts.push(part as Buffer);
    const whole = Buffer.concat(parts);
    expect([whole.length, whole[69_999], whole[70_000]]).toEqual([1_048_576, 9, 0]);
    const sparse = await libvirt.openStream("storageVolDownload", all, { sparse: true });
    const holes: bigint[] = [];
    for await (const part of sparse) if (!Buffer.isBuffer(part)) holes.push((part as { hole: bigint }).hole);
    expect(holes).toEqual([978_576n]);
    const small = { ...all, offset: 1_048_570n };
    const tooMuch = await libvirt.openStream("storageVolUpload", small);
    const failed = new Promise<Error>((resolve) => tooMuch.once("error", resolve));
    tooMuch.end(Buffer.alloc(100));
    expect(await failed).toMatchObject({ libvirtCode: 38, errno: "ENOSPC" });
  });

  it("gives values of secrets to nobody when they are private, and uses no filter that is missing", async () => {
    const host = await simulate();
    const libvirt = await connect(host);
    const open = "<secret ephemeral='no' private='no'><usage type='volume'><volume>/v</volume></usage></secret>";
    const { secret } = await libvirt.call("secretDefineXml", { xml: open, flags: 0 });
    const changed = await libvirt.events("secret", ["valueChanged"]);
    await libvirt.call("secretSetValue", { secret, value: Buffer.from("k"), flags: 0 });
    expect(Buffer.from((await libvirt.call("secretGetValue", { secret, flags: 0 })).value).toString()).toBe("k");
    expect(await changed.next()).toMatchObject({ value: { data: { secret: { uuid: secret.uuid } } } });
    const xml = "<filter name='f'><filterref filter='missing'/></filter>";
    expect(await rejection(libvirt.call("nwFilterDefineXml", { xml }))).toMatchObject({ domain: 33 });
    await libvirt.call("nwFilterDefineXml", { xml: "<filter name='f' chain='root'/>" });
    const binding =
      "<filterbinding><owner><name>web</name><uuid>3f0c1a52-9f86-4d1c-8d3b-5b9a6a0f7c11</uuid></owner><portdev name='tap0'/><mac address='52:54:00:00:00:01'/><filterref filter='f'/></filterbinding>";
    await libvirt.call("nwFilterBindingCreateXml", { xml: binding, flags: 0 });
    const { nwFilter } = await libvirt.call("nwFilterLookupByName", { name: "f" });
    expect(await rejection(libvirt.call("nwFilterUndefine", { nwFilter }))).toMatchObject({ kind: "invalidState" });
    expect(host.contents.nwFilterBindings).toEqual(["tap0"]);
  });

  it("refuses changes to those who only read", async () => {
    const host = await simulate();
    const libvirt = await connect(host);
    const dom = await started(libvirt);
    const reader = await connect(host, { readOnly: true });
    expect(await reader.call("domainGetState", { dom, flags: 0 })).toMatchObject({ state: 1 });
    for (const refused of [
      reader.call("domainDestroy", { dom }),
      reader.call("domainDefineXml", { xml: domainXml("x") }),
      reader.call("domainSetAutostart", { dom, autostart: 1 }),
    ])
      expect(await rejection(refused)).toMatchObject({ libvirtCode: 29 });
  });

  it("fails a call after its effect, and lets its clients come back after a restart", async () => {
    const host = await simulate();
    const libvirt = await connect(host, { reconnect: { minDelayMs: 1 } });
    const { dom } = await libvirt.call("domainDefineXml", { xml: domainXml("web") });
    host.faults.refuse("domainCreate", { code: 38, domain: 7 }, { at: "after" });
    expect(await rejection(libvirt.call("domainCreate", { dom }))).toMatchObject({ libvirtCode: 38 });
    expect(host.contents.domains).toMatchObject([{ active: true }]);
    const happened = libvirt.connectionEvents();
    host.restartDaemon();
    expect(await happened.next()).toMatchObject({ value: { kind: "lost" } });
    expect(await libvirt.call("domainIsActive", { dom })).toEqual({ active: 1 });
  });
});
