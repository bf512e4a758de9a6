import { describe, expect, it } from "vitest";
import type { GuestDefinition, GuestHardware } from "../../../src/driver/index.js";
import { checkDefinition, machineOf } from "../../../src/kvm/definition-check.js";
import { checkSupport } from "../../../src/kvm/hardware-check.js";
import type { QemuCapabilities } from "../../../src/kvm/plan/capabilities.js";
import type { HostSupport } from "../../../src/kvm/probe/host-support.js";
import { qemu72, qemuArm72, wholeHost } from "./capabilities.js";
import { definition, disk } from "./definitions.js";

interface Host {
  readonly capabilities?: QemuCapabilities;
  readonly support?: HostSupport;
}

function check(overrides: Partial<GuestDefinition>, { capabilities = qemu72, support = wholeHost }: Host = {}): void {
  const checked = checkDefinition(definition({ nics: [], ...overrides }), capabilities);
  checkSupport(checked, machineOf(checked, capabilities), capabilities, "tcg", support);
}

const refusal = (capability: string): unknown => expect.objectContaining({ code: "NOT_SUPPORTED", capability });
const kernel = { kernelPath: "/k" };
const bareHost: HostSupport = {
  cpu: { models: [], features: [] },
  firmware: [],
  helpers: {},
  vsock: false,
  hugepagesKiB: [],
};
const files = { tag: "a", path: "/a", driver: "virtiofs" } as const;

describe("hardware that a machine can't have", () => {
  it.each<[string, Partial<GuestDefinition>]>([
    ["watchdog itco on pc", { machine: "pc", hardware: { watchdog: { model: "itco", action: "none" } } }],
    ["secure boot on pc", { machine: "pc", firmware: "uefi", hardware: { uefi: { secureBoot: true } } }],
    ["firmware uefi on microvm", { machine: "microvm", kernel, firmware: "uefi" }],
    ["a TPM on microvm", { machine: "microvm", kernel, hardware: { tpm: {} } }],
    ["a graphics card on microvm", { machine: "microvm", kernel, hardware: { video: { model: "vga" } } }],
    ["extra serial ports on microvm", { machine: "microvm", kernel, hardware: { extraSerialPorts: 1 } }],
    ["a console with pictures on microvm", { machine: "microvm", kernel, hardware: { vnc: {} } }],
    ["memory that is plugged on microvm", { machine: "microvm", kernel, hardware: { memory: { maxMiB: 512 } } }],
    ["a generation id on microvm", { machine: "microvm", kernel, hardware: { generationId: true } }],
    ["nvme disks on microvm", { machine: "microvm", kernel, disks: [disk("a", { bus: "nvme" })] }],
  ])("is refused: %s", (capability, overrides) => {
    expect(() => check(overrides)).toThrow(refusal(capability));
  });

  it("is refused on a machine of another architecture, which has UEFI or a kernel", () => {
    const arm = { capabilities: qemuArm72 };
    expect(() => check({ disks: [] }, arm)).toThrow(/firmware/);
    expect(() => check({ disks: [], kernel }, arm)).not.toThrow();
    expect(() => check({ disks: [], kernel, hardware: { tpm: { model: "crb" } } }, arm)).toThrow(
      refusal("a TPM of model crb on virt"),
    );
    expect(() => check({ disks: [], kernel, hardware: { sound: { model: "sb16" } } }, arm)).toThrow(
      refusal("sound sb16 on virt"),
    );
  });
});

describe("hardware that QEMU or the host lacks", () => {
  it.each<[string, GuestHardware]>([
    ["firmware uefi", {}],
    ["swtpm", { tpm: {} }],
    ["virtiofsd", { filesystems: [files] }],
    ["vsock", { vsock: { cid: 3 } }],
    ["huge pages", { memory: { backing: "hugepages" } }],
    ["CPU mode hostModel", { cpu: { mode: "hostModel" } }],
    ["CPU model EPYC-Rome", { cpu: { mode: "custom", model: "EPYC-Rome" } }],
    ["CPU feature avx2", { cpu: { features: [{ name: "avx2", policy: "require" }] } }],
  ])("is refused on a host without it: %s", (capability, hardware) => {
    const firmware = capability === "firmware uefi" ? "uefi" : "bios";
    expect(() => check({ firmware, hardware })).not.toThrow(refusal(capability));
    expect(() => check({ firmware, hardware }, { support: bareHost })).toThrow(refusal(capability));
  });

  it("is refused with a QEMU that is built without it", () => {
    const capabilities = { ...qemu72, commands: [], devices: [], objects: [] };
    for (const [capability, hardware] of [
      ["VNC", { vnc: {} }],
      ["SPICE", { spice: {} }],
      ["qxl-vga", { video: { model: "qxl" } }],
      ["tpm-crb", { tpm: {} }],
      ["vhost-vsock-pci", { vsock: { cid: 3 } }],
      ["usb-host", { devices: [{ type: "usbHost", id: "a", vendorId: 1, productId: 1 }] }],
    ] as const)
      expect(() => check({ hardware }, { capabilities })).toThrow(refusal(capability));
  });

  it("is refused where KVM is needed, and where a file system can't be read-only", () => {
    expect(() => check({ hardware: { clock: { hyperv: true } } })).toThrow(refusal("clock.hyperv"));
    expect(() => check({ hardware: { filesystems: [{ ...files, readOnly: true }] } })).toThrow(
      refusal("read-only virtiofs"),
    );
  });
});

describe("NUMA cells of a guest that was given memory since", () => {
  const hardware = { cpu: { numaCells: [{ vcpus: [0], memoryMiB: 128 }] } };

  it("may have less than the guest, and no more", () => {
    expect(() => check({ memoryMiB: 256, hardware })).not.toThrow();
    expect(() => check({ memoryMiB: 64, hardware })).toThrow(/numaCells/);
  });
});
