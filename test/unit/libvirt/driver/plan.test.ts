import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InvalidArgumentError, NotSupportedError } from "../../../../src/core/index.js";
import type { GuestDefinition, GuestHardware } from "../../../../src/driver/index.js";
import {
  connectionUriOf,
  deviceAlias,
  findDisk,
  findNic,
  metadataOf,
  migrationDataUriOf,
  migrationUriOf,
  planDeviceXml,
  planDiskXml,
  planDomain,
  planNicXml,
  readDeviceAlias,
  readDomain,
} from "../../../../src/libvirt/driver/plan/index.js";
import type { DomainPlanOptions, LibvirtHostFacts, VirtType } from "../../../../src/libvirt/driver/plan/index.js";
import { formatDomainXml, parseDeviceXml, parseDomainXml } from "../../../../src/libvirt/index.js";
import { hostilePlan } from "./hostile-plan.js";
import { PLAN_CASES, SECRET_UUID, UUID, definitionOf, diskOf, factsOf, nicOf } from "./plan-cases.js";

const qemu = factsOf("qemu");
const kvm = factsOf("kvm");

function plan(changes: Partial<GuestDefinition>, options?: DomainPlanOptions, facts: LibvirtHostFacts = qemu) {
  return planDomain(definitionOf(changes), facts, options);
}

function diskDriver(facts: LibvirtHostFacts, changes: Parameters<typeof diskOf>[0]) {
  return plan({ disks: [diskOf(changes)] }, {}, facts).devices?.disk?.[0]?.driver;
}

describe("a planned domain", () => {
  it.each(PLAN_CASES.map((one) => [one.name, one] as const))("reads back as it was written: %s", (_name, one) => {
    const domain = planDomain(one.definition, factsOf(one.virtType), one.options);
    const again = parseDomainXml(formatDomainXml(domain));
    expect(formatDomainXml(again)).toBe(formatDomainXml(domain));
    const found = readDomain(again);
    expect(found).toMatchObject({ uuid: UUID, name: "instance-1", metadata: { uuid: UUID, name: "instance-1" } });
    expect(found.metadata).toEqual(metadataOf(one.definition, one.options));
    expect(planDomain(one.definition, factsOf(one.virtType), one.options)).toEqual(domain);
  });

  it("finds disks and NICs by our ids, and what has no alias by serial and MAC address", () => {
    const domain = parseDomainXml(formatDomainXml(plan({ disks: [diskOf({ serial: "vol-1" })] })));
    const found = readDomain(domain);
    expect(findDisk(found, "root")).toMatchObject({ target: "vda", source: "/srv/guests/root.qcow2", format: "qcow2" });
    expect(findNic(found, nicOf().id)).toMatchObject({ macAddress: "52:54:00:00:00:01", target: "tap1b3d6c62-7a" });
    for (const device of [...(domain.devices?.disk ?? []), ...(domain.devices?.interface ?? [])]) delete device.alias;
    const bare = readDomain(domain);
    expect(findDisk(bare, "root")).toBeUndefined();
    expect(findDisk(bare, "root", "vol-1")?.target).toBe("vda");
    expect(findNic(bare, "x", "52:54:00:00:00:01".toUpperCase())?.target).toBe("tap1b3d6c62-7a");
  });

  it("goes past the page cache, or through it with each write on the disk where files can't", () => {
    const without = factsOf("qemu", { directIo: false });
    expect(diskDriver(qemu, {})?.cache).toBe("none");
    expect(diskDriver(without, {})?.cache).toBe("writethrough");
    expect(diskDriver(without, { tuning: { cache: "none" } })?.cache).toBe("writethrough");
    expect(diskDriver(without, { tuning: { cache: "writeback" } })?.cache).toBe("writeback");
    expect(diskDriver(without, { source: { type: "block", format: "raw", path: "/dev/sdb" } })?.cache).toBe("none");
    expect(() => diskDriver(without, { tuning: { cache: "directsync" } })).toThrow(NotSupportedError);
  });

  it("counts boot order from 1 without gaps, over disks and NICs", () => {
    const { devices } = plan({ disks: [diskOf({ bootIndex: 5 })], nics: [nicOf({ bootIndex: 2 })] });
    expect([devices?.disk?.[0]?.boot, devices?.interface?.[0]?.boot]).toEqual([{ order: 2 }, { order: 1 }]);
  });

  it("gives SCSI disks places by their names", () => {
    const place = (deviceName: string) =>
      plan({ disks: [diskOf({ bus: "scsi", deviceName })] }).devices?.disk?.[0]?.address;
    expect(place("sda")).toMatchObject({ target: "0", unit: "0" });
    expect(place("sdab")).toMatchObject({ target: "0", unit: "27" });
    expect(() => place("sdzz")).toThrow(InvalidArgumentError);
  });

  it("has one node for memory that is plugged, and says so of what the guest has now", () => {
    const domain = plan({ hardware: { cpu: { maxVcpus: 4 }, memory: { maxMiB: 2048 } } });
    expect(domain.vcpu).toEqual({ placement: "static", current: 2, $text: 4 });
    expect(domain.maxMemory).toEqual({ slots: 16, unit: "MiB", $text: 2048 });
    expect(domain.cpu?.numa?.cell).toEqual([{ id: 0, cpus: "0-3", memory: 524_288, unit: "KiB" }]);
  });

  it("shuts consoles that want a password before there is one", () => {
    const domain = plan({ hardware: { vnc: { address: "127.0.0.1", passwordRequired: true } } });
    expect(domain.devices?.graphics?.[0]).toMatchObject({ passwd: "", passwdValidTo: "1970-01-01T00:00:01" });
  });

  it("has what Windows wants under KVM", () => {
    const domain = plan({ hardware: { clock: { hyperv: true, base: "localtime" } } }, {}, kvm);
    expect(domain.features?.hyperv).toMatchObject({ relaxed: { state: "on" }, spinlocks: { retries: 8191 } });
    expect(domain.clock).toMatchObject({ offset: "localtime" });
    expect(domain.clock?.timer).toContainEqual({ name: "hypervclock", present: "yes" });
  });
});

describe("what can't be", () => {
  const file = { type: "file", format: "raw", path: "/a" } as const;
  it.each<[string, Partial<GuestDefinition>, VirtType?, DomainPlanOptions?]>([
    ["machine", { machine: "microvm", kernel: { kernelPath: "/k" } }],
    ["firmware", { firmware: "uefi" }, "xen"],
    ["disks[0].bus", { disks: [diskOf({ bus: "nvme", deviceName: "nvme0n1" })] }],
    ["disks[0].bus", { disks: [diskOf({ bus: "sata", deviceName: "sda" })] }, "uml"],
    [
      "disks[0].source",
      { disks: [diskOf({ id: "data", source: { ...file, format: "qcow2" } })] },
      "lxc",
      { rootDirectory: "/r" },
    ],
    ["hardware.scsiController", { hardware: { scsiController: "pvscsi" } }],
    ["hardware.cpu.mode", { hardware: { cpu: { mode: "hostPassthrough" } } }],
    ["hardware.clock.hyperv", { hardware: { clock: { hyperv: true } } }],
    ["hardware.memory.directory", { hardware: { memory: { backing: "file", directory: "/m" } } }],
    ["hardware.memory.hugepageKiB", { hardware: { memory: { backing: "hugepages", hugepageKiB: 4096 } } }],
    ["hardware.vnc.tlsDirectory", { hardware: { vnc: { address: "::1", tlsDirectory: "/t" } } }],
    ["hardware.video.memoryMiB", { hardware: { video: { model: "virtio", memoryMiB: 16 } } }],
    ["hardware.tpm", { hardware: { tpm: {} } }, "lxc"],
    ["hardware.filesystems", { hardware: { filesystems: [{ tag: "a", path: "/a", driver: "9p" }] } }, "xen"],
    ["hardware.cpu.mode", { hardware: { cpu: { mode: "hostModel" } } }, "lxc"],
    ["platform.libvirt.iommu.model", { machine: "pc", platform: { libvirt: { iommu: { model: "intel" } } } }],
    ["platform.libvirt.launchSecurity", { platform: { libvirt: { launchSecurity: { type: "sev" } } } }],
    ["platform.libvirt.perfEvents[0]", { platform: { libvirt: { perfEvents: ["none_such"] } } }],
    ["nics[0].backend", { nics: [nicOf({ backend: { type: "user" } })] }, "lxc"],
    ["nics[0].model", { nics: [nicOf({ model: "vmxnet3" })] }, "xen"],
  ])("is refused by the name of the field: %s", (...[field, changes, virtType = "qemu", options = {}]) => {
    const attempt = () => plan(changes, options, factsOf(virtType));
    expect(attempt).toThrow(expect.objectContaining({ code: "NOT_SUPPORTED", capability: `definition.${field}` }));
  });

  it.each<readonly [field: string, changes: Partial<GuestDefinition>]>([
    ["definition.name", { name: "<a>" }],
    [
      "definition.nics[0].backend.deviceName",
      { nics: [nicOf({ backend: { type: "tap", deviceName: "a'b", queues: 1 } })] },
    ],
    ["definition.disks[0].serial", { disks: [diskOf({ serial: "a<b" })] }],
    ["definition.disks[1].id", { disks: [diskOf(), diskOf({ deviceName: "vdb" })] }],
    ["definition.nics[0].bootIndex", { nics: [nicOf({ bootIndex: 0 })] }],
    ["definition.cpuTopology", { cpuTopology: { sockets: 1, cores: 1, threads: 1 } }],
    ["definition.platform.libvirt.none", { platform: { libvirt: { none: 1 } } }],
    [
      "definition.disks[0].source.encryption.secretId",
      {
        disks: [
          diskOf({
            source: {
              type: "file",
              format: "raw",
              path: "/a",
              encryption: { format: "luks", secretId: "constructor" },
            },
          }),
        ],
      },
    ],
  ])("is refused as bad: %s", (field, changes) => {
    expect(() => plan(changes)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", field }));
  });

  it("is what the host's capabilities say it lacks", () => {
    const [machine] = [
      { machine: "pc-q35-9.2", ioThreads: false, firmwares: [], secureBoot: false, cpuModes: ["custom"] },
    ];
    const cpuModels = [{ name: "EPYC", usable: false }];
    const devices = { tpm: { supported: true, enums: { model: ["tpm-crb"], backendModel: ["passthrough"] } } };
    const poor = factsOf("kvm", { machines: [{ ...machine, cpuModels, devices, features: {} }] });
    const refused = (hardware: GuestHardware, changes: Partial<GuestDefinition> = {}) =>
      expect(() => plan({ hardware, ...changes }, {}, poor)).toThrow(NotSupportedError);
    refused({ tpm: {} });
    refused({ ioThreads: 1 });
    refused({ cpu: { mode: "maximum" } });
    refused({ cpu: { mode: "custom", model: "EPYC" } });
    refused({ cpu: { mode: "custom", model: "Other" } });
    refused({}, { firmware: "uefi" });
    expect(plan({}, {}, poor).cpu?.mode).toBeUndefined();
  });
});

describe("single devices", () => {
  it("are the same as in the domain", () => {
    const definition = definitionOf({ hardware: { devices: [{ type: "usbInput", id: "t", model: "tablet" }] } });
    const { devices } = parseDomainXml(formatDomainXml(planDomain(definition, qemu)));
    expect(parseDeviceXml("disk", planDiskXml(definition, diskOf(), qemu))).toEqual(devices?.disk?.[0]);
    expect(parseDeviceXml("interface", planNicXml(definition, nicOf(), qemu))).toEqual(devices?.interface?.[0]);
    const device = planDeviceXml(definition, { type: "mediated", id: "gpu", uuid: SECRET_UUID }, qemu);
    expect(parseDeviceXml("hostdev", device)).toMatchObject({ type: "mdev", alias: { name: "ua-device-gpu" } });
  });
});

describe("aliases", () => {
  it("tell all ids apart and lead back to them, in signs that libvirt takes", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (id) => {
        const alias = deviceAlias("disk", id);
        expect(alias).toMatch(/^ua-[A-Za-z0-9_.-]+$/);
        expect(readDeviceAlias(alias)).toEqual({ kind: "disk", id });
      }),
    );
    expect(["net0", "ua-", "ua-other-1", "ua-disk-_zz", "ua-disk-a b"].map(readDeviceAlias)).toEqual(
      Array(5).fill(undefined),
    );
  });
});

describe("URIs", () => {
  it("are each kind's own", () => {
    expect(connectionUriOf("kvm")).toBe("qemu:///system");
    expect(connectionUriOf("parallels")).toBe("parallels:///system");
    expect(migrationUriOf("kvm", "192.0.2.1", "tls")).toBe("qemu+tls://192.0.2.1/system");
    expect(migrationUriOf("xen", "2001:db8::1")).toBe("xen+tcp://[2001:db8::1]/system");
    expect(migrationDataUriOf("qemu", "fe80::1%eth0", 49_152)).toBe("tcp://[fe80::1%25eth0]:49152");
    expect(migrationDataUriOf("parallels", "host.example")).toBeUndefined();
    for (const type of ["lxc", "uml"] as const) expect(() => migrationUriOf(type, "a")).toThrow(NotSupportedError);
    for (const bad of ["", "a/b", "a?b", "u@h", "::1]", "fe80::1%a/b", "a b"])
      expect(() => migrationUriOf("kvm", bad), bad).toThrow(InvalidArgumentError);
  });
});

describe("hostile texts", () => {
  it("are refused, or stay text: no element or attribute more than without them", { timeout: 60_000 }, () => {
    const shape = (text: string): string => text.replace(/(<[^!?\s/>]+|[\w:-]+=)("[^"]*"|'[^']*')?|>[^<]*/g, "$1");
    fc.assert(
      fc.property(hostilePlan, ({ definition, options }) => {
        let text: string;
        try {
          text = formatDomainXml(planDomain(definition, qemu, options));
        } catch (error) {
          expect(error).toBeInstanceOf(InvalidArgumentError);
          return;
        }
        const domain = parseDomainXml(text);
        expect(domain.devices?.disk).toHaveLength(1);
        expect(domain.devices?.interface).toHaveLength(2);
        expect(domain.devices?.disk?.[0]?.source?.file).toBe(
          definition.disks[0]?.source?.type === "file" ? definition.disks[0].source.path : "",
        );
        expect(readDomain(domain).metadata).toMatchObject({ entries: options.metadata, tags: options.tags });
        expect(shape(formatDomainXml(domain))).toBe(shape(text));
      }),
      { numRuns: 200 },
    );
  });
});
