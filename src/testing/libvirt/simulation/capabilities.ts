/** The documents by which a simulated host says what it can. */
import { formatCapabilitiesXml, formatDomainCapabilitiesXml } from "../../../libvirt/xml/index.js";
import type { CapabilitiesXml, DomainCapabilitiesXml } from "../../../libvirt/xml/index.js";
import { getCpuModels, hostCpu } from "./host-cpu.js";
import type { HostState } from "./host-state.js";
import { refusal } from "./refuse.js";

const EMULATOR = "/usr/bin/qemu-system-x86_64";
const MACHINES = { "pc-q35-7.2": 288, "pc-i440fx-7.2": 255, microvm: 288 } as const;
const ALIASES: Readonly<Record<string, keyof typeof MACHINES>> = { q35: "pc-q35-7.2", pc: "pc-i440fx-7.2" };

/** `<capabilities>`. */
export function capabilitiesXml(host: HostState): string {
  const { hardware } = host;
  const { model, vendor, features } = hostCpu(hardware);
  const cpus = Array.from({ length: hardware.cpus }, (_, id) => ({
    id,
    socket_id: 0,
    die_id: 0,
    ...(host.release.hasClusters ? { cluster_id: 0 } : {}),
    core_id: id,
    siblings: String(id),
  }));
  const document: CapabilitiesXml = {
    host: {
      uuid: "5f2b8c46-0f3a-4c52-9b1e-6d8a7c4e2f10",
      cpu: {
        arch: "x86_64",
        model,
        vendor,
        topology: { sockets: 1, dies: 1, cores: hardware.cpus, threads: 1 },
        feature: features.map((name) => ({ name })),
        pages: [
          { unit: "KiB", size: 4 },
          { unit: "KiB", size: 2048 },
        ],
      },
      power_management: {},
      iommu: { support: "no" },
      migration_features: {
        live: true,
        uri_transports: { uri_transport: ["tcp", "rdma"] },
      },
      topology: {
        cells: {
          num: 1,
          cell: [
            {
              id: 0,
              memory: { unit: "KiB", $text: hardware.memoryKiB },
              cpus: { num: hardware.cpus, cpu: cpus },
            },
          ],
        },
      },
      secmodel: [{ model: "none", doi: "0" }],
    },
    guest: [
      {
        os_type: "hvm",
        arch: {
          name: "x86_64",
          wordsize: "64",
          emulator: EMULATOR,
          machine: [
            ...Object.entries(MACHINES).map(([name, maxCpus]) => ({ maxCpus, $text: name })),
            ...Object.entries(ALIASES).map(([alias, name]) => ({
              canonical: name,
              maxCpus: MACHINES[name],
              $text: alias,
            })),
          ],
          domain: [{ type: "qemu" }, { type: "kvm" }],
        },
        features: {
          acpi: { default: "on", toggle: "yes" },
          apic: { default: "on", toggle: "no" },
          cpuselection: true,
          deviceboot: true,
          disksnapshot: { default: "on", toggle: "no" },
        },
      },
    ],
  };
  return formatCapabilitiesXml(document);
}

export interface DomainCapabilitiesQuestion {
  readonly machine: string | undefined;
  readonly virttype: string | undefined;
  readonly arch: string | undefined;
  readonly emulatorbin: string | undefined;
}

/** `<domainCapabilities>`. @throws FakeLibvirtError for what the simulated QEMU does not have */
export function domainCapabilitiesXml(host: HostState, question: DomainCapabilitiesQuestion): string {
  const { machine = "pc", virttype = "kvm", arch = "x86_64", emulatorbin = EMULATOR } = question;
  const canonical = ALIASES[machine] ?? machine;
  if (arch !== "x86_64")
    throw refusal("invalidArg", "qemu", `unable to find any emulator to serve '${arch}' architecture`);
  if (virttype !== "kvm" && virttype !== "qemu") throw refusal("invalidArg", "qemu", `unknown virttype: ${virttype}`);
  if (!Object.hasOwn(MACHINES, canonical))
    throw refusal("invalidArg", "qemu", `the machine '${machine}' is not supported by emulator '${emulatorbin}'`);
  const { model, vendor, features } = hostCpu(host.hardware);
  const choice = (name: string, value: readonly string[]) => ({ name, value });
  const document: DomainCapabilitiesXml = {
    path: emulatorbin,
    domain: virttype,
    machine: canonical,
    arch,
    vcpu: { max: MACHINES[canonical as keyof typeof MACHINES] },
    iothreads: { supported: "yes" },
    os: {
      supported: "yes",
      enum: [choice("firmware", ["efi"])],
      loader: {
        supported: "yes",
        value: ["/usr/share/OVMF/OVMF_CODE_4M.fd"],
        enum: [choice("type", ["rom", "pflash"]), choice("readonly", ["yes", "no"]), choice("secure", ["no"])],
      },
    },
    cpu: {
      mode: [
        { name: "host-passthrough", supported: "yes", enum: [choice("hostPassthroughMigratable", ["on", "off"])] },
        { name: "maximum", supported: "yes", enum: [choice("maximumMigratable", ["on", "off"])] },
        {
          name: "host-model",
          supported: "yes",
          model: [{ fallback: "forbid", $text: model }],
          vendor,
          feature: features.map((name) => ({ policy: "require", name })),
        },
        {
          name: "custom",
          supported: "yes",
          model: getCpuModels().map((name) => ({ usable: "yes", vendor: "Intel", $text: name })),
        },
      ],
    },
    memoryBacking: { supported: "yes", enum: [choice("sourceType", ["file", "anonymous", "memfd"])] },
    devices: {
      disk: {
        supported: "yes",
        enum: [
          choice("diskDevice", ["disk", "cdrom", "floppy", "lun"]),
          choice("bus", ["fdc", "scsi", "virtio", "usb", "sata"]),
          choice("model", ["virtio", "virtio-transitional", "virtio-non-transitional"]),
        ],
      },
      graphics: { supported: "yes", enum: [choice("type", ["vnc", "spice", "egl-headless"])] },
      video: { supported: "yes", enum: [choice("modelType", ["vga", "virtio", "none", "bochs"])] },
      hostdev: {
        supported: "yes",
        enum: [
          choice("mode", ["subsystem"]),
          choice("startupPolicy", ["default", "mandatory", "requisite", "optional"]),
          choice("subsysType", ["usb", "pci", "scsi"]),
          choice("capsType", []),
          choice("pciBackend", ["default", "vfio"]),
        ],
      },
      rng: { supported: "yes", enum: [choice("model", ["virtio"]), choice("backendModel", ["random", "builtin"])] },
    },
    features: {
      gic: { supported: "no" },
      vmcoreinfo: { supported: "yes" },
      genid: { supported: "yes" },
      backingStoreInput: { supported: "yes" },
      backup: { supported: "yes" },
      sev: { supported: "no" },
    },
  };
  return formatDomainCapabilitiesXml(document);
}
