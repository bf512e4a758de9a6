import fc from "fast-check";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { analyzeSerializedRuntime, importGanetiRuntime, upgradeSerializedRuntime } from "../../../../src/kvm/index.js";

const runtime = (name: string): string => readFileSync(new URL(`runtimes/${name}.json`, import.meta.url), "utf8");
const NEW = "11111111-2222-4333-8444-555555555555";
const newUuid = (): string => NEW;
const code = (value: string): Error => expect.objectContaining({ code: value }) as Error;

describe("upgrading a runtime file", () => {
  it("of three parts: no disks, new uuids, and options that QEMU knows", () => {
    const { command, nics, disks, hvparams } = upgradeSerializedRuntime(runtime("2.6-three-parts"), { newUuid });
    expect(disks).toEqual([]);
    expect(nics).toEqual([
      {
        mac: "aa:00:00:11:22:33",
        ip: null,
        nicparams: { mode: "bridged", link: "xen-br0" },
        uuid: NEW,
        hvinfo: {},
      },
    ]);
    expect(hvparams["disk_discard"]).toBe("ignore");
    const line = command.join(" ");
    expect(line).toContain("-device virtio-balloon ");
    expect(line).toContain("-rtc base=localtime");
    expect(line).toContain("-object tls-creds-anon,id=vnctls0,endpoint=server -vnc 127.0.0.1:3,tls-creds=vnctls0");
    expect(line).not.toMatch(/ -(?:chroot|localtime|balloon)/);
  });

  it("of four parts with PCI slots: each becomes an address, and its field goes", () => {
    const { command, nics, disks } = upgradeSerializedRuntime(runtime("2.11-pci"), { newUuid });
    expect(nics[0]).toMatchObject({
      hvinfo: { driver: "virtio-net-pci", id: "hotnic-003fc157-pci-6", bus: "pci.0", addr: "0x6" },
    });
    expect(nics[0]).not.toHaveProperty("pci");
    expect(disks[0]?.disk).toMatchObject({
      hvinfo: { driver: "virtio-blk-pci", id: "hotdisk-9e7c85f6-pci-4", addr: "0x4" },
    });
    expect(disks[1]).toMatchObject({ disk: { hvinfo: {} }, link: "/srv/data.raw", uri: "rbd:pool/x" });
    expect(disks[0]).not.toHaveProperty("uri");
    const line = command.join(" ");
    expect(line).toContain("-device virtio-balloon,id=balloon,bus=pci.0,addr=0x3");
    expect(line).toContain("tls-creds-x509,id=vnctls0,dir=/etc/pki/qemu,endpoint=server,verify-peer=yes");
    expect(line).toContain("-vnc 0.0.0.0:9,password,tls-creds=vnctls0");
  });

  it("leaves one of today as it is, and its own result too", () => {
    const text = runtime("2.16-hvinfo");
    const upgraded = upgradeSerializedRuntime(text);
    const [command, nics, hvparams] = JSON.parse(text) as unknown[];
    expect(upgraded).toMatchObject({ command, nics, hvparams });
    for (const name of ["2.6-three-parts", "2.11-pci", "2.16-hvinfo", "2.2-nics-as-text"]) {
      const once = upgradeSerializedRuntime(runtime(name), { newUuid });
      const again = JSON.stringify([
        once.command,
        once.nics,
        once.hvparams,
        once.disks.map((d) => [d.disk, d.link, d.uri ?? null]),
      ]);
      expect(upgradeSerializedRuntime(again)).toEqual(once);
    }
  });
});

describe("a runtime file as data", () => {
  it("has NICs that were written as text", () => {
    expect(analyzeSerializedRuntime(runtime("2.2-nics-as-text"), { newUuid }).nics).toEqual([
      { uuid: NEW, macAddress: "aa:00:00:11:22:34", mode: "routed", link: "100", address: {} },
    ]);
  });

  it("has the places of its devices", () => {
    const { nics, disks } = analyzeSerializedRuntime(runtime("2.16-hvinfo"));
    expect(nics[0]).toMatchObject({ slot: 13, address: { id: "nic-003fc157-66a8-4e6d", bus: "pci.0" } });
    expect(disks[0]).toMatchObject({
      link: "/dev/vg/app1",
      disk: { type: "plain", sizeMiB: 1024, mode: "rw", address: { bus: "scsi.0", scsiId: 0 } },
    });
  });

  it.each([
    ["no JSON", "{"],
    ["no list", "{}"],
    ["two parts", "[[],[]]"],
    ["five parts", "[[],[],{},[],1]"],
    ["a command line of numbers", "[[1],[],{}]"],
    ["parameters that are a list", "[[],[],[]]"],
    ["a NIC that is a number", "[[],[1],{}]"],
    ["a NIC of broken text", '[[],["{"],{}]'],
    ["a NIC without address", '[[],[{"uuid":"003fc157-66a8-4e6d-8b7e-ec4f69751396"}],{}]'],
    ["a uuid that is none", '[[],[{"uuid":"../../x","mac":"aa:00:00:aa:bb:cc"}],{}]'],
    ["a PCI slot that is none", '[[],[{"uuid":"x","pci":"0x99"}],{},[]]'],
    ["a disk without a path", "[[],[],{},[[{}]]]"],
    ["a path that is a number", "[[],[],{},[[{},1]]]"],
    ["too much", `[${'"'}${"x".repeat(5_000_000)}${'"'}]`],
    ["too deep", `${"[".repeat(100_000)}${"]".repeat(100_000)}`],
    ["too many disks", JSON.stringify([[], [], {}, Array.from({ length: 300 }, () => [{}, "/x"])])],
  ])("is refused with %s", (_, text) => {
    expect(() => analyzeSerializedRuntime(text)).toThrow(code("STATE_CORRUPT"));
  });

  it("is data or a typed error, whatever it holds", () => {
    const parts = fc.tuple(
      fc.array(fc.oneof(fc.string(), fc.constantFrom("-vnc", "-balloon", "-chroot", "-smp", "-m")), { maxLength: 6 }),
      fc.array(fc.oneof(fc.jsonValue(), fc.record({ mac: fc.string(), pci: fc.jsonValue(), uuid: fc.uuid() })), {
        maxLength: 3,
      }),
      fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 5 }),
      fc.array(fc.tuple(fc.jsonValue(), fc.jsonValue(), fc.jsonValue()), { maxLength: 3 }),
    );
    const text = fc.oneof(
      fc.string(),
      fc.json(),
      parts.map((value) => JSON.stringify(value)),
    );
    fc.assert(
      fc.property(text, (serialized) => {
        try {
          const { definition } = importGanetiRuntime(analyzeSerializedRuntime(serialized));
          expect(definition.vcpus).toBeGreaterThan(0);
        } catch (error) {
          expect((error as { code?: string }).code).toMatch(/^(?:STATE_CORRUPT|INVALID_ARGUMENT|NOT_SUPPORTED)$/);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("importing a guest", () => {
  it("of 2.11", () => {
    const { definition, notes } = importGanetiRuntime(analyzeSerializedRuntime(runtime("2.11-pci")));
    expect(definition).toMatchObject({
      uuid: "6b2f1c1e-7f4f-4c27-9f5e-3e1f1f0a8d03",
      name: "db1",
      vcpus: 4,
      memoryMiB: 1024,
      cpuTopology: { sockets: 2, cores: 2, threads: 1 },
      machine: "pc",
      hardware: {
        cpu: {
          mode: "custom",
          model: "EPYC",
          features: [
            { name: "svm", policy: "require" },
            { name: "x2apic", policy: "disable" },
          ],
          pinning: { vcpus: [[0, 1], [2], [3], []] },
        },
        vnc: {
          address: "0.0.0.0",
          port: 5909,
          tlsDirectory: "/etc/pki/qemu",
          verifyClients: true,
          passwordRequired: true,
        },
        devices: [{ type: "usbInput", model: "tablet" }],
      },
    });
    expect(definition.disks).toEqual([
      expect.objectContaining({
        id: "root",
        source: { type: "block", path: "/var/run/kvm/db1:0", format: "raw" },
        deviceName: "vda",
        readOnly: false,
        tuning: { cache: "none", aio: "native", discard: "ignore" },
      }),
      expect.objectContaining({
        id: "volume-9e7c85f6-b6e5-4243-b22d-d6dc5f1c4ba4",
        source: { type: "file", path: "/srv/data.raw", format: "raw" },
        readOnly: true,
      }),
      expect.objectContaining({ id: "drive-hda", deviceType: "cdrom", bus: "ide", bootIndex: 0 }),
    ]);
    expect(definition.disks[0]).not.toHaveProperty("bootIndex");
    expect(definition.nics).toEqual([
      {
        id: "003fc157-66a8-4e6d-8b7e-ec4f69751396",
        macAddress: "aa:00:00:aa:bb:cc",
        model: "virtio",
        backend: { type: "tap", deviceName: "tap003fc157", bridge: "br1", queues: 1 },
        queues: 1,
      },
    ]);
    for (const word of ["HTTP", "pc-i440fx-2.8", "kvm_extra"]) expect(notes.join("\n")).toContain(word);
    expect(notes.join("\n")).not.toContain("-foo");
  });

  it("of 2.16", () => {
    const { definition, notes } = importGanetiRuntime(analyzeSerializedRuntime(runtime("2.16-hvinfo")), {
      backendOf: () => ({ type: "user" }),
    });
    expect(definition).toMatchObject({
      name: "app1",
      guestAgent: true,
      disks: [{ bus: "scsi", deviceName: "sda", bootIndex: 0, tuning: { cache: "writeback", discard: "unmap" } }],
      nics: [{ backend: { type: "user" } }],
      hardware: {
        cpu: {
          mode: "hostPassthrough",
          pinning: {
            vcpus: [
              [0, 1],
              [0, 1],
            ],
            emulator: [0, 1],
          },
        },
        memory: { backing: "file", directory: "/dev/hugepages", preallocated: true },
        spice: {
          address: "10.0.0.5",
          port: 11005,
          passwordRequired: true,
          imageCompression: "quic",
          jpegCompression: "never",
          zlibGlzCompression: "auto",
          streamingVideo: "filter",
          playbackCompression: false,
          agent: true,
        },
        sound: { model: "ich6", backend: "spice" },
        video: { model: "qxl" },
        scsiController: "virtio-scsi",
        onReboot: "poweroff",
      },
    });
    // Where the certificate is, and what may be used with it, is to be said anew.
    expect(notes.filter((note) => note.includes("SPICE"))).toHaveLength(2);
  });

  it("of the first releases, whose kernel QEMU loaded", () => {
    const { definition, notes } = importGanetiRuntime(
      analyzeSerializedRuntime(runtime("2.2-nics-as-text"), { newUuid }),
    );
    expect(definition.kernel).toEqual({
      kernelPath: "/boot/vmlinuz",
      commandLine: "root=/dev/vda1 ro console=ttyS0,38400",
    });
    expect(definition.nics[0]).toMatchObject({ model: "e1000" });
    expect(notes).toHaveLength(2);
  });

  it("refuses a disk that only QEMU can reach, and a name that is none", () => {
    const text = runtime("2.11-pci").replace('"kernelspace"', '"userspace"');
    expect(() => importGanetiRuntime(analyzeSerializedRuntime(text))).toThrow(code("NOT_SUPPORTED"));
    const named = analyzeSerializedRuntime(runtime("2.16-hvinfo"));
    expect(() => importGanetiRuntime(named, { name: "a/b" })).toThrow(code("INVALID_ARGUMENT"));
    expect(importGanetiRuntime(named, { name: "short", uuid: NEW }).definition).toMatchObject({
      name: "short",
      uuid: NEW,
    });
  });

  it("refuses a CPU mask that does not fit", () => {
    for (const mask of ["0:1:2", "x", "3-1", "0-99999"]) {
      const text = runtime("2.16-hvinfo").replace('"cpu_mask": "0-1"', `"cpu_mask": "${mask}"`);
      expect(() => importGanetiRuntime(analyzeSerializedRuntime(text))).toThrow(code("STATE_CORRUPT"));
    }
  });
});
