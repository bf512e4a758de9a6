import { describe, expect, it } from "vitest";
import { validateInstanceSpec } from "../../../src/driver/index.js";
import type { InstanceSpec } from "../../../src/driver/index.js";

const base = {
  uuid: "0b0c5c5e-5f50-4d0b-8a35-6c4f2f0c1a01",
  name: "web",
  imageId: "debian",
  flavor: { vcpus: 4, memoryMiB: 1024, rootGiB: 1, cpuTopology: { sockets: 1, cores: 2, threads: 2 } },
} as const;

const check = (change: object): InstanceSpec => validateInstanceSpec({ ...base, ...change });
const cell = (vcpus: readonly number[], memoryMiB: number, rest = {}): object => ({ vcpus, memoryMiB, ...rest });
const volume = (volumeId: string, rest: object): object => ({
  connection: { volumeId, type: "local", data: {} },
  ...rest,
});
const port = (id: string, rest: object): object => ({
  type: "user",
  id: `0b0c5c5e-5f50-4d0b-8a35-6c4f2f0c1a${id}`,
  macAddress: `52:54:00:00:00:${id}`,
  network: { id: "net" },
  ...rest,
});

describe("a spec's hardware", () => {
  it("may hold everything at once", () => {
    const hardware = {
      cpu: {
        mode: "custom",
        model: "EPYC-Rome",
        features: [{ name: "sse4.2", policy: "require" }],
        maxVcpus: 8,
        numaCells: [cell([0, 1, 2, 3], 512, { hostNodes: [0], policy: "interleave" }), cell([4, 5, 6, 7], 512)],
        pinning: { vcpus: [[0], [1], []], emulator: [0, 1], ioThreads: [[2]] },
      },
      memory: { maxMiB: 4096, slots: 8, backing: "hugepages", hugepageKiB: 2048, shared: true, locked: true },
      uefi: { secureBoot: true },
      tpm: { model: "tis" },
      video: { model: "qxl", memoryMiB: 64 },
      vnc: {
        address: "::1",
        port: 5901,
        tlsDirectory: "/etc/pki",
        verifyClients: true,
        passwordRequired: true,
        keymap: "de",
      },
      spice: { imageCompression: "auto-glz", agent: false },
      extraSerialPorts: 3,
      rng: { source: "/dev/random", maxBytes: 1, periodMs: 1 },
      balloon: { statisticsPeriodSeconds: 5 },
      watchdog: { model: "itco", action: "none" },
      sound: { model: "ich9", backend: "spice" },
      devices: [
        { type: "pciHost", id: "gpu", address: "0000:3b:1f.7" },
        { type: "mediated", id: "slice", uuid: "0b0c5c5e-5f50-4d0b-8a35-6c4f2f0c1a02" },
        { type: "usbHost", id: "stick", vendorId: 0, productId: 65_535 },
      ],
      vsock: { cid: 4_294_967_295 },
      filesystems: [{ tag: "a", path: "/a,b", driver: "9p", readOnly: true, securityModel: "none" }],
      ioThreads: 1,
      scsiController: "lsi",
      clock: { base: "localtime", driftFix: "none", hyperv: true },
      smbios: { bios: { release: "1.2" }, oemStrings: ["io.systemd.credential:a=b"] },
      onReboot: "poweroff",
      bootMenuMs: 65_535,
      generationId: false,
    };
    const platform = { kvm: { extraArguments: ["-trace", "x"] }, other: {} };
    const diskTuning = { ioThread: 0, queues: 4, cache: "none", aio: "native" };
    const spec = { firmware: "uefi", hardware, platform, diskTuning };
    expect(check(spec)).toMatchObject(spec);
    expect(check({ hardware: { rng: false, balloon: false } }).hardware).toEqual({ rng: false, balloon: false });
  });

  it.each([
    ["cpu.model", { cpu: { mode: "custom" } }],
    ["cpu.model", { cpu: { mode: "maximum", model: "EPYC" } }],
    ["cpu.model", { cpu: { mode: "custom", model: "EPYC,+avx" } }],
    [
      "cpu.features[1].name",
      {
        cpu: {
          features: [
            { name: "a", policy: "require" },
            { name: "a", policy: "disable" },
          ],
        },
      },
    ],
    ["cpu.maxVcpus", { cpu: { maxVcpus: 3 } }],
    ["cpu.maxVcpus", { cpu: { maxVcpus: 6 } }],
    ["cpu.numaCells", { cpu: { numaCells: [cell([0, 1], 1024)] } }],
    ["cpu.numaCells", { cpu: { numaCells: [cell([0, 1, 2, 3], 1023)] } }],
    ["cpu.numaCells[1].vcpus[0]", { cpu: { numaCells: [cell([0, 1, 2], 512), cell([2, 3], 512)] } }],
    ["cpu.numaCells[0].vcpus[3]", { cpu: { numaCells: [cell([0, 1, 2, 4], 1024)] } }],
    ["cpu.numaCells[0].policy", { cpu: { numaCells: [cell([0, 1, 2, 3], 1024, { policy: "bind" })] } }],
    ["cpu.pinning.vcpus", { cpu: { pinning: { vcpus: [[], [], [], [], []] } } }],
    ["cpu.pinning.ioThreads", { cpu: { pinning: { ioThreads: [[0]] } } }],
    ["memory.maxMiB", { memory: { maxMiB: 512 } }],
    ["memory.slots", { memory: { slots: 4 } }],
    ["memory.hugepageKiB", { memory: { hugepageKiB: 2048 } }],
    ["memory.hugepageKiB", { memory: { backing: "hugepages", hugepageKiB: 3000 } }],
    ["memory.directory", { memory: { backing: "file" } }],
    ["memory.directory", { memory: { directory: "/x" } }],
    [
      "memory.backing",
      { memory: { backing: "anonymous" }, filesystems: [{ tag: "a", path: "/a", driver: "virtiofs" }] },
    ],
    ["memory.shared", { memory: { shared: false }, filesystems: [{ tag: "a", path: "/a", driver: "virtiofs" }] }],
    ["uefi", { uefi: {} }],
    ["vnc.port", { vnc: { port: 5900 } }],
    ["vnc.port", { vnc: { address: "127.0.0.1", port: 80 } }],
    ["vnc.verifyClients", { vnc: { address: "127.0.0.1", verifyClients: true } }],
    ["vnc.keymap", { vnc: { keymap: "../../etc/passwd" } }],
    ["spice.tlsDirectory", { spice: { tlsDirectory: "/x" } }],
    ["spice.tlsCiphers", { spice: { address: "::1", tlsCiphers: "HIGH" } }],
    ["spice.tlsCiphers", { spice: { address: "::1", tlsDirectory: "/x", tlsCiphers: "HIGH,port=1" } }],
    ["spice.address", { spice: { address: "0.0.0.0,port=1" } }],
    ["rng.periodMs", { rng: { periodMs: 5 } }],
    ["sound.backend", { sound: { model: "ich9", backend: "spice" } }],
    ["devices[1].id", { devices: [1, 2].map(() => ({ type: "usbInput", id: "a", model: "mouse" })) }],
    ["devices[0].address", { devices: [{ type: "pciHost", id: "a", address: "3b:00.0" }] }],
    ["vsock.cid", { vsock: { cid: 2 } }],
    ["filesystems[1].tag", { filesystems: ["/a", "/b"].map((path) => ({ tag: "a", path, driver: "9p" })) }],
    ["filesystems[0].tag", { filesystems: [{ tag: "x".repeat(32), path: "/a", driver: "9p" }] }],
    ["filesystems[0].path", { filesystems: [{ tag: "a", path: "/a,source=/", driver: "virtiofs" }] }],
    ["filesystems[0].path", { filesystems: [{ tag: "a", path: "a", driver: "9p" }] }],
    ["smbios.system.serial", { smbios: { system: { serial: "a\nb" } } }],
    ["balloon", { balloon: true }],
    ["nosuch", { nosuch: 1 }],
  ])("is refused by the name of what is wrong: %s", (field, hardware) => {
    const expected: unknown = expect.objectContaining({ code: "INVALID_ARGUMENT", field: `spec.hardware.${field}` });
    expect(() => check({ hardware })).toThrow(expected);
  });

  it("has firmware files in pairs", () => {
    const uefi = { codePath: "/code.fd" };
    expect(() => check({ firmware: "uefi", hardware: { uefi } })).toThrow(/hardware.uefi.variablesTemplatePath/);
  });
});

describe("a disk's tuning", () => {
  it.each([
    ["aio", { aio: "native" }],
    ["aio", { aio: "native", cache: "writeback" }],
    ["detectZeroes", { detectZeroes: "unmap", discard: "ignore" }],
    ["physicalBlockBytes", { logicalBlockBytes: 4096, physicalBlockBytes: 512 }],
    ["physicalBlockBytes", { physicalBlockBytes: 1000 }],
    ["ioThread", { ioThread: 0 }],
    ["limits.totalBytesPerSecond", { limits: { totalBytesPerSecond: 1, readBytesPerSecond: 1 } }],
    [
      "limits.burst.totalOperationsPerSecond",
      { limits: { burst: { totalOperationsPerSecond: 1, writeOperationsPerSecond: 1 } } },
    ],
    ["limits.burst.readBytesPerSecond", { limits: { readBytesPerSecond: 9, burst: { readBytesPerSecond: 8 } } }],
    ["limits.burst.readBytesPerSecond", { limits: { burst: { readBytesPerSecond: 8 } } }],
    ["limits.burstSeconds", { limits: { burstSeconds: 8 } }],
  ])("is refused by the name of what is wrong: %s", (field, diskTuning) => {
    const expected: unknown = expect.objectContaining({ code: "INVALID_ARGUMENT", field: `spec.diskTuning.${field}` });
    expect(() => check({ diskTuning })).toThrow(expected);
  });

  it.each([
    ["queues", "scsi", "disk", { queues: 2 }],
    ["ioThread", "nvme", "disk", { ioThread: 0 }],
    ["onWriteError", "nvme", "disk", { onWriteError: "stop" }],
    ["logicalBlockBytes", "sata", "disk", { logicalBlockBytes: 4096 }],
    ["physicalBlockBytes", "fdc", "floppy", { physicalBlockBytes: 4096 }],
  ])("goes with the bus: no %s on %s", (field, bus, deviceType, tuning) => {
    const expected: unknown = expect.objectContaining({ field: `spec.blockDevices[0].tuning.${field}` });
    expect(() => check({ blockDevices: [volume("v", { bus, deviceType, tuning })] })).toThrow(expected);
  });
});

describe("places of disks and ports", () => {
  it("have one boot order", () => {
    const blockDevices = [volume("v", { bootIndex: 1 })];
    expect(() => check({ blockDevices, vifs: [port("01", { bootIndex: 1 })] })).toThrow(/spec.vifs\[0\].bootIndex/);
    expect(check({ blockDevices, vifs: [port("01", { bootIndex: 0 })] }).vifs?.[0]).toMatchObject({ bootIndex: 0 });
    const { imageId: _image, ...diskless } = base;
    expect(validateInstanceSpec({ ...diskless, vifs: [port("01", { bootIndex: 0 })] })).toMatchObject({ name: "web" });
  });

  it("are a floppy's on fdc and nobody else's, with their own names", () => {
    expect(() => check({ blockDevices: [volume("v", { deviceType: "floppy" })] })).toThrow(/blockDevices\[0\].bus/);
    expect(() => check({ blockDevices: [volume("v", { bus: "fdc" })] })).toThrow(/blockDevices\[0\].bus/);
    const devices = [
      volume("a", { bus: "fdc", deviceType: "floppy", deviceName: "fd1" }),
      volume("b", { bus: "nvme", deviceName: "nvme12n1" }),
    ];
    expect(check({ blockDevices: devices }).blockDevices).toHaveLength(2);
    expect(() => check({ blockDevices: [volume("b", { bus: "nvme", deviceName: "nvme0" })] })).toThrow(/nvme1n1/);
  });
});
