/** Hardware of all sorts, as libvirt and QEMU really have it: what the planner writes is not only taken, guests start with it. */
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GuestDefinition } from "../../../../src/driver/index.js";
import { readDomain } from "../../../../src/libvirt/driver/plan/index.js";
import { SwitchPort, requirePackages, run, temporaryDirectory, waitFor } from "../../../lab/index.js";
import type { TemporaryDirectory } from "../../../lab/index.js";
import { HypervisorLab, disk, nic } from "./hypervisor-lab.js";

type Guest = Awaited<ReturnType<HypervisorLab["define"]>>;

/** Where a libvirtd has guests' memory unless its configuration says another place. */
const MEMORY_DIRECTORY = "/var/lib/libvirt/qemu/ram";
const HUGE_PAGES = "/proc/sys/vm/nr_hugepages";
/** Whether the kernel counts events of processes. */
const COUNTS_EVENTS = existsSync("/proc/sys/kernel/perf_event_paranoid");
const T = { timeout: 150_000 };

let lab: HypervisorLab;
let mounts: TemporaryDirectory;
let hugePagesBefore: string | undefined;
const cleanups: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  requirePackages("ovmf", "swtpm", "swtpm_setup", "qemu-system-aarch64", "aavmf");
  mounts = await temporaryDirectory("hw-");
  // Mounted before the daemon comes: it sees those that are there then.
  hugePagesBefore = await takeHugePages(mounts.file("huge"));
  await mount("ramfs", mounts.file("cached"));
  lab = await HypervisorLab.open({
    domainDefaults: { spareRootPorts: 2, memoryDirectory: MEMORY_DIRECTORY, sharedCpus: [1], machineSerial: "none" },
  });
}, 180_000);

afterAll(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await lab?.[Symbol.asyncDispose]();
  if (hugePagesBefore !== undefined) {
    await run(["umount", mounts.file("huge")]);
    await writeFile(HUGE_PAGES, hugePagesBefore);
  }
  await run(["umount", mounts.file("cached")]);
  await mounts?.remove();
}, 120_000);

async function mount(type: string, place: string): Promise<void> {
  await mkdir(place);
  await run(["mount", "-t", type, "none", place]);
}

/** Pages for a small guest; what there were before. Undefined where this machine gives none. */
async function takeHugePages(place: string): Promise<string | undefined> {
  const before = await readFile(HUGE_PAGES, "utf8").catch(() => undefined);
  if (before === undefined) return undefined;
  const wanted = Number(before) + 32;
  await writeFile(HUGE_PAGES, `${wanted}`).catch(() => undefined);
  if (Number(await readFile(HUGE_PAGES, "utf8")) >= wanted) {
    await mount("hugetlbfs", place);
    return before;
  }
  await writeFile(HUGE_PAGES, before).catch(() => undefined);
  return undefined;
}

/** Starts a guest that stands still; it ends with the test. */
async function started(overrides: Partial<GuestDefinition>): Promise<Guest> {
  const guest = await lab.define(overrides);
  cleanups.push(async () => {
    await guest.kill();
    await lab.hypervisor.undefine(guest.uuid);
  });
  await guest.start({ paused: true });
  return guest;
}

async function ended(): Promise<void> {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
}

/** What QEMU itself says. */
async function ask(guest: Guest, execute: string, args: object = {}): Promise<unknown> {
  const domain = await (await lab.client()).lookupDomainByUuid(guest.uuid);
  const answer = await domain.qemuMonitorCommand(JSON.stringify({ execute, arguments: args }));
  return (JSON.parse(answer) as { return: unknown }).return;
}

/** The names of the devices that the machine has. */
async function devicesIn(guest: Guest): Promise<string[]> {
  const tree = String(await ask(guest, "human-monitor-command", { "command-line": "info qtree" }));
  return [...tree.matchAll(/dev: ([\w.-]+), id/g)].map(([, name = ""]) => name);
}

describe("a guest on q35 with UEFI", () => {
  it("boots signed code alone, with a TPM, an IOMMU and all the small parts", T, async () => {
    const guest = await started({
      vcpus: 2,
      memoryMiB: 128,
      firmware: "uefi",
      disks: [disk("root", "sda", await lab.image("signed.img"), { bus: "scsi", serial: "disk-1" })],
      hardware: {
        uefi: { secureBoot: true },
        tpm: {},
        watchdog: { model: "i6300esb", action: "injectNmi" },
        rng: { source: "builtin", maxBytes: 1024, periodMs: 500 },
        balloon: { statisticsPeriodSeconds: 7, freePageReporting: true, deflateOnOom: true },
        sound: { model: "ich9" },
        video: { model: "qxl", memoryMiB: 16 },
        vnc: { passwordRequired: true },
        spice: {},
        extraSerialPorts: 2,
        ioThreads: 1,
        generationId: true,
        smbios: { system: { manufacturer: "A & B" }, oemStrings: ["one"] },
        cpu: {
          maxVcpus: 4,
          mode: "custom",
          model: "qemu64",
          features: [{ name: "aes", policy: "require" }],
          pinning: { vcpus: [[0], [0]] },
        },
        memory: { maxMiB: 512 },
      },
      platform: {
        libvirt: {
          iommu: { model: "intel" },
          ...(COUNTS_EVENTS ? { perfEvents: ["cpu_clock", "page_faults"] } : {}),
          emulatorThreads: "isolate",
          guestSystem: "windows",
          translationCacheMiB: 32,
        },
      },
    });
    const domain = await lab.domain(guest.uuid);
    expect(domain.os).toMatchObject({ loader: { secure: "yes", type: "pflash" } });
    expect(domain.os?.nvram?.$text).toContain("lab-");
    expect(domain.clock).toMatchObject({ offset: "localtime" });
    expect(domain.cputune).toMatchObject({ emulatorpin: { cpuset: "1" } });
    expect(domain.sysinfo?.[0]?.system?.entry).toEqual([{ name: "manufacturer", $text: "A & B" }]);
    if (COUNTS_EVENTS) expect(domain.perf?.event).toContainEqual({ name: "cpu_clock", enabled: "yes" });
    expect(await devicesIn(guest)).toEqual(
      expect.arrayContaining([
        ...["intel-iommu", "i6300esb", "virtio-rng-pci", "virtio-balloon-pci", "ich9-intel-hda", "hda-duplex"],
        ...["qxl-vga", "virtio-scsi-pci", "scsi-hd", "isa-serial", "virtserialport", "usb-tablet"],
      ]),
    );
    expect(await ask(guest, "query-tpm")).toMatchObject([{ model: "tpm-crb" }]);
    expect(await ask(guest, "query-vm-generation-id")).toMatchObject({ guid: domain.genid });
    expect(await ask(guest, "query-iothreads")).toHaveLength(1);
    expect(await ask(guest, "query-hotpluggable-cpus")).toHaveLength(4);
    await ended();
  });
});

describe("a guest whose memory others read", () => {
  it("shares directories and a switch in user space, on nodes of its own, behind an IOMMU", T, async () => {
    const port = new SwitchPort(lab.directory.file("switch.sock"), "switch");
    cleanups.push(() => port.close());
    await port.listen();
    const onSwitch = { type: "vhostUser", socketPath: lab.directory.file("switch.sock"), server: "switch" } as const;
    const guest = await started({
      vcpus: 2,
      memoryMiB: 64,
      nics: [nic("switched", 1, { backend: { ...onSwitch, queues: 1 }, tag: "uplink" })],
      hardware: {
        ioThreads: 1,
        filesystems: [
          { tag: "data", path: lab.directory.path, driver: "virtiofs" },
          { tag: "more", path: lab.directory.path, driver: "9p", readOnly: true },
        ],
        cpu: {
          numaCells: [
            { vcpus: [0], memoryMiB: 32, hostNodes: [0] },
            { vcpus: [1], memoryMiB: 32 },
          ],
          pinning: { vcpus: [[0], [1]], emulator: [0], ioThreads: [[0, 1]] },
        },
      },
      platform: { libvirt: { iommu: { model: "virtio" } } },
      metadata: { project: "p <1>" },
    });
    await waitFor(() => port.isSetUp, { timeoutMs: 60_000, what: "a hypervisor at the switch's socket" });
    const nodes = (await ask(guest, "query-memdev")) as readonly { share: boolean; size: number }[];
    expect(nodes.map(({ share, size }) => [share, size])).toEqual(Array(2).fill([true, 32 * 2 ** 20]));
    expect(await devicesIn(guest)).toEqual(
      expect.arrayContaining(["virtio-iommu-pci", "vhost-user-fs-pci", "virtio-9p-pci"]),
    );
    const { cputune, numatune } = await lab.domain(guest.uuid);
    expect(cputune?.vcpupin).toEqual([
      { vcpu: 0, cpuset: "0" },
      { vcpu: 1, cpuset: "1" },
    ]);
    expect(numatune?.memnode).toEqual([{ cellid: 0, mode: "strict", nodeset: "0" }]);
    const { metadata } = readDomain(await lab.domain(guest.uuid));
    expect(metadata).toMatchObject({ entries: { project: "p <1>" }, tags: { switched: "uplink" } });
    await ended();
  });

  it("is refused a switch while others can't read its memory", T, async () => {
    const guest = await started({});
    const backend = { type: "vhostUser", socketPath: "/nonexistent", server: "switch", queues: 1 } as const;
    await expect(guest.attachNic(nic("late", 2, { backend }))).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    await ended();
  });

  it("lies in files of the directory that libvirt's configuration names", T, async () => {
    const memory = { backing: "file", directory: MEMORY_DIRECTORY, shared: true, preallocated: true } as const;
    const guest = await started({ machine: "pc", hardware: { memory, watchdog: { model: "ib700", action: "none" } } });
    expect(await ask(guest, "qom-get", { path: "/objects/pc.ram", property: "mem-path" })).toContain(MEMORY_DIRECTORY);
    expect(await devicesIn(guest)).toContain("ib700");
    await ended();
  });

  it("lies in huge pages", T, async (context) => {
    context.skip(hugePagesBefore === undefined, "this machine gives out no huge pages");
    const guest = await started({ hardware: { memory: { backing: "hugepages", hugepageKiB: 2048 } } });
    const path = await ask(guest, "qom-get", { path: "/objects/pc.ram", property: "mem-path" });
    expect(path).toContain(mounts.file("huge"));
    await ended();
  });
});

describe("a guest on ARM", () => {
  it("has UEFI, a TPM and an IOMMU", T, async () => {
    const guest = await started({
      machine: "virt",
      memoryMiB: 128,
      firmware: "uefi",
      disks: [disk("root", "vda", await lab.image("arm.img"))],
      hardware: { tpm: {} },
      platform: { libvirt: { iommu: { model: "smmuv3" } } },
    });
    expect(await devicesIn(guest)).toEqual(expect.arrayContaining(["tpm-tis-device", "arm-smmuv3"]));
    await ended();
  });
});

describe("a disk in a file that can't be opened past the page cache", () => {
  it("is written through it, from the start and plugged in, unless its tuning says another", T, async () => {
    const file = async (name: string): Promise<string> => {
      const path = join(mounts.path, "cached", name);
      await run(["truncate", "-s", "1M", path]);
      return path;
    };
    const wanted = disk("b", "vdb", await file("b"), { tuning: { cache: "unsafe" } });
    const guest = await started({ disks: [disk("a", "vda", await file("a"), { bootIndex: 0 }), wanted] });
    await guest.attachDisk(disk("c", "vdc", await lab.image("c.img")));
    const caches = async (): Promise<unknown> =>
      readDomain(await lab.domain(guest.uuid)).disks.map(({ id, xml }) => [id, xml.driver?.cache]);
    expect(await caches()).toEqual([
      ["a", "writethrough"],
      ["b", "unsafe"],
      ["c", "none"],
    ]);
    await ended();
  });
});

describe("tags and entries", () => {
  it("come and go with their devices, in memory and in the configuration", T, async () => {
    const guest = await started({
      nics: [nic("n", 1, { tag: "admin" })],
      metadata: { owner: "o" },
      hardware: { cpu: { pinning: { vcpus: [[0]] } } },
    });
    const tags = async (): Promise<unknown[]> =>
      Promise.all(
        (["live", "configured"] as const).map(
          async (where) => readDomain(await lab.domain(guest.uuid, where)).metadata?.tags,
        ),
      );
    expect(await tags()).toEqual(Array(2).fill({ n: "admin" }));
    await guest.attachDisk(disk("volume", "vdb", await lab.image("volume.img"), { tag: "data & more" }));
    expect(await tags()).toEqual(Array(2).fill({ n: "admin", volume: "data & more" }));
    const failing = disk("none", "vdc", "/nonexistent/image", { tag: "none" });
    await expect(guest.attachDisk(failing)).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED" });
    expect(await tags()).toEqual(Array(2).fill({ n: "admin", volume: "data & more" }));
    expect(readDomain(await lab.domain(guest.uuid)).metadata?.entries).toEqual({ owner: "o" });
    await guest.kill();
    expect(await guest.detachDisk("volume", { timeoutMs: 60_000 })).toBe("detached");
    expect((await tags())[1]).toEqual({ n: "admin" });
    await ended();
  });
});
