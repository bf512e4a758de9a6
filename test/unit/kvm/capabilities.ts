// What QEMU 7.2 as Debian builds it says of itself, as far as plans depend on it.
import type { QemuCapabilities } from "../../../src/kvm/plan/capabilities.js";

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
  commands: ["device_add", "device_del", "screendump"],
  devices: ["VGA", "e1000", "e1000e", "pvpanic", "rtl8139", "virtio-blk-pci", "virtio-net-pci", "vmxnet3"],
  accelerators: ["kvm", "tcg"],
  screenshotFormats: ["ppm", "png"],
};
