/** What definitions and hosts in the planner's tests are made of. */
import type { GuestDefinition, GuestDisk, GuestHardware, GuestNic } from "../../../../src/driver/index.js";
import { libvirtHostFacts } from "../../../../src/libvirt/driver/plan/index.js";
import type { DomainPlanOptions, LibvirtHostFacts, VirtType } from "../../../../src/libvirt/driver/plan/index.js";
import { parseCapabilitiesXml } from "../../../../src/libvirt/index.js";
import type { DiskSource } from "../../../../src/storage/index.js";

export const UUID = "0f5bd3c5-3d1a-4d25-8bd4-61ea4cb14d1e";
export const SECRET_UUID = "5a0d3c43-3f7c-4f8a-9d0c-4a2f7d5f3b11";

export interface PlanCase {
  readonly name: string;
  readonly virtType: VirtType;
  readonly definition: GuestDefinition;
  readonly options?: DomainPlanOptions;
  /** libvirt needs what this machine may not have for it: KVM, swtpm, huge pages. Held against the schemas alone. */
  readonly schemaOnly?: boolean;
  /** The first libvirt that has it. */
  readonly since?: number;
  /** Name of the document in `plans` that it is to be. */
  readonly document?: string;
}

/** A host that has everything, with nothing said of what it lacks. */
export function factsOf(virtType: VirtType, changes: Partial<LibvirtHostFacts> = {}): LibvirtHostFacts {
  const machines = "<machine canonical='pc-q35-9.2'>q35</machine><machine canonical='pc-i440fx-9.2'>pc</machine>";
  const kinds: Record<VirtType, string> = {
    kvm: guestXml("hvm", "kvm", machines),
    qemu: guestXml("hvm", "qemu", machines) + guestXml("hvm", "qemu", "<machine>virt</machine>", "aarch64"),
    lxc: guestXml("exe", "lxc"),
    xen: guestXml("hvm", "xen", "<loader>/usr/lib/xen/boot/hvmloader</loader>") + guestXml("xen", "xen"),
    parallels: guestXml("hvm", "vz") + guestXml("exe", "vz"),
    uml: guestXml("uml", "uml"),
  };
  const pages = "<pages unit='KiB' size='4'/><pages unit='KiB' size='2048'/>";
  const text = `<capabilities><host><uuid>${UUID}</uuid><cpu><arch>x86_64</arch>${pages}</cpu></host>${kinds[virtType]}</capabilities>`;
  const capabilities = parseCapabilitiesXml(text);
  return { ...libvirtHostFacts({ virtType, libvirtVersion: 11_003_000, capabilities }), ...changes };
}

function guestXml(osType: string, domain: string, inner = "", arch = "x86_64"): string {
  const emulators: Readonly<Record<string, string>> = {
    lxc: "/usr/lib/libvirt/libvirt_lxc",
    xen: "/usr/lib/xen/bin/qemu-system-i386",
    kvm: `/usr/bin/qemu-system-${arch}`,
    qemu: `/usr/bin/qemu-system-${arch}`,
  };
  const emulator = emulators[domain] === undefined ? "" : `<emulator>${emulators[domain]}</emulator>`;
  return `<guest><os_type>${osType}</os_type><arch name='${arch}'><wordsize>64</wordsize>${emulator}${inner}<domain type='${domain}'/></arch></guest>`;
}

export function fileSource(name: string): DiskSource {
  return { type: "file", format: "qcow2", path: `/srv/guests/${name}.qcow2` };
}

export function diskOf(changes: Partial<GuestDisk> = {}): GuestDisk {
  return {
    id: "root",
    source: fileSource("root"),
    bus: "virtio",
    deviceType: "disk",
    deviceName: "vda",
    readOnly: false,
    shareable: false,
    bootIndex: 0,
    ...changes,
  };
}

export function nicOf(changes: Partial<GuestNic> = {}): GuestNic {
  return {
    id: "1b3d6c62-7a5f-4c58-8f7a-6f2f3f9f0001",
    macAddress: "52:54:00:00:00:01",
    model: "virtio",
    backend: { type: "tap", deviceName: "tap1b3d6c62-7a", bridge: "br0", queues: 1 },
    queues: 1,
    ...changes,
  };
}

export function definitionOf(changes: Partial<GuestDefinition> = {}): GuestDefinition {
  return {
    uuid: UUID,
    name: "instance-1",
    vcpus: 2,
    memoryMiB: 512,
    firmware: "bios",
    disks: [diskOf()],
    nics: [nicOf()],
    guestAgent: true,
    ...changes,
  };
}

export const withHardware = (hardware: GuestHardware, changes: Partial<GuestDefinition> = {}): GuestDefinition =>
  definitionOf({ ...changes, hardware });

/** A disk beside the root disk. */
export const second = (changes: Partial<GuestDisk>): GuestDisk => {
  const { bootIndex: _bootIndex, ...disk } = diskOf({ id: "second", deviceName: "vdb" });
  return { ...disk, ...changes };
};
