import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { InvalidArgumentError } from "../../../src/core/index.js";
import { decodeArguments, encodeArguments } from "../../../src/libvirt/rpc/codec.js";
import { LibvirtProtocolError } from "../../../src/libvirt/rpc/errors.js";
import { cpusOfMap, mapOfCpus } from "../../../src/libvirt/rpc/objects/cpu-map.js";
import { handleKind, makeHandle, methodContext } from "../../../src/libvirt/rpc/objects/handles.js";
import type { ClientMethods, Domain, StoragePool } from "../../../src/libvirt/rpc/objects/methods.gen.js";
import { methodsClass } from "../../../src/libvirt/rpc/objects/object-handle.js";
import { planMethod } from "../../../src/libvirt/rpc/objects/method-plan.js";
import type { RpcCaller } from "../../../src/libvirt/rpc/objects/rpc-caller.js";
import { proceduresOf } from "../../../src/libvirt/rpc/protocol/schema.js";
import {
  knownParameterType,
  parametersFromObject,
  parametersToObject,
} from "../../../src/libvirt/rpc/typed-parameter.js";

type Answer = (args: Record<string, unknown>) => unknown;
interface Call {
  readonly name: string;
  readonly args: Record<string, unknown>;
  readonly options: object;
}

const reference = { name: "vm", uuid: "6c8c9b0c-8d1e-4f5b-9a0f-0123456789ab", id: 7 };
const Client = class extends methodsClass<ClientMethods>("client") {};

/** Handles over a daemon that answers as told; what it is asked must be what the codec can send. */
function lab(answers: Readonly<Record<string, Answer | object>>): {
  client: ClientMethods;
  domain: Domain;
  calls: Call[];
} {
  const calls: Call[] = [];
  const answer: RpcCaller["execute"] = async (procedure, args, options) => {
    const sent = decodeArguments(procedure, encodeArguments(procedure, args)) as Record<string, unknown>;
    calls.push({ name: procedure.name, args: sent, options });
    const given = answers[procedure.name];
    return (typeof given === "function" ? (given as Answer)(sent) : given) ?? {};
  };
  const caller: RpcCaller = { execute: answer, executeStream: answer as unknown as RpcCaller["executeStream"] };
  const context = methodContext(caller);
  return { client: new Client(context, {}), domain: makeHandle(context, "Domain", reference) as Domain, calls };
}

describe("object handles", () => {
  it("call the procedure with themselves as its first argument", async () => {
    const { domain, calls } = lab({ domainGetXmlDesc: { xml: "<domain/>" } });
    expect(await domain.getXmlDesc({ flags: ["inactive", "secure"], deadlineMs: 5 })).toBe("<domain/>");
    expect(calls).toEqual([
      { name: "domainGetXmlDesc", args: { dom: reference, flags: 3 }, options: { deadlineMs: 5 } },
    ]);
    expect(await domain.shutdown()).toBeUndefined();
    expect(calls[1]).toMatchObject({ name: "domainShutdown", args: { dom: reference } });
  });

  it("take what is needed in order and what may be left out by name", async () => {
    const { domain, calls } = lab({});
    await domain.saveFlags("/to", { dxml: "<domain/>", flags: 1 });
    await domain.saveFlags("/to");
    await domain.migrateSetMaxDowntime(300, { flags: 0 });
    await domain.setAutostart(true);
    expect(calls.map((call) => call.args)).toEqual([
      { dom: reference, to: "/to", dxml: "<domain/>", flags: 1 },
      { dom: reference, to: "/to", flags: 0 },
      { dom: reference, downtime: 300n, flags: 0 },
      { dom: reference, autostart: 1 },
    ]);
  });

  it("show what they refer to and nothing else", () => {
    const { domain } = lab({});
    expect({ ...domain }).toEqual(reference);
    expect(JSON.parse(JSON.stringify(domain))).toEqual(reference);
    expect(inspect(domain)).toMatch(/^Domain \{/);
    expect(handleKind(domain)).toBe("Domain");
    expect(handleKind(reference)).toBeUndefined();
    expect(typeof domain.getInfo).toBe("function");
    expect((domain as unknown as Record<string, unknown>)["lookupDomainByName"]).toBeUndefined();
  });

  it("come in the place of references, wherever a result holds some", async () => {
    const stats = [{ dom: reference, params: [{ field: "state.state", type: "int", value: 1 }] }];
    const snapshot = { name: "one", dom: reference };
    const { client, domain, calls } = lab({
      connectListAllDomains: { domains: [reference], ret: 1 },
      connectGetAllDomainStats: { retStats: stats },
      domainSnapshotCreateXml: { snap: snapshot },
      domainListAllSnapshots: { snapshots: [snapshot], ret: 1 },
    });
    const [listed] = await client.listAllDomains();
    expect(handleKind(listed)).toBe("Domain");
    expect(calls[0]?.args).toEqual({ needResults: 1, flags: 0 });
    const [row] = await client.getAllDomainStats([domain], 0, { flags: ["running"] });
    expect(row?.params).toEqual({ "state.state": 1 });
    expect(handleKind(row?.dom)).toBe("Domain");
    expect(calls[1]?.args).toMatchObject({ doms: [reference] });
    const made = await domain.createSnapshotXml("<domainsnapshot/>");
    expect(handleKind(made)).toBe("DomainSnapshot");
    expect(handleKind(made.dom)).toBe("Domain");
    await made.dom.destroy();
    expect(calls.at(-1)).toMatchObject({ name: "domainDestroy", args: { dom: reference } });
    await made.getXmlDesc();
    expect(calls.at(-1)?.args).toEqual({ snap: snapshot, flags: 0 });
  });

  it("go by name where the protocol does", async () => {
    const { client, calls } = lab({
      nodeDeviceLookupByName: { dev: { name: "pci_0" } },
      nodeDeviceIsActive: { active: 0 },
    });
    const device = await client.lookupNodeDeviceByName("pci_0");
    expect(await device.isActive()).toBe(false);
    expect(calls[1]?.args).toEqual({ name: "pci_0" });
  });

  it("ask for a count first, then for as many; not at all where there are none", async () => {
    const params = [
      { field: "weight", type: "uint", value: 500 },
      { field: "device_weight", type: "string", value: "/dev/sda,300" },
    ];
    const counting: Answer = ({ nparams }) => ({ params: nparams === 0 ? [] : params, nparams: 2 });
    const { domain, calls } = lab({
      domainGetBlkioParameters: counting,
      domainGetMemoryParameters: { params: [], nparams: 0 },
      domainGetNumaParameters: { params, nparams: 2 },
      domainGetInterfaceParameters: { params: [], nparams: 17 },
    });
    expect(await domain.getBlkioParameters({ flags: ["live"] })).toEqual({
      weight: 500,
      device_weight: "/dev/sda,300",
    });
    // Texts must be asked for: flag 4.
    expect(calls.map(({ args }) => [args["nparams"], args["flags"]])).toEqual([
      [0, 5],
      [2, 5],
    ]);
    expect(await domain.getMemoryParameters()).toEqual({});
    expect(await domain.getNumaParameters()).toHaveProperty("weight", 500);
    expect(calls).toHaveLength(4);
    await expect(domain.getInterfaceParameters("vnet0")).rejects.toThrow(LibvirtProtocolError);
  });

  it("have buffers as large as the protocol allows where C callers bring some", async () => {
    const { client, domain, calls } = lab({
      connectListDomains: { ids: [1, 2] },
      domainGetDiskErrors: { errors: [], nerrors: 0 },
    });
    expect(await client.listDomains()).toEqual([1, 2]);
    expect(await domain.getDiskErrors()).toEqual([]);
    expect(calls.map(({ args }) => args["maxids"] ?? args["maxerrors"])).toEqual([16_384, 256]);
  });

  it("cut rows of processors", async () => {
    const info = [
      { number: 0, state: 1, cpuTime: 5n, cpu: 9 },
      { number: 1, state: 1, cpuTime: 6n, cpu: 0 },
    ];
    const time = (value: bigint) => ({ field: "cpu_time", type: "ullong", value });
    const { domain, calls } = lab({
      nodeGetCpuMap: { cpumap: Buffer.alloc(0), online: 10, ret: 10 },
      domainGetVcpusFlags: { num: 2 },
      domainGetVcpus: { info, cpumaps: Buffer.of(1, 2, 255, 3) },
      domainGetVcpuPinInfo: { cpumaps: Buffer.of(1, 0, 0, 2), num: 2 },
      domainGetEmulatorPinInfo: { cpumaps: Buffer.of(3, 0), ret: 1 },
      domainGetCpuStats: ({ nparams }) => ({ params: nparams === 0 ? [] : [time(1n), time(2n), time(3n)], nparams: 1 }),
    });
    expect(await domain.getVcpus()).toEqual([
      { ...info[0], cpumap: Buffer.of(1, 2) },
      { ...info[1], cpumap: Buffer.of(255, 3) },
    ]);
    expect(calls.at(-1)?.args).toMatchObject({ maxinfo: 2, maplen: 2 });
    const pins = await domain.getVcpuPinInfo({ flags: ["config"] });
    expect(pins.map(cpusOfMap)).toEqual([[0], [9]]);
    expect(calls.find(({ name }) => name === "domainGetVcpusFlags")?.args["flags"]).toBe(4);
    expect(calls.filter(({ name }) => name === "domainGetVcpusFlags")[1]?.args["flags"]).toBe(6);
    expect(cpusOfMap(await domain.getEmulatorPinInfo())).toEqual([0, 1]);
    expect(await domain.getCpuStats(0, 3)).toEqual([{ cpu_time: 1n }, { cpu_time: 2n }, { cpu_time: 3n }]);
  });

  it("do not believe rows that are not there", async () => {
    const { domain } = lab({
      nodeGetCpuMap: { ret: 8 },
      domainGetVcpusFlags: { num: 2 },
      domainGetVcpuPinInfo: { cpumaps: Buffer.alloc(2), num: 3 },
      domainGetCpuStats: ({ nparams }) => (nparams === 0 ? { params: [], nparams: 2 } : { params: [{}], nparams: 0 }),
    });
    await expect(domain.getVcpuPinInfo()).rejects.toThrow(LibvirtProtocolError);
    await expect(domain.getCpuStats(0, 1)).rejects.toThrow(LibvirtProtocolError);
  });

  it("refuse flags that the call does not have, and arguments too many", async () => {
    const { client, domain, calls } = lab({});
    const wrong = domain.createWithFlags({ flags: ["startPaused", "secure"] as never });
    await expect(wrong).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "arguments.flags[1]" });
    await expect(domain.createWithFlags({ flags: "startPaused" as never })).rejects.toThrow(InvalidArgumentError);
    await expect(domain.createWithFlags({ flags: ["toString"] as never })).rejects.toThrow(InvalidArgumentError);
    await expect(domain.createWithFlags({ flags: -1 })).rejects.toMatchObject({ field: "arguments.flags" });
    await expect(domain.createWithFlags({ flag: 1 } as never)).rejects.toMatchObject({ field: "options.flag" });
    const many = client.lookupDomainByName as unknown as (...args: unknown[]) => Promise<unknown>;
    await expect(many.call(client, "a", {}, {})).rejects.toThrow(InvalidArgumentError);
    await expect(many.call(client)).rejects.toMatchObject({ field: "arguments.name" });
    expect(calls).toHaveLength(0);
  });

  it("take wide flags as names, numbers and bigints", async () => {
    const { domain, calls } = lab({});
    await domain.migrateBegin3(0, { flags: ["live", "peer2peer"] });
    await domain.migrateBegin3(0, { flags: 8 });
    await domain.migrateBegin3(0n, { flags: 1n << 40n });
    expect(calls.map(({ args }) => args["flags"])).toEqual([3n, 8n, 1n << 40n]);
  });

  it("are methods of pools, ports and volumes too", () => {
    const methodsOf = (owner: string): string[] =>
      proceduresOf("remote").flatMap((procedure) => {
        const plan = planMethod(procedure);
        return plan?.owner === owner ? [plan.method] : [];
      });
    const names: (keyof StoragePool)[] = ["createStorageVolXml", "lookupStorageVolByName", "listAllVolumes", "getInfo"];
    expect(methodsOf("StoragePool")).toEqual(expect.arrayContaining(names));
    expect(methodsOf("StorageVol")).toEqual(
      expect.arrayContaining(["upload", "download", "lookupStoragePoolByVolume"]),
    );
    expect(methodsOf("Network")).toEqual(expect.arrayContaining(["createPortXml", "lookupPortByUuid", "listAllPorts"]));
    expect(methodsOf("DomainCheckpoint")).toEqual(expect.arrayContaining(["getParent", "delete", "listAllChildren"]));
    expect(methodsOf("client")).toEqual(
      expect.arrayContaining([
        "defineDomainXml",
        "restoreDomain",
        "getCapabilities",
        "lookupSecretByUsage",
        "nodeGetInfo",
      ]),
    );
  });

  it("are there for every procedure but those that the connection calls itself", () => {
    const all = (["remote", "qemu", "lxc"] as const).flatMap((program) => proceduresOf(program));
    const without = all.filter((procedure) => procedure.kind === "call" && planMethod(procedure) === undefined);
    for (const { name } of without)
      expect(name).toMatch(/^auth|Event|CloseCallback$|^connect(Open|Close|SupportsFeature)$/);
    expect(without).toHaveLength(26);
  });
});

describe("typed parameters", () => {
  it("have the types that libvirt's drivers demand", () => {
    expect(knownParameterType("cpu_shares")).toBe("ullong");
    expect(knownParameterType("vcpu_quota")).toBe("llong");
    expect(knownParameterType("weight")).toBe("uint");
    expect(knownParameterType("nothing")).toBeUndefined();
    const input = {
      cpu_shares: 2048,
      vcpu_quota: -1n,
      numa_mode: 2,
      numa_nodeset: "0-1",
      cmt: true,
      absent: undefined,
    };
    expect(parametersFromObject(input, "p")).toEqual([
      { field: "cpu_shares", type: "ullong", value: 2048n },
      { field: "vcpu_quota", type: "llong", value: -1n },
      { field: "numa_mode", type: "int", value: 2 },
      { field: "numa_nodeset", type: "string", value: "0-1" },
      { field: "cmt", type: "boolean", value: true },
    ]);
  });

  it("have the types that their values tell where libvirt knows none, or that are said", () => {
    const input = { migrate_disks: ["vda", "vdb"], x: 5n, y: -5n, z: { type: "double", value: 2 } } as const;
    expect(parametersFromObject(input, "p").map(({ field, type, value }) => [field, type, value])).toEqual([
      ["migrate_disks", "string", "vda"],
      ["migrate_disks", "string", "vdb"],
      ["x", "ullong", 5n],
      ["y", "llong", -5n],
      ["z", "double", 2],
    ]);
    expect(() => parametersFromObject({ x: 5 }, "p")).toThrow(InvalidArgumentError);
    expect(() => parametersFromObject({ weight: "heavy" as never }, "p")).toThrow(InvalidArgumentError);
    expect(() => parametersFromObject({ cpu_shares: 0.5 }, "p")).toThrow(/p\.cpu_shares/);
  });

  it("are read by name, those that come several times as lists", () => {
    const read = parametersToObject([
      { field: "a", type: "int", value: 1 },
      { field: "b", type: "string", value: "x" },
      { field: "b", type: "string", value: "y" },
      { field: "__proto__", type: "int", value: 2 },
    ]);
    expect(Object.entries(read)).toEqual([
      ["a", 1],
      ["b", ["x", "y"]],
      ["__proto__", 2],
    ]);
  });
});

describe("maps of processors", () => {
  it("are bits, lowest first", () => {
    expect([...mapOfCpus([0, 9])]).toEqual([1, 2]);
    expect(cpusOfMap(mapOfCpus([3, 1, 17]))).toEqual([1, 3, 17]);
    expect(mapOfCpus([])).toHaveLength(0);
    for (const bad of [-1, 0.5, 16_384]) expect(() => mapOfCpus([bad])).toThrow(RangeError);
  });
});
