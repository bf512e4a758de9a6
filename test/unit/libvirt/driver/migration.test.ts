// What is decided in a live migration without a daemon: the domain on the destination, flags, URIs, tokens, progress.
import { describe, expect, it } from "vitest";
import type { GuestDefinition } from "../../../../src/driver/index.js";
import { destinationDomain } from "../../../../src/libvirt/driver/migration/destination-xml.js";
import { connectionUriCheck } from "../../../../src/libvirt/driver/migration/connection-uri.js";
import { hostCpuXml } from "../../../../src/libvirt/driver/migration/compare-cpu.js";
import { resolveMigrationOptions } from "../../../../src/libvirt/driver/migration/options.js";
import { progressOf } from "../../../../src/libvirt/driver/migration/progress.js";
import { migrationFlags, migrationParameters } from "../../../../src/libvirt/driver/migration/steps.js";
import type { MigrationPlan } from "../../../../src/libvirt/driver/migration/steps.js";
import { fingerprintOf, parseToken } from "../../../../src/libvirt/driver/migration/token.js";
import { migrationDataUriOf, migrationUriOf } from "../../../../src/libvirt/driver/plan/index.js";
import type { VirtType } from "../../../../src/libvirt/driver/plan/index.js";
import { formatCpuXml, formatDomainXml, parseDomainXml } from "../../../../src/libvirt/index.js";

const UUID = "11111111-2222-4333-8444-555555555555";

const source = parseDomainXml(`<domain type='kvm' id='7'>
  <name>web</name><uuid>${UUID}</uuid><memory unit='KiB'>524288</memory>
  <vcpu placement='static' cpuset='0-3'>2</vcpu><cputune><vcpupin vcpu='0' cpuset='1'/></cputune>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><kernel>/here/kernel</kernel><cmdline>quiet</cmdline></os>
  <devices><emulator>/usr/bin/here</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='/here/root' index='2'/>
      <backingStore type='file' index='3'><format type='raw'/><source file='/here/base'/></backingStore>
      <target dev='vda' bus='virtio'/><serial>s1</serial><alias name='ua-disk-root'/>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br-here'/><target dev='taphere'/>
      <model type='virtio'/><alias name='ua-nic-port'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></interface>
    <graphics type='vnc' port='5901' autoport='yes' listen='192.0.2.1' passwd='set'><listen type='address' address='192.0.2.1'/></graphics>
    <serial type='pty' tty='/dev/pts/3'><source path='/dev/pts/3'/><log file='/here/console.log' append='on'/><target type='isa-serial' port='0'/></serial>
  </devices><seclabel type='dynamic' model='apparmor' relabel='yes'><label>libvirt-here</label></seclabel></domain>`);

const planned = parseDomainXml(`<domain type='kvm'>
  <name>web</name><uuid>${UUID}</uuid><vcpu cpuset='8-9'>2</vcpu>
  <os><type>hvm</type><kernel>/there/kernel</kernel></os>
  <devices><emulator>/usr/bin/there</emulator>
    <disk type='block' device='disk'><driver name='qemu' type='raw' cache='writethrough'/><source dev='/dev/there'/>
      <target dev='vda' bus='virtio'/><alias name='ua-disk-root'/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br-there'/><target dev='tapthere'/><alias name='ua-nic-port'/></interface>
    <graphics type='vnc' autoport='yes'><listen type='address' address='198.51.100.1'/></graphics>
    <serial type='pty'><log file='/there/console.log' append='on'/><target port='0'/></serial>
  </devices></domain>`);

describe("the domain on the destination", () => {
  it("has the guest's hardware as on the source, and all of the host's as the destination has planned", () => {
    const there = destinationDomain(source, planned);
    const text = formatDomainXml(there);
    expect(text).not.toMatch(/here\b(?<!there)|pts|libvirt-here|backingStore|192\.0\.2\.1|<cputune/);
    expect(there.id).toBeUndefined();
    const [disk] = there.devices?.disk ?? [];
    expect(disk).toMatchObject({ type: "block", serial: "s1", driver: { type: "raw", cache: "writethrough" } });
    expect(disk?.address).toEqual(source.devices?.disk?.[0]?.address);
    const [nic] = there.devices?.interface ?? [];
    expect(nic).toMatchObject({
      source: { bridge: "br-there" },
      target: { dev: "tapthere" },
      model: { type: "virtio" },
    });
    expect(nic?.address).toEqual(source.devices?.interface?.[0]?.address);
    expect(there.devices?.graphics?.[0]).toMatchObject({ passwd: "set", autoport: "yes" });
    expect(there.devices?.serial?.[0]).toMatchObject({ log: { file: "/there/console.log" } });
    expect(there.os).toMatchObject({ type: { machine: "pc-q35-7.2" }, kernel: "/there/kernel", cmdline: "quiet" });
    expect(there.vcpu).toMatchObject({ cpuset: "8-9", $text: 2 });
    // The same once more changes nothing.
    expect(destinationDomain(there, planned)).toEqual(there);
  });

  it("is refused where the destination has nothing for a device", () => {
    const without = { ...planned, devices: { ...planned.devices, interface: [] } };
    expect(() => destinationDomain(source, without)).toThrow(
      expect.objectContaining({
        code: "MIGRATION_PRECHECK_FAILED",
        message: expect.stringContaining("NIC port") as string,
      }),
    );
  });
});

const token = {
  version: 1,
  uuid: UUID,
  connectionUri: "qemu+tls://host-b/system",
  dataUri: "tcp://[2001:db8::1]",
  listenAddress: "2001:db8::1",
  encrypt: true,
  certificateName: "host-b",
  tunnel: false,
  copyDisks: ["root"],
  fingerprint: "abc",
  xml: "<domain/>",
} as const;

describe("what libvirt is told", () => {
  const plan: MigrationPlan = {
    token,
    request: {
      token: {},
      copyDisks: ["root"],
      downtimeMs: 500,
      allowPostcopy: true,
      autoConverge: true,
      bandwidthMiBps: 100,
    },
    wasRunning: false,
    targets: ["vda", "vdb"],
    xml: "",
    persistentXml: "",
    postcopy: true,
  };
  it("is what was asked for, and no more", () => {
    const always = ["live", "persistDest", "changeProtection", "unsafe"];
    expect(migrationFlags(plan)).toEqual([...always, "paused", "nonSharedDisk", "autoConverge", "postcopy", "tls"]);
    expect(migrationParameters(plan)).toEqual({
      migrate_uri: "tcp://[2001:db8::1]",
      listen_address: "2001:db8::1",
      migrate_disks: ["vda", "vdb"],
      bandwidth: 100,
      "bandwidth.postcopy": 100,
      "tls.destination": "host-b",
    });
    const { dataUri: _data, listenAddress: _listen, ...bare } = token;
    const least: MigrationPlan = {
      ...plan,
      token: { ...bare, encrypt: false },
      request: { ...plan.request, autoConverge: false, bandwidthMiBps: 0 },
      wasRunning: true,
      targets: [],
      postcopy: false,
    };
    expect(migrationFlags(least)).toEqual(always);
    expect(migrationParameters(least)).toEqual({});
    // Of a tunnel libvirt's own daemons take all steps.
    const through = { ...least, token: { ...least.token, tunnel: true } };
    expect(new Set(migrationFlags(through))).toEqual(new Set([...always, "peer2peer", "tunnelled"]));
    // Flags and parameters of a post-copy that is taken up again are those of its beginning.
    const again = migrationFlags({ ...plan, resume: true });
    expect(again.filter((flag) => flag !== "postcopyResume")).toEqual(migrationFlags(plan));
    expect(again).toContain("postcopyResume");
  });

  it("is where hosts are reached, by their kind; what is no host's name is refused", () => {
    const uris = (type: VirtType, address: string): readonly unknown[] => [
      migrationUriOf(type, address, "tls"),
      migrationDataUriOf(type, address),
    ];
    expect(uris("kvm", "host-b")).toEqual(["qemu+tls://host-b/system", "tcp://host-b"]);
    expect(uris("qemu", "2001:db8::1")).toEqual(["qemu+tls://[2001:db8::1]/system", "tcp://[2001:db8::1]"]);
    expect(uris("xen", "192.0.2.1")).toEqual(["xen+tls://192.0.2.1/system", "tcp://192.0.2.1"]);
    expect(uris("parallels", "host-b")).toEqual(["parallels+tls://host-b/system", undefined]);
    for (const type of ["lxc", "uml"] as const)
      expect(() => uris(type, "host-b")).toThrow(expect.objectContaining({ code: "NOT_SUPPORTED" }));
    for (const bad of [
      "host-b\n",
      "-host",
      "host/../x",
      "host;reboot",
      "host b",
      "u@host",
      "[::1]",
      "host:22",
      "a".repeat(300),
    ])
      expect(() => uris("kvm", bad), bad).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

describe("what comes from another host", () => {
  it.each([
    "qemu+tls://host-b/system",
    "qemu+tcp://[2001:db8::1]:16509/system",
    "qemu+tcp://[fe80::1%25eth0]/system",
    "qemu+ssh://root@192.0.2.1/system",
    "qemu+unix:///system?socket=/run/b/libvirt-sock",
    "xen+tls://host/system",
  ])("may name %s", (uri) => expect(connectionUriCheck(uri, "uri")).toBe(uri));

  it.each([
    "qemu+ext:///system?command=/bin/sh",
    "qemu+ssh://host/system?netcat=evil",
    "qemu+ssh://host/system?socket=/a&command=b",
    "qemu+tcp://[::1;x]/system",
    "qemu+tcp://[12]/system",
    "qemu+ssh://-oProxyCommand=x@host/system?x",
    "qemu+tcp://host/system\n",
    "test:///etc/passwd",
    7,
  ])("may not name %s", (uri) => expect(() => connectionUriCheck(uri, "uri")).toThrow(/uri/));

  it("is a token for the guest, or refused", () => {
    expect(parseToken(token, UUID)).toEqual(token);
    const bad: readonly object[] = [{ ...token, uuid: UUID.replace("1", "2") }, { ...token, dataUri: "exec:rm" }, {}];
    for (const value of bad) expect(() => parseToken(value, UUID)).toThrow(/request\.token/);
  });
});

describe("the fingerprint of what the guest has on the destination", () => {
  const has = (more: object = {}): GuestDefinition =>
    ({
      vcpus: 2,
      memoryMiB: 512,
      disks: [{ id: "root" }, { id: "data" }],
      nics: [],
      ...more,
    }) as unknown as GuestDefinition;

  it("changes when it has more or less there, and with nothing else", () => {
    expect(fingerprintOf(has({ disks: [{ id: "data", source: {} }, { id: "root" }] }))).toBe(fingerprintOf(has()));
    for (const other of [has({ vcpus: 4 }), has({ disks: [{ id: "root" }] }), has({ nics: [{ id: "port" }] })])
      expect(fingerprintOf(other)).not.toBe(fingerprintOf(has()));
  });
});

describe("how far a migration is", () => {
  it("is told in bytes and passes", () => {
    const figures = {
      memory_total: 100n,
      memory_processed: 60n,
      memory_remaining: 40n,
      memory_dirty_rate: 2n,
      memory_page_size: 4096n,
      memory_iteration: 3n,
      disk_total: 7n,
      downtime: 12n,
    };
    expect(progressOf("memory", figures)).toEqual({
      phase: "memory",
      memoryTotalBytes: 100,
      memoryTransferredBytes: 60,
      memoryRemainingBytes: 40,
      diskTotalBytes: 7,
      diskTransferredBytes: 0,
      diskRemainingBytes: 0,
      dirtyBytesPerSecond: 8192,
      iteration: 3,
      downtimeMs: 12,
    });
  });
});

describe("options and CPUs", () => {
  it("have defaults, and are refused by name", () => {
    expect(resolveMigrationOptions()).toMatchObject({ transport: "tls", encrypt: false, copy: "auto" });
    expect(() => resolveMigrationOptions({ listenAddress: "host" })).toThrow(/options\.migration\.listenAddress/);
    expect(() => resolveMigrationOptions({ tunnel: true, encrypt: true })).toThrow(/options\.migration\.encrypt/);
    expect(() => resolveMigrationOptions({ connectionUri: "qemu+ssh://h/system?command=x" })).toThrow(
      /options\.migration\.connectionUri/,
    );
  });
  it("are a host's CPU as libvirt writes it", () => {
    const topology = { sockets: 1, cores: 4, threads: 2 };
    const cpu = { arch: "x86_64", vendor: "Intel", model: "Haswell", topology, features: ["vmx", "a&b"] };
    const text = formatCpuXml(hostCpuXml(cpu));
    expect(text).toContain("<arch>x86_64</arch>");
    expect(text).toContain("<model>Haswell</model>");
    expect(text).toContain('name="a&amp;b"');
  });
});
