/** One guest of each kind at least; what each is to libvirt stands in `plans`, for people to read. */
import { SECRET_UUID, definitionOf, diskOf, nicOf, second, withHardware } from "./plan-parts.js";
import type { PlanCase } from "./plan-parts.js";

const cdrom = diskOf({
  id: "config",
  deviceName: "sda",
  bus: "sata",
  deviceType: "cdrom",
  readOnly: true,
  source: { type: "file", format: "raw", path: "/srv/guests/config.iso" },
  bootIndex: 1,
});
const volume = second({
  id: "volume-7",
  source: { type: "block", format: "raw", path: "/dev/sdb" },
  serial: "volume-7",
  tag: "data",
});
const bridged = nicOf({ tag: "uplink", mtu: 1450 });

export const KIND_CASES: readonly PlanCase[] = [
  {
    name: "KVM",
    document: "kvm",
    virtType: "kvm",
    definition: definitionOf({
      disks: [diskOf(), volume, cdrom],
      nics: [bridged],
      metadata: { project: "p-1" },
      hardware: { vnc: { address: "127.0.0.1" }, cpu: { pinning: { vcpus: [[2], [3]] } } },
      platform: { libvirt: { guestSystem: "linux" } },
    }),
    options: { nvramPath: "/srv/guests/vars.fd", generationId: SECRET_UUID, spareRootPorts: 2 },
  },
  {
    name: "KVM with what Windows wants",
    document: "kvm-windows",
    virtType: "kvm",
    definition: definitionOf({
      machine: "q35",
      firmware: "uefi",
      disks: [diskOf({ bus: "sata", deviceName: "sda" })],
      nics: [nicOf({ model: "e1000e" })],
      hardware: {
        uefi: { secureBoot: true },
        tpm: {},
        cpu: { mode: "hostPassthrough" },
        memory: { backing: "hugepages", hugepageKiB: 2048 },
        video: { model: "qxl" },
        spice: { address: "::1" },
      },
      platform: { libvirt: { guestSystem: "windows", hideHypervisor: true, pmu: false } },
    }),
    options: { generationId: SECRET_UUID, spareRootPorts: 0 },
  },
  {
    name: "KVM with SEV",
    document: "kvm-sev",
    virtType: "kvm",
    definition: definitionOf({
      firmware: "uefi",
      kernel: { kernelPath: "/srv/vmlinuz", ramdiskPath: "/srv/initrd" },
      platform: { libvirt: { launchSecurity: { type: "sev", kernelHashes: true } } },
    }),
    options: { generationId: SECRET_UUID, spareRootPorts: 0 },
  },
  {
    name: "KVM with SEV-SNP",
    since: 10_005_000,
    virtType: "kvm",
    definition: definitionOf({
      firmware: "uefi",
      platform: { libvirt: { launchSecurity: { type: "sev-snp", policy: 0x3_0000 } } },
    }),
  },
  {
    name: "KVM, hyper-V by hand",
    virtType: "kvm",
    definition: withHardware({ clock: { hyperv: true, base: "utc" }, cpu: { mode: "hostPassthrough" } }),
  },
  {
    name: "QEMU on q35",
    document: "qemu-q35",
    virtType: "qemu",
    definition: definitionOf({ disks: [diskOf(), volume, cdrom], nics: [bridged] }),
    options: { generationId: SECRET_UUID, consoleLogPath: "/srv/guests/console.log", spareRootPorts: 1 },
  },
  {
    name: "QEMU on pc",
    document: "qemu-pc",
    virtType: "qemu",
    definition: withHardware(
      { watchdog: { model: "ib700", action: "reset" }, extraSerialPorts: 1, onReboot: "poweroff" },
      { machine: "pc", disks: [diskOf({ bus: "ide", deviceName: "hda" })], nics: [nicOf({ model: "rtl8139" })] },
    ),
    options: { generationId: SECRET_UUID },
  },
  {
    name: "QEMU on ARM",
    document: "qemu-virt",
    virtType: "qemu",
    definition: withHardware(
      { tpm: {} },
      { machine: "virt", firmware: "uefi", platform: { libvirt: { iommu: { model: "smmuv3" } } } },
    ),
    options: { spareRootPorts: 0 },
    schemaOnly: true,
  },
  {
    name: "a container",
    document: "lxc",
    virtType: "lxc",
    definition: definitionOf({
      disks: [diskOf(), second({ source: { type: "block", format: "raw", path: "/dev/loop7" } })],
      platform: { libvirt: { init: "/init", idMap: { firstUid: 100_000, firstGid: 100_000, count: 65_536 } } },
    }),
  },
  {
    name: "a container in a directory",
    virtType: "lxc",
    definition: definitionOf({ disks: [], hardware: { rng: false, cpu: { pinning: { vcpus: [[0], [1]] } } } }),
    options: { rootDirectory: "/srv/guests/root" },
  },
  {
    name: "Xen, fully virtual",
    document: "xen-hvm",
    virtType: "xen",
    definition: withHardware(
      { vnc: { address: "127.0.0.1" }, video: { model: "cirrus" } },
      { disks: [diskOf(), volume], nics: [nicOf({ model: "e1000", bootIndex: 2 })] },
    ),
  },
  {
    name: "Xen, paravirtual, with its own boot loader",
    document: "xen-pv",
    virtType: "xen",
    definition: definitionOf({ platform: { libvirt: { xen: "pv" } } }),
  },
  {
    name: "Xen, paravirtual, with a kernel",
    virtType: "xen",
    definition: definitionOf({
      kernel: { kernelPath: "/srv/vmlinuz", ramdiskPath: "/srv/initrd", commandLine: "ro" },
      platform: { libvirt: { xen: "pv" } },
    }),
  },
  {
    name: "Virtuozzo's virtual machine",
    document: "parallels-vm",
    virtType: "parallels",
    definition: definitionOf({
      disks: [
        diskOf({ bus: "scsi", deviceName: "sda", source: { type: "block", format: "raw", path: "/dev/sdb" } }),
        { ...cdrom, bus: "ide", deviceName: "hda" },
      ],
      nics: [nicOf({ bootIndex: 2 })],
      hardware: { vnc: { address: "127.0.0.1" } },
    }),
  },
  {
    name: "Virtuozzo's container",
    document: "parallels-ct",
    virtType: "parallels",
    definition: definitionOf({
      disks: [diskOf({ source: { type: "file", format: "raw", path: "/vz/images/root.hds" } })],
      platform: { libvirt: { parallels: "ct" } },
    }),
  },
  {
    name: "User Mode Linux",
    document: "uml",
    virtType: "uml",
    definition: definitionOf({
      disks: [
        diskOf({ source: { type: "file", format: "raw", path: "/srv/guests/root" } }),
        second({ source: { type: "file", format: "raw", path: "/srv/guests/second" } }),
      ],
    }),
  },
];
