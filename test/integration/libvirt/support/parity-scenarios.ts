/** What is done to a daemon, whichever it is, and what it said: results, refusals by code and domain, events in their order. */
import type { LibvirtConnection, LibvirtProtocol } from "../../../../src/libvirt/rpc/index.js";
import { isLibvirtError } from "../../../../src/libvirt/rpc/index.js";

type Domain = LibvirtProtocol.RemoteDomain;

export interface Stage {
  readonly libvirt: LibvirtConnection;
  /** A disk image that is there. */
  readonly disk: string;
  /** A place where files can be made. */
  readonly directory: string;
}

export interface Scenario {
  readonly name: string;
  run(stage: Stage, note: (what: string, value: Promise<unknown>) => Promise<void>): Promise<void>;
}

const UUID = "3f0c1a52-9f86-4d1c-8d3b-5b9a6a0f7c11";

export function domainXml(name: string, devices = "", uuid = UUID): string {
  return `<domain type='qemu'><name>${name}</name><uuid>${uuid}</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<controller type='usb' model='none'/><memballoon model='virtio'/>${devices}</devices></domain>`;
}

export function diskXml(file: string, target = "vda"): string {
  return `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${file}'/><target dev='${target}' bus='virtio'/></disk>`;
}

const stateOf = async (libvirt: LibvirtConnection, dom: Domain): Promise<string> => {
  const { state, reason } = await libvirt.call("domainGetState", { dom, flags: 0 });
  return `${state}/${reason}`;
};

/** Runs a scenario and gives its notes; the last are the domain's events of life. */
export async function play({ run }: Scenario, stage: Stage): Promise<readonly string[]> {
  const notes: string[] = [];
  const events = await stage.libvirt.events("domain", ["lifecycle"]);
  await run(stage, async (what, value) => {
    notes.push(`${what}: ${await value.then(show, refused)}`);
  });
  // The end of this domain is the end of the scenario.
  const { libvirt } = stage;
  const marker = "b1a7e3c0-1111-4222-8333-944455566677";
  const { dom } = await libvirt.call("domainDefineXml", { xml: domainXml("marker", "", marker) });
  await libvirt.call("domainUndefine", { dom });
  const told: string[] = [];
  for await (const item of events) {
    if (item.kind !== "event") continue;
    if (item.data.dom.uuid !== marker) told.push(`${item.data.event},${item.data.detail}`);
    else if (item.data.event === 1) break;
  }
  return [...notes, `events: ${told.join(" ")}`];
}

function show(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "done";
}

function refused(error: unknown): string {
  if (!isLibvirtError(error)) throw error as Error;
  return `refused ${error.libvirtCode} by ${error.domain}`;
}

export async function defined(libvirt: LibvirtConnection, name: string, devices = ""): Promise<Domain> {
  return (await libvirt.call("domainDefineXml", { xml: domainXml(name, devices) })).dom;
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: "a domain's life",
    async run({ libvirt }, note) {
      const dom = await defined(libvirt, "life");
      await note("state", stateOf(libvirt, dom));
      await note("redefine", libvirt.call("domainDefineXml", { xml: domainXml("life") }));
      await note("destroy inactive", libvirt.call("domainDestroy", { dom }));
      await note("suspend inactive", libvirt.call("domainSuspend", { dom }));
      await note("create", libvirt.call("domainCreate", { dom }));
      await note("create again", libvirt.call("domainCreate", { dom }));
      await note("state", stateOf(libvirt, dom));
      await note("resume running", libvirt.call("domainResume", { dom }));
      await note("suspend", libvirt.call("domainSuspend", { dom }));
      await note("suspend again", libvirt.call("domainSuspend", { dom }));
      await note("state", stateOf(libvirt, dom));
      await note("resume", libvirt.call("domainResume", { dom }));
      await note("state", stateOf(libvirt, dom));
      await note("destroy", libvirt.call("domainDestroyFlags", { dom, flags: 0 }));
      await note("state", stateOf(libvirt, dom));
      await note("undefine", libvirt.call("domainUndefineFlags", { dom, flags: 0 }));
      await note("look up", libvirt.call("domainLookupByUuid", { uuid: UUID }));
      await note("undefine again", libvirt.call("domainUndefine", { dom }));
    },
  },
  {
    name: "a paused start, and a transient domain",
    async run({ libvirt }, note) {
      const dom = await defined(libvirt, "paused");
      await note("create", libvirt.call("domainCreateWithFlags", { dom, flags: 1 }));
      await note("state", stateOf(libvirt, dom));
      await note("undefine running", libvirt.call("domainUndefine", { dom }));
      await note("undefine transient", libvirt.call("domainUndefine", { dom }));
      await note("autostart transient", libvirt.call("domainSetAutostart", { dom, autostart: 1 }));
      await note("create the same", libvirt.call("domainCreateXml", { xmlDesc: domainXml("paused"), flags: 0 }));
      await note("destroy", libvirt.call("domainDestroy", { dom }));
      await note("look up", libvirt.call("domainLookupByName", { name: "paused" }));
    },
  },
  {
    name: "names and uuids that are taken, and documents that are wrong",
    async run({ libvirt }, note) {
      const dom = await defined(libvirt, "taken");
      const other = UUID.replace("3f", "4f");
      await note("same name", libvirt.call("domainDefineXml", { xml: domainXml("taken", "", other) }));
      await note("same uuid", libvirt.call("domainDefineXml", { xml: domainXml("other") }));
      await note("no XML", libvirt.call("domainDefineXml", { xml: "<domain" }));
      await note("no type", libvirt.call("domainDefineXml", { xml: "<domain><name>x</name></domain>" }));
      await note(
        "no name",
        libvirt.call("domainDefineXml", { xml: domainXml("x", "", other).replace("<name>x</name>", "") }),
      );
      await note(
        "wrong type",
        libvirt.call("domainDefineXml", { xml: domainXml("x", "", other).replace("'qemu'", "'xen'") }),
      );
      const twice = diskXml("/a", "vda") + diskXml("/b", "vda");
      await note("a target twice", libvirt.call("domainDefineXml", { xml: domainXml("x", twice, other) }));
      await note("too many processors", libvirt.call("domainSetVcpusFlags", { dom, nvcpus: 4, flags: 2 }));
      await note("live processors", libvirt.call("domainSetVcpusFlags", { dom, nvcpus: 1, flags: 1 }));
      await note("no metadata", libvirt.call("domainGetMetadata", { dom, type: 2, uri: "urn:x", flags: 0 }));
      await note("no title", libvirt.call("domainGetMetadata", { dom, type: 1, uri: undefined, flags: 0 }));
      const element = { type: 2, metadata: "<a b='1'/>", key: "k", uri: "urn:x", flags: 2 };
      await note("metadata", libvirt.call("domainSetMetadata", { dom, ...element }));
      const read = libvirt.call("domainGetMetadata", { dom, type: 2, uri: "urn:x", flags: 0 });
      await note(
        "metadata read",
        read.then(({ metadata }) => metadata.replaceAll('"', "'").trim()),
      );
      await note("undefine", libvirt.call("domainUndefine", { dom }));
    },
  },
  {
    name: "a saved domain",
    async run({ libvirt }, note) {
      const dom = await defined(libvirt, "saved");
      await note("save inactive", libvirt.call("domainManagedSave", { dom, flags: 0 }));
      await note("create", libvirt.call("domainCreate", { dom }));
      await note("save", libvirt.call("domainManagedSave", { dom, flags: 0 }));
      await note("state", stateOf(libvirt, dom));
      await note(
        "has",
        libvirt.call("domainHasManagedSaveImage", { dom, flags: 0 }).then(({ result }) => result),
      );
      await note("undefine", libvirt.call("domainUndefineFlags", { dom, flags: 0 }));
      await note("restore", libvirt.call("domainCreate", { dom }));
      await note("state", stateOf(libvirt, dom));
      await note(
        "has",
        libvirt.call("domainHasManagedSaveImage", { dom, flags: 0 }).then(({ result }) => result),
      );
      await note("destroy", libvirt.call("domainDestroy", { dom }));
      await note("undefine", libvirt.call("domainUndefine", { dom }));
    },
  },
  {
    name: "devices and block jobs",
    async run({ libvirt, disk, directory }, note) {
      const dom = await defined(libvirt, "disks", diskXml(disk));
      const second = diskXml(`${directory}/none.qcow2`, "vdb");
      await note("detach missing disk", libvirt.call("domainDetachDeviceFlags", { dom, xml: second, flags: 2 }));
      await note("attach taken", libvirt.call("domainAttachDeviceFlags", { dom, xml: diskXml(disk), flags: 2 }));
      const nic = "<interface type='user'><mac address='52:54:00:00:aa:01'/><model type='virtio'/></interface>";
      await note("detach missing nic", libvirt.call("domainDetachDeviceFlags", { dom, xml: nic, flags: 2 }));
      await note("attach nic", libvirt.call("domainAttachDeviceFlags", { dom, xml: nic, flags: 2 }));
      await note("detach nic", libvirt.call("domainDetachDeviceFlags", { dom, xml: nic, flags: 2 }));
      await note("attach live to inactive", libvirt.call("domainAttachDeviceFlags", { dom, xml: nic, flags: 1 }));
      await note("missing alias", libvirt.call("domainDetachDeviceAlias", { dom, alias: "ua-none", flags: 2 }));
      await note("unknown device", libvirt.call("domainAttachDeviceFlags", { dom, xml: "<nonsense/>", flags: 2 }));
      await note("block job inactive", libvirt.call("domainBlockJobAbort", { dom, path: "vda", flags: 0 }));
      await note("create", libvirt.call("domainCreateWithFlags", { dom, flags: 1 }));
      await note("attach taken live", libvirt.call("domainAttachDeviceFlags", { dom, xml: diskXml(disk), flags: 1 }));
      await note("detach missing live", libvirt.call("domainDetachDeviceFlags", { dom, xml: second, flags: 1 }));
      await note("abort none", libvirt.call("domainBlockJobAbort", { dom, path: "vda", flags: 0 }));
      await note("no such disk", libvirt.call("domainGetBlockJobInfo", { dom, path: "vdz", flags: 0 }));
      const none = libvirt.call("domainGetBlockJobInfo", { dom, path: "vda", flags: 0 });
      await note(
        "no job",
        none.then(({ found }) => found),
      );
      const jobs = await libvirt.events("domain", ["blockJob2"], { object: dom });
      const status = async (): Promise<string> => {
        const { value } = await jobs.next();
        return value?.kind === "event" ? `${value.data.dst} ${value.data.type} ${value.data.status}` : "none";
      };
      const destxml = `<disk type='file'><driver type='qcow2'/><source file='${directory}/copy.qcow2'/></disk>`;
      const copy = { dom, path: "vda", destxml, params: [], flags: 4 };
      await note("copy", libvirt.call("domainBlockCopy", copy));
      await note("ready", status());
      await note("copy again", libvirt.call("domainBlockCopy", copy));
      await note("pivot", libvirt.call("domainBlockJobAbort", { dom, path: "vda", flags: 2 }));
      await note("pivoted", status());
      const { xml } = await libvirt.call("domainGetXmlDesc", { dom, flags: 0 });
      await note("on the copy", Promise.resolve(xml.includes("copy.qcow2") ? 1 : 0));
      await note(
        "commit without backing",
        libvirt.call("domainBlockCommit", {
          dom,
          disk: "vda",
          base: undefined,
          top: undefined,
          bandwidth: 0n,
          flags: 4,
        }),
      );
      const snapshot = `<domainsnapshot><name>s1</name><disks><disk name='vda' snapshot='external'><source file='${directory}/layer.qcow2'/></disk></disks></domainsnapshot>`;
      await note("disk snapshot", libvirt.call("domainSnapshotCreateXml", { dom, xmlDesc: snapshot, flags: 16 | 4 }));
      const commit = { dom, disk: "vda", base: undefined, top: undefined, bandwidth: 0n };
      await note("commit active without the flag", libvirt.call("domainBlockCommit", { ...commit, flags: 0 }));
      await note("commit", libvirt.call("domainBlockCommit", { ...commit, flags: 4 }));
      await note("ready", status());
      await note("pivot", libvirt.call("domainBlockJobAbort", { dom, path: "vda", flags: 2 }));
      await note("pivoted", status());
      await note("agent", libvirt.call("domainFsFreeze", { dom, mountpoints: [], flags: 0 }));
      await note("no snapshot", libvirt.call("domainSnapshotLookupByName", { dom, name: "none", flags: 0 }));
      await note("no current snapshot", libvirt.call("domainSnapshotCurrent", { dom, flags: 0 }));
      await jobs.return();
      await note("destroy", libvirt.call("domainDestroy", { dom }));
      await note("undefine", libvirt.call("domainUndefine", { dom }));
    },
  },
  {
    name: "what does not exist, and secrets, filters, pools and volumes",
    async run({ libvirt, directory }, note) {
      await note("network", libvirt.call("networkLookupByName", { name: "none" }));
      await note("pool", libvirt.call("storagePoolLookupByName", { name: "none" }));
      await note("secret", libvirt.call("secretLookupByUuid", { uuid: UUID }));
      await note("filter", libvirt.call("nwFilterLookupByName", { name: "none" }));
      await note("binding", libvirt.call("nwFilterBindingLookupByPortDev", { name: "none" }));
      await note("device", libvirt.call("nodeDeviceLookupByName", { name: "none" }));
      const secretXml = `<secret ephemeral='no' private='yes'><uuid>${UUID}</uuid><usage type='volume'><volume>/v1</volume></usage></secret>`;
      const { secret } = await libvirt.call("secretDefineXml", { xml: secretXml, flags: 0 });
      await note("secret without a value", libvirt.call("secretGetValue", { secret, flags: 0 }));
      await note("set", libvirt.call("secretSetValue", { secret, value: Buffer.from("k"), flags: 0 }));
      await note("private", libvirt.call("secretGetValue", { secret, flags: 0 }));
      await note("same usage", libvirt.call("secretDefineXml", { xml: secretXml.replace("3f0c", "4f0c"), flags: 0 }));
      await note("undefine secret", libvirt.call("secretUndefine", { secret }));
      const filter = await libvirt.call("nwFilterDefineXml", { xml: "<filter name='hv-parity' chain='root'/>" });
      await note("undefine filter", libvirt.call("nwFilterUndefine", { nwFilter: filter.nwFilter }));
      const poolXml = `<pool type='dir'><name>parity</name><target><path>${directory}</path></target></pool>`;
      const { pool } = await libvirt.call("storagePoolDefineXml", { xml: poolXml, flags: 0 });
      const volumeXml = "<volume><name>v1</name><capacity unit='KiB'>64</capacity></volume>";
      await note("volume in an inactive pool", libvirt.call("storageVolCreateXml", { pool, xml: volumeXml, flags: 0 }));
      await note("start pool", libvirt.call("storagePoolCreate", { pool, flags: 0 }));
      await note("start pool again", libvirt.call("storagePoolCreate", { pool, flags: 0 }));
      await note("undefine active pool", libvirt.call("storagePoolUndefine", { pool }));
      const { vol } = await libvirt.call("storageVolCreateXml", { pool, xml: volumeXml, flags: 0 });
      await note("same volume", libvirt.call("storageVolCreateXml", { pool, xml: volumeXml, flags: 0 }));
      await note("no volume", libvirt.call("storageVolLookupByName", { pool, name: "none" }));
      const size = libvirt.call("storageVolGetInfo", { vol });
      await note(
        "capacity",
        size.then(({ capacity }) => Number(capacity)),
      );
      await note("delete", libvirt.call("storageVolDelete", { vol, flags: 0 }));
      await note("delete again", libvirt.call("storageVolDelete", { vol, flags: 0 }));
      await note("stop pool", libvirt.call("storagePoolDestroy", { pool }));
      await note("stop pool again", libvirt.call("storagePoolDestroy", { pool }));
      await note("undefine pool", libvirt.call("storagePoolUndefine", { pool }));
    },
  },
];
