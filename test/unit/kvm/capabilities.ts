// What QEMU 7.2 as Debian builds it, and a host that has everything, say of themselves, as far as plans depend on it.
import type { QemuCapabilities } from "../../../src/kvm/plan/capabilities.js";
import type { HostSupport } from "../../../src/kvm/probe/host-support.js";

const words = (...lines: readonly string[]): readonly string[] => lines.flatMap((line) => line.split(" ")).sort();

export const qemu72: QemuCapabilities = {
  version: { major: 7, minor: 2, micro: 22 },
  package: "Debian 1:7.2+dfsg-7",
  target: "x86_64",
  machines: [
    { name: "pc-q35-7.2", alias: "q35", cpuMax: 288 },
    { name: "pc-i440fx-7.2", alias: "pc", cpuMax: 255 },
    { name: "microvm", cpuMax: 288 },
    { name: "none", cpuMax: 1 },
  ],
  commands: ["device_add", "device_del", "query-spice", "query-vnc", "screendump"],
  devices: words(
    "AC97 ES1370 VGA bochs-display cirrus-vga e1000 e1000e floppy i6300esb ib700 ich9-intel-hda intel-hda isa-fdc lsi53c895a megasas-gen2 nvme",
    "pvpanic pvscsi qxl-vga ramfb rtl8139 sb16 tpm-crb tpm-tis usb-audio usb-host usb-kbd usb-mouse usb-tablet vfio-pci vhost-user-fs-pci",
    "vhost-vsock-pci virtio-9p-pci virtio-blk-pci virtio-net-pci virtio-scsi-pci virtio-vga vmgenid vmxnet3",
  ),
  objects: ["chardev-spicevmc", "memory-backend-memfd", "tpm-emulator"],
  accelerators: ["kvm", "tcg"],
  screenshotFormats: ["ppm", "png"],
  deviceProperties: {},
  migrationCapabilities: ["multifd", "postcopy-ram", "xbzrle"],
};

export const qemuArm72: QemuCapabilities = {
  ...qemu72,
  target: "aarch64",
  machines: [
    { name: "virt-7.2", alias: "virt", cpuMax: 512 },
    { name: "none", cpuMax: 1 },
  ],
  devices: words(
    "nvme qxl ramfb tpm-tis-device usb-kbd usb-tablet vhost-user-fs-pci virtio-9p-pci virtio-blk-pci virtio-gpu-pci virtio-net-pci virtio-scsi-pci",
  ),
};

const flash = (architecture: string, machines: readonly string[], name: string, features: readonly string[] = []) =>
  ({
    architecture,
    machines,
    features,
    codePath: `/firmware/${name}-code.fd`,
    codeFormat: "raw",
    templatePath: `/firmware/${name}-variables.fd`,
    variablesFormat: "raw",
  }) as const;

export const wholeHost: HostSupport = {
  cpu: {
    models: [
      { name: "EPYC-Rome", runnable: true },
      { name: "Nehalem", runnable: true },
      { name: "cortex-a57", runnable: true },
      { name: "qemu64", runnable: true },
    ],
    nearest: "EPYC-Rome-v2",
    features: ["aes", "avx2", "sse4.2"],
  },
  firmware: [
    flash("x86_64", ["pc-q35-*"], "signed", ["enrolled-keys", "requires-smm", "secure-boot"]),
    flash("x86_64", ["pc-i440fx-*", "pc-q35-*"], "plain"),
    flash("aarch64", ["virt-*"], "arm"),
  ],
  helpers: { swtpm: "/usr/bin/swtpm", virtiofsd: "/usr/lib/qemu/virtiofsd" },
  vsock: true,
  hugepagesKiB: [2048, 1_048_576],
};
