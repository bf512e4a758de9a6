/** More of what is done to a daemon, whichever it is: limits, pins, checkpoints, backups, saved files, migrations, ports. */
import { parametersToObject } from "../../../../src/libvirt/rpc/index.js";
import type { LibvirtConnection, LibvirtProtocol, TypedParameter } from "../../../../src/libvirt/rpc/index.js";
import { defined, diskXml } from "./parity-scenarios.js";
import type { Scenario } from "./parity-scenarios.js";

const LIVE = 1;
const CONFIG = 2;
const PAUSED = 1;
const NETWORK_UUID = "0c9a6c53-7f52-4c36-b6a1-7b9b52a1e001";
const PORT_UUID = "0c9a6c53-7f52-4c36-b6a1-7b9b52a1e002";

type Given = readonly TypedParameter[];

const ullong = (field: string, value: bigint): TypedParameter => ({ field, type: "ullong", value });
const uint = (field: string, value: number): TypedParameter => ({ field, type: "uint", value });
const text = (field: string, value: string): TypedParameter => ({ field, type: "string", value });

/** Those of the parameters that a scenario has set, by name. */
function said(names: readonly string[]): (result: { readonly params: Given }) => string {
  return ({ params }) => {
    const values = parametersToObject(params) as Readonly<Record<string, unknown>>;
    return names.map((name) => `${name}=${String(values[name])}`).join(" ");
  };
}

/** Waits for the end of a job of the domain, which is told. */
async function jobEnds(events: AsyncIterator<{ readonly kind: string; readonly data?: unknown }>): Promise<string> {
  const { value } = (await events.next()) as {
    value: { readonly kind: string; readonly data?: { readonly params?: Given } };
  };
  const { operation } = parametersToObject(value.data?.params ?? []) as { readonly operation?: number };
  return `${value.kind} of ${operation}`;
}

const namesOf = (items: readonly { readonly name: string }[]): string => items.map(({ name }) => name).join(" ");

export const DRIVER_SCENARIOS: readonly Scenario[] = [
  {
    name: "limits and pins",
    async run({ libvirt, disk }, note) {
      const nic = "<interface type='user'><mac address='52:54:00:00:aa:02'/><model type='virtio'/></interface>";
      const dom = await defined(libvirt, "limits", diskXml(disk) + nic);
      const tune = (params: Given, flags: number, path = "vda"): Promise<unknown> =>
        libvirt.call("domainSetBlockIoTune", { dom, disk: path, params, flags });
      const tuned = (flags: number): Promise<string> =>
        libvirt
          .call("domainGetBlockIoTune", { dom, disk: "vda", nparams: 20, flags })
          .then(said(["total_bytes_sec", "read_iops_sec", "write_iops_sec", "total_bytes_sec_max"]));
      const total = [ullong("total_bytes_sec", 1_048_576n)];
      await note("tune", tune(total, CONFIG));
      await note("tuned", tuned(CONFIG));
      await note("tune live inactive", tune(total, LIVE));
      await note("tune no disk", tune(total, CONFIG, "vdz"));
      await note("total with read", tune([...total, ullong("read_bytes_sec", 1024n)], CONFIG));
      await note("no such limit", tune([ullong("none_sec", 1n)], CONFIG));
      await note("wrong type", tune([uint("total_bytes_sec", 1)], CONFIG));
      const count = libvirt.call("domainGetBlockIoTune", { dom, disk: undefined, nparams: 0, flags: CONFIG });
      await note(
        "limits there are",
        count.then(({ nparams }) => (nparams >= 20 ? 1 : nparams)),
      );
      const cpumap = Uint8Array.of(1);
      await note("pin", libvirt.call("domainPinVcpuFlags", { dom, vcpu: 0, cpumap, flags: CONFIG }));
      await note("pin no vcpu", libvirt.call("domainPinVcpuFlags", { dom, vcpu: 9, cpumap, flags: CONFIG }));
      await note(
        "pin to none",
        libvirt.call("domainPinVcpuFlags", { dom, vcpu: 0, cpumap: Uint8Array.of(0), flags: CONFIG }),
      );
      await note("pin live inactive", libvirt.call("domainPinVcpu", { dom, vcpu: 0, cpumap }));
      const pins = libvirt.call("domainGetVcpuPinInfo", { dom, ncpumaps: 1, maplen: 1, flags: CONFIG });
      await note(
        "pins",
        pins.then(({ cpumaps, num }) => `${num} ${cpumaps[0]}`),
      );
      await note("pin emulator", libvirt.call("domainPinEmulator", { dom, cpumap, flags: CONFIG }));
      const emulator = libvirt.call("domainGetEmulatorPinInfo", { dom, maplen: 1, flags: CONFIG });
      await note(
        "emulator",
        emulator.then(({ cpumaps, ret }) => `${ret} ${cpumaps[0]}`),
      );
      const shares = [ullong("cpu_shares", 2048n), { field: "vcpu_quota", type: "llong" as const, value: 50_000n }];
      const schedule = { dom, params: shares, flags: CONFIG };
      await note("schedule", libvirt.call("domainSetSchedulerParametersFlags", schedule));
      const scheduled = libvirt.call("domainGetSchedulerParametersFlags", { dom, nparams: 9, flags: CONFIG });
      await note("scheduled", scheduled.then(said(["cpu_shares", "vcpu_quota"])));
      const memory = [ullong("soft_limit", 524_288n)];
      await note("memory limits", libvirt.call("domainSetMemoryParameters", { dom, params: memory, flags: CONFIG }));
      const limits = libvirt.call("domainGetMemoryParameters", { dom, nparams: 3, flags: CONFIG });
      await note("memory limited", limits.then(said(["soft_limit"])));
      const weight = { dom, params: [uint("weight", 500)], flags: CONFIG };
      await note("weight", libvirt.call("domainSetBlkioParameters", weight));
      const weighed = libvirt.call("domainGetBlkioParameters", { dom, nparams: 6, flags: CONFIG });
      await note("weighed", weighed.then(said(["weight"])));
      const device = "52:54:00:00:aa:02";
      const band = { dom, device, params: [uint("inbound.average", 100)], flags: CONFIG };
      await note("bandwidth of none", libvirt.call("domainSetInterfaceParameters", { ...band, device: "none0" }));
      await note("thread", libvirt.call("domainAddIoThread", { dom, ioThreadId: 3, flags: CONFIG }));
      await note("thread again", libvirt.call("domainAddIoThread", { dom, ioThreadId: 3, flags: CONFIG }));
      await note("no thread", libvirt.call("domainDelIoThread", { dom, ioThreadId: 8, flags: CONFIG }));
      await note("thread gone", libvirt.call("domainDelIoThread", { dom, ioThreadId: 3, flags: CONFIG }));
      await note("period inactive", libvirt.call("domainSetMemoryStatsPeriod", { dom, period: 5, flags: LIVE }));
      // What needs control groups is not there where the daemon has none.
      await note("redefine", defined(libvirt, "limits", diskXml(disk) + nic));
      await note("tune", tune(total, CONFIG));
      await note("create", libvirt.call("domainCreateWithFlags", { dom, flags: PAUSED }));
      await note("period", libvirt.call("domainSetMemoryStatsPeriod", { dom, period: 5, flags: LIVE }));
      await note("tuned from the start", tuned(LIVE));
      await note("tune live", tune([ullong("write_iops_sec", 30n)], LIVE));
      await note("tuned live", tuned(LIVE));
      await note("live pins", libvirt.call("domainPinVcpu", { dom, vcpu: 0, cpumap }));
      await note("guest's processors without an agent", libvirt.call("domainGetGuestVcpus", { dom, flags: 0 }));
      await note("destroy", libvirt.call("domainDestroy", { dom }));
      await note("undefine", libvirt.call("domainUndefine", { dom }));
    },
  },
  {
    name: "checkpoints and backups",
    async run({ libvirt, disk, directory }, note) {
      const dom = await defined(libvirt, "backed", diskXml(disk));
      const make = (name: string, flags = 0): Promise<unknown> =>
        libvirt.call("domainCheckpointCreateXml", {
          dom,
          xmlDesc: `<domaincheckpoint><name>${name}</name></domaincheckpoint>`,
          flags,
        });
      const backupXml = (file: string, more = ""): string =>
        `<domainbackup mode='push'>${more}<disks><disk name='vda' type='file'><target file='${directory}/${file}'/><driver type='qcow2'/></disk></disks></domainbackup>`;
      const backUp = (xml: string, checkpointXml?: string): Promise<unknown> =>
        libvirt.call("domainBackupBegin", { dom, backupXml: xml, checkpointXml, flags: 0 });
      await note("checkpoint inactive", make("c0"));
      await note("backup inactive", backUp(backupXml("b0")));
      await note("create", libvirt.call("domainCreateWithFlags", { dom, flags: PAUSED }));
      await note("checkpoint", make("c1"));
      await note("checkpoint again", make("c1"));
      await note("checkpoint on it", make("c2"));
      const list = (flags: number): Promise<string> =>
        libvirt
          .call("domainListAllCheckpoints", { dom, needResults: 1, flags })
          .then(({ checkpoints }) => namesOf([...checkpoints].sort((a, b) => a.name.localeCompare(b.name))));
      await note("checkpoints", list(0));
      await note("roots", list(1));
      await note("leaves", list(4));
      await note("no checkpoint", libvirt.call("domainCheckpointLookupByName", { dom, name: "none", flags: 0 }));
      const { checkpoint } = await libvirt.call("domainCheckpointLookupByName", { dom, name: "c2", flags: 0 });
      const parent = libvirt.call("domainCheckpointGetParent", { checkpoint, flags: 0 });
      await note(
        "parent",
        parent.then((result) => result.parent.name),
      );
      const root = { name: "c1", dom };
      await note("no parent", libvirt.call("domainCheckpointGetParent", { checkpoint: root, flags: 0 }));
      const children = libvirt.call("domainCheckpointListAllChildren", { checkpoint: root, needResults: 1, flags: 0 });
      await note(
        "children",
        children.then(({ checkpoints }) => namesOf(checkpoints)),
      );
      const described = libvirt.call("domainCheckpointGetXmlDesc", { checkpoint, flags: 2 });
      await note(
        "describes its parent",
        described.then(({ xml }) => String(/<parent>\s*<name>c1<\/name>/.test(xml))),
      );
      const job = await libvirt.events("domain", ["jobCompleted"], { object: dom });
      await note("no backup", libvirt.call("domainBackupGetXmlDesc", { dom, flags: 0 }));
      await note("backup", backUp(backupXml("b1")));
      await note("its end", jobEnds(job as never));
      await note("since a checkpoint", backUp(backupXml("b2", "<incremental>c1</incremental>"), undefined));
      await note("its end", jobEnds(job as never));
      await note("since none", backUp(backupXml("b3", "<incremental>none</incremental>")));
      const next = "<domaincheckpoint><name>c3</name></domaincheckpoint>";
      await note("with a checkpoint", backUp(backupXml("b4"), next));
      await note("its end", jobEnds(job as never));
      await note("file that is there", backUp(backupXml("b4")));
      await note("checkpoints", list(0));
      await job.return();
      await note("snapshot beside checkpoints", snapshot(libvirt, dom));
      await note("delete", libvirt.call("domainCheckpointDelete", { checkpoint, flags: 0 }));
      await note("delete again", libvirt.call("domainCheckpointDelete", { checkpoint, flags: 0 }));
      await note("checkpoints", list(0));
      await note("roots", list(1));
      await note("abort none", libvirt.call("domainAbortJob", { dom }));
      await note("destroy", libvirt.call("domainDestroy", { dom }));
      await note("undefine with checkpoints", libvirt.call("domainUndefine", { dom }));
      await note("undefine", libvirt.call("domainUndefineFlags", { dom, flags: 2 | 16 }));
    },
  },
  {
    name: "saved files and dumps",
    async run({ libvirt, disk, directory }, note) {
      const dom = await defined(libvirt, "filed", diskXml(disk));
      const file = `${directory}/saved`;
      await note("save inactive", libvirt.call("domainSaveFlags", { dom, to: file, dxml: undefined, flags: 0 }));
      await note("restore nothing", libvirt.call("domainRestoreFlags", { from: file, dxml: undefined, flags: 0 }));
      await note("create", libvirt.call("domainCreateWithFlags", { dom, flags: PAUSED }));
      await note(
        "dump",
        libvirt.call("domainCoreDumpWithFormat", { dom, to: `${file}.core`, dumpformat: 0, flags: 16 }),
      );
      await note("save", libvirt.call("domainSaveFlags", { dom, to: file, dxml: undefined, flags: 0 }));
      const described = libvirt.call("domainSaveImageGetXmlDesc", { file, flags: 0 });
      await note(
        "what is in it",
        described.then(({ xml }) => String(/<name>filed<\/name>/.test(xml))),
      );
      await note("restore", libvirt.call("domainRestoreFlags", { from: file, dxml: undefined, flags: 0 }));
      await note("restore again", libvirt.call("domainRestoreFlags", { from: file, dxml: undefined, flags: 0 }));
      await note("no managed save", libvirt.call("domainManagedSaveGetXmlDesc", { dom, flags: 0 }));
      await note("managed save", libvirt.call("domainManagedSave", { dom, flags: 0 }));
      const managed = libvirt.call("domainManagedSaveGetXmlDesc", { dom, flags: 0 });
      await note(
        "of the domain",
        managed.then(({ xml }) => String(/<name>filed<\/name>/.test(xml))),
      );
      await note("dump inactive", libvirt.call("domainCoreDump", { dom, to: `${file}.core2`, flags: 16 }));
      await note("undefine", libvirt.call("domainUndefineFlags", { dom, flags: 1 }));
    },
  },
  {
    name: "migrations that don't come about",
    async run({ libvirt, disk }, note) {
      const dom = await defined(libvirt, "mover", diskXml(disk));
      const none = new Uint8Array(0);
      const begin = (flags: number): Promise<unknown> =>
        libvirt.call("domainMigrateBegin3Params", { dom, params: [], flags });
      await note("begin inactive", begin(1));
      await note("speed inactive", libvirt.call("domainMigrateGetMaxSpeed", { dom, flags: 0 }));
      await note("create", libvirt.call("domainCreateWithFlags", { dom, flags: PAUSED }));
      await note("begin", begin(1 | 512));
      await note("begin with a bit that is none", begin(1 << 30));
      await note("finish unknown", finish(libvirt, "none", 0));
      await note("finish own", finish(libvirt, "mover", 0));
      await note("no job to abort", libvirt.call("domainAbortJob", { dom }));
      await note("post-copy without a job", libvirt.call("domainMigrateStartPostCopy", { dom, flags: 0 }));
      await note("downtime", libvirt.call("domainMigrateSetMaxDowntime", { dom, downtime: 100n, flags: 0 }));
      const downtime = libvirt.call("domainMigrateGetMaxDowntime", { dom, flags: 0 });
      await note(
        "downtime set",
        downtime.then((result) => Number(result.downtime)),
      );
      await note("speed", libvirt.call("domainMigrateSetMaxSpeed", { dom, bandwidth: 10n, flags: 0 }));
      const speed = libvirt.call("domainMigrateGetMaxSpeed", { dom, flags: 0 });
      await note(
        "speed set",
        speed.then(({ bandwidth }) => Number(bandwidth)),
      );
      const stats = libvirt.call("domainGetJobStats", { dom, flags: 0 });
      await note(
        "no job",
        stats.then(({ type }) => type),
      );
      const prepare = { params: [text("destination_xml", "<domain/>")], cookieIn: none, flags: 1 };
      await note("prepare without a domain", libvirt.call("domainMigratePrepare3Params", prepare));
      await note(
        "state",
        libvirt.call("domainGetState", { dom, flags: 0 }).then(({ state }) => state),
      );
      await note("destroy", libvirt.call("domainDestroy", { dom }));
      await note("undefine", libvirt.call("domainUndefine", { dom }));
    },
  },
  {
    name: "networks and their ports",
    async run({ libvirt }, note) {
      const xml = `<network><name>hv-parity</name><uuid>${NETWORK_UUID}</uuid><forward mode='bridge'/><bridge name='hvpar0'/></network>`;
      const portXml = `<networkport><uuid>${PORT_UUID}</uuid><owner><name>web</name><uuid>${NETWORK_UUID}</uuid></owner><mac address='52:54:00:00:aa:03'/></networkport>`;
      const { net } = await libvirt.call("networkDefineXml", { xml });
      await note(
        "port of an inactive network",
        libvirt.call("networkPortCreateXml", { network: net, xml: portXml, flags: 0 }),
      );
      await note("start", libvirt.call("networkCreate", { net }));
      await note("start again", libvirt.call("networkCreate", { net }));
      await note("port", libvirt.call("networkPortCreateXml", { network: net, xml: portXml, flags: 0 }));
      await note("port again", libvirt.call("networkPortCreateXml", { network: net, xml: portXml, flags: 0 }));
      const list = (): Promise<string> =>
        libvirt
          .call("networkListAllPorts", { network: net, needResults: 1, flags: 0 })
          .then(({ ports }) => ports.map(({ uuid }) => uuid).join(" "));
      await note("ports", list());
      await note("no port", libvirt.call("networkPortLookupByUuid", { network: net, uuid: NETWORK_UUID }));
      const { port } = await libvirt.call("networkPortLookupByUuid", { network: net, uuid: PORT_UUID });
      const described = libvirt.call("networkPortGetXmlDesc", { port, flags: 0 });
      await note(
        "describes itself",
        described.then((result) => String(result.xml.includes("52:54:00:00:aa:03"))),
      );
      const parameters = libvirt.call("networkPortGetParameters", { port, nparams: 32, flags: 0 });
      await note("parameters", parameters.then(said(["inbound.average"])));
      await note("delete", libvirt.call("networkPortDelete", { port, flags: 0 }));
      await note("delete again", libvirt.call("networkPortDelete", { port, flags: 0 }));
      await note("ports", list());
      const host = "<host mac='52:54:00:00:aa:04' ip='192.0.2.9'/>";
      const add = { net, command: 3, section: 4, parentIndex: -1, xml: host, flags: CONFIG };
      await note("host without addresses", libvirt.call("networkUpdate", add));
      await note("stop", libvirt.call("networkDestroy", { net }));
      await note("stop again", libvirt.call("networkDestroy", { net }));
      await note("undefine", libvirt.call("networkUndefine", { net }));
      await note("undefine again", libvirt.call("networkUndefine", { net }));
    },
  },
];

function snapshot(libvirt: LibvirtConnection, dom: LibvirtProtocol.RemoteDomain): Promise<unknown> {
  const xmlDesc = "<domainsnapshot><name>s1</name></domainsnapshot>";
  return libvirt.call("domainSnapshotCreateXml", { dom, xmlDesc, flags: 0 });
}

function finish(libvirt: LibvirtConnection, name: string, cancelled: number): Promise<unknown> {
  const params = [text("destination_name", name)];
  const cookieIn = new Uint8Array(0);
  return libvirt.call("domainMigrateFinish3Params", { params, cookieIn, flags: 1, cancelled });
}
