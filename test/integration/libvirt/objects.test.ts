import { mkdir } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { InvalidArgumentError } from "../../../src/core/index.js";
import { LibvirtClient } from "../../../src/libvirt/rpc/client.js";
import { LibvirtError } from "../../../src/libvirt/rpc/errors.js";
import { ErrorNumber } from "../../../src/libvirt/rpc/protocol/error-codes.gen.js";
import {
  DomainCreateFlags,
  DomainState,
  DomainStatsTypes,
  SecretUsageType,
} from "../../../src/libvirt/rpc/protocol/enums.gen.js";
import { proceduresOf } from "../../../src/libvirt/rpc/protocol/schema.js";
import { cpusOfMap, mapOfCpus } from "../../../src/libvirt/rpc/objects/cpu-map.js";
import { planMethod } from "../../../src/libvirt/rpc/objects/method-plan.js";
import { startLibvirtd } from "../../lab/libvirtd.js";
import type { LabLibvirtd } from "../../lab/libvirtd.js";

const aBigint: unknown = expect.any(BigInt);
const aNumber: unknown = expect.any(Number);

let daemon: LabLibvirtd;
let client: LibvirtClient;

const domainXml = (name: string): string =>
  `<domain type='test'><name>${name}</name><memory unit='KiB'>65536</memory><vcpu>3</vcpu><os><type>hvm</type></os></domain>`;

beforeAll(async () => {
  daemon = await startLibvirtd();
  client = await LibvirtClient.open(daemon.uri("test"));
}, 90_000);

afterAll(async () => {
  await client?.close();
  await daemon?.remove();
});

describe("object handles against a real libvirtd with its test driver", () => {
  it("look up, list and compare domains", async () => {
    const domain = await client.lookupDomainByName("test");
    expect(domain.uuid).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    const again = await client.lookupDomainByUuid(domain.uuid);
    expect({ ...again }).toEqual({ ...domain });
    const active = await client.listAllDomains({ flags: ["active"] });
    expect(active.map((each) => each.name)).toEqual(["test"]);
    expect(await client.listDomains()).toEqual([domain.id]);
    await expect(client.lookupDomainByName("nobody")).rejects.toMatchObject({ code: "LIBVIRT", libvirtCode: 42 });
  });

  it("give results as objects, values and booleans, 64-bit numbers as bigint", async () => {
    const domain = await client.lookupDomainByName("test");
    expect(await domain.getInfo()).toMatchObject({ state: 1, memory: aBigint, nrVirtCpu: 2 });
    expect(await domain.getState()).toMatchObject({ state: 1, reason: aNumber });
    expect(await domain.isActive()).toBe(true);
    expect(await domain.getAutostart()).toBe(false);
    await domain.setAutostart(true);
    expect(await domain.getAutostart()).toBe(true);
    expect(await domain.getOsType()).toBe("linux");
    expect(await domain.getXmlDesc({ flags: ["inactive"] })).toContain("<name>test</name>");
    const info = await client.nodeGetInfo();
    expect(info.model).toMatch(/^[a-z0-9_]+$/);
    expect(info.cpus).toBeGreaterThan(0);
    expect(await client.getHostname()).not.toBe("");
    expect((await client.nodeGetCellsFreeMemory(0)).length).toBeGreaterThan(0);
  });

  it("ask for counts first where the daemon wants to be asked", async () => {
    const domain = await client.lookupDomainByName("test");
    expect(await domain.getSchedulerParameters()).toEqual({ weight: 50 });
    const tuning = await domain.getMemoryParameters();
    expect(tuning).toHaveProperty("hard_limit", aBigint);
    await domain.setMemoryParameters({ hard_limit: 100_000, soft_limit: 90_000n });
    expect(await domain.getMemoryParameters()).toMatchObject({ hard_limit: 100_000n, soft_limit: 90_000n });
    const stats = await client.nodeGetCpuStats(-1);
    expect(stats).toMatchObject({ kernel: aBigint, user: aBigint });
  });

  it("cut processors' rows", async () => {
    const domain = await client.defineDomainXml(domainXml("rows"));
    await domain.create();
    const vcpus = await domain.getVcpus();
    expect(vcpus.map((vcpu) => vcpu.number)).toEqual([0, 1, 2]);
    await domain.pinVcpu(1, Buffer.of(1));
    const pins = await domain.getVcpuPinInfo({ flags: ["live"] });
    expect(pins).toHaveLength(3);
    expect(pins[1]?.[0]).toBe(1);
    expect((await domain.getEmulatorPinInfo()).length).toBeGreaterThan(0);
    const [total] = await domain.getCpuStats(-1, 1);
    expect(total).toMatchObject({ cpu_time: aBigint });
    expect(await domain.getCpuStats(0, 2)).toHaveLength(2);
    await domain.destroy();
    await domain.undefine();
  });

  it("create, define, snapshot and destroy", async () => {
    const domain = await client.createDomainXml(domainXml("fleeting"), { flags: DomainCreateFlags.startValidate });
    await domain.suspend();
    expect(await domain.getState()).toMatchObject({ state: DomainState.paused });
    await domain.resume();
    const snapshot = await domain.createSnapshotXml("<domainsnapshot><name>one</name></domainsnapshot>");
    expect(snapshot.name).toBe("one");
    expect(snapshot.dom.name).toBe("fleeting");
    expect(await snapshot.isCurrent()).toBe(true);
    expect((await domain.listAllSnapshots()).map((each) => each.name)).toEqual(["one"]);
    expect((await domain.lookupSnapshotByName("one")).dom.uuid).toBe(domain.uuid);
    await snapshot.delete();
    await domain.destroy();
    expect(await client.lookupDomainByUuid(domain.uuid).catch((error: unknown) => error)).toMatchObject({
      libvirtCode: 42,
    });
  });

  it("reach pools, volumes, networks, secrets, interfaces, node devices", async () => {
    const [pool] = await client.listAllStoragePools();
    expect(pool?.name).toBe("default-pool");
    const volume = await pool?.createStorageVolXml(
      "<volume><name>disk</name><capacity unit='MiB'>8</capacity></volume>",
    );
    expect(await volume?.getInfo()).toMatchObject({ capacity: 8_388_608n });
    expect((await pool?.listAllVolumes())?.map((each) => each.name)).toEqual(["disk"]);
    expect((await client.lookupStorageVolByKey(volume?.key ?? "")).name).toBe("disk");
    expect((await volume?.lookupStoragePoolByVolume())?.uuid).toBe(pool?.uuid);
    await volume?.delete();
    const network = await client.lookupNetworkByName("default");
    expect(await network.getBridgeName()).toBe("virbr0");
    expect(await network.isPersistent()).toBe(true);
    const [nic] = await client.listAllInterfaces();
    expect((await client.lookupInterfaceByMacString(nic?.mac ?? "")).name).toBe(nic?.name);
    const [device] = await client.listAllNodeDevices();
    expect(await device?.getXmlDesc()).toContain(`<name>${device?.name}</name>`);
    expect(await client.numOfDomains()).toBe(1);
  });

  it("refuse before sending what can't be right", async () => {
    const domain = await client.lookupDomainByName("test");
    await expect(client.listAllDomains({ flags: ["nonsense"] as never })).rejects.toThrow(InvalidArgumentError);
    await expect(domain.setMemory(-1)).rejects.toMatchObject({ field: "arguments.memory" });
    await expect(domain.attachDevice(undefined as never)).rejects.toMatchObject({ field: "arguments.xml" });
    await expect(domain.setBlkioParameters({ unheard: 5 })).rejects.toMatchObject({
      field: "arguments.params.unheard",
    });
    await expect(domain.create("what" as never)).rejects.toThrow(InvalidArgumentError);
  });

  it("are understood by the daemon, argument by argument, for every method that changes nothing", async () => {
    const domain = await client.lookupDomainByName("test");
    const reading = proceduresOf("remote")
      .map(planMethod)
      .filter((plan) => plan !== undefined && plan.positional.length === 0 && plan.result.kind !== "nothing")
      .filter((plan) => plan?.owner === "Domain" && /^(get|is|has|list|snapshot(Num|List))/.test(plan.method));
    expect(reading.length).toBeGreaterThan(40);
    for (const plan of reading) {
      const method = (domain as unknown as Record<string, () => Promise<unknown>>)[plan?.method ?? ""];
      const outcome: unknown = await method?.call(domain).catch((error: unknown) => error);
      if (!(outcome instanceof Error)) continue;
      // Refused or not, the daemon could read it: it has a code of its own for what it can't read.
      expect(outcome, plan?.method).toBeInstanceOf(LibvirtError);
      const { libvirtCode, unknownProcedure } = outcome as LibvirtError;
      if (!unknownProcedure) expect(libvirtCode, plan?.method).not.toBe(ErrorNumber.rpc);
    }
  });
});

describe("object handles against a real libvirtd with its QEMU driver", () => {
  let qemu: LibvirtClient;

  beforeAll(async () => {
    qemu = await LibvirtClient.open(daemon.uri("qemu"));
  }, 60_000);

  afterAll(async () => {
    await qemu?.close();
  });

  it("keep texts among typed parameters, and parameters of all types", { timeout: 90_000 }, async () => {
    const xml =
      "<domain type='qemu'><name>kept</name><memory unit='MiB'>64</memory><vcpu>2</vcpu><os><type>hvm</type></os></domain>";
    const domain = await qemu.defineDomainXml(xml);
    await domain.setNumaParameters({ numa_mode: 0, numa_nodeset: "0" }, { flags: ["config"] });
    expect(await domain.getNumaParameters({ flags: ["config"] })).toEqual({ numa_mode: 0, numa_nodeset: "0" });
    await domain.setBlkioParameters({ weight: 300, device_weight: "/dev/null,200" }, { flags: ["config"] });
    const tuning = await domain.getBlkioParameters({ flags: ["config"] });
    expect(tuning).toMatchObject({ weight: 300, device_weight: "/dev/null,200" });
    await domain.setSchedulerParametersFlags({ cpu_shares: 512, vcpu_quota: -1 }, { flags: ["config"] });
    const scheduler = await domain.getSchedulerParametersFlags({ flags: ["config"] });
    expect(scheduler).toMatchObject({ cpu_shares: 512n, vcpu_quota: aBigint });
    await domain.pinVcpuFlags(1, mapOfCpus([0]), { flags: ["config"] });
    const pins = await domain.getVcpuPinInfo({ flags: ["config"] });
    expect(pins.map((pin) => cpusOfMap(pin)[0])).toEqual([0, 0]);
    const [stats] = await qemu.getAllDomainStats([domain], DomainStatsTypes.state, { flags: ["inactive"] });
    expect(stats?.params).toMatchObject({ "state.state": DomainState.shutoff });
    expect(stats?.dom.uuid).toBe(domain.uuid);
    await domain.rename({ newName: "renamed" });
    expect((await qemu.lookupDomainByUuid(domain.uuid)).name).toBe("renamed");
    await domain.undefineFlags({ flags: ["nvram", "snapshotsMetadata"] });
  });

  it("hold secrets, filters and volumes", async () => {
    const uuid = "11111111-2222-4333-8444-555555555555";
    const usage = "<usage type='volume'><volume>/v</volume></usage>";
    const secret = await qemu.defineSecretXml(
      `<secret ephemeral='no' private='no'><uuid>${uuid}</uuid>${usage}</secret>`,
    );
    expect({ ...secret }).toEqual({ uuid, usageType: SecretUsageType.volume, usageId: "/v" });
    await secret.setValue(Buffer.from([0, 255, 1]));
    expect(await secret.getValue()).toEqual(Buffer.from([0, 255, 1]));
    await secret.undefine();

    const filter = await qemu.defineNwFilterXml("<filter name='mine'><rule action='drop' direction='in'/></filter>");
    expect((await qemu.listAllNwFilters()).map((each) => each.uuid)).toContain(filter.uuid);
    await filter.undefine();

    const target = daemon.file("pool");
    await mkdir(target);
    const xml = `<pool type='dir'><name>here</name><target><path>${target}</path></target></pool>`;
    const pool = await qemu.createStoragePoolXml(xml);
    const volume = await pool.createStorageVolXml("<volume><name>v</name><capacity>4096</capacity></volume>");
    const content = Buffer.from("volume ".repeat(500));
    const upload = await volume.upload(0, content.length);
    await pipeline([content], upload);
    const parts: Buffer[] = [];
    for await (const part of await volume.download(0, content.length)) parts.push(part as Buffer);
    expect(Buffer.concat(parts).equals(content)).toBe(true);
    await volume.delete();
    await pool.destroy();
  });
});
