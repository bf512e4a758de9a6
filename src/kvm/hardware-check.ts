/** What of a definition's hardware a machine can have, a QEMU was built with, and a host has. Everything else is refused before anything is touched. */
import { InvalidArgumentError, NotSupportedError } from "../core/index.js";
import { checkHardwareFits } from "../driver/index.js";
import type { GuestDefinition, GuestHardware } from "../driver/index.js";
import { chooseFirmware } from "./firmware/firmware-descriptor.js";
import { builtInParts } from "./plan/built-in-parts.js";
import { machineNamed } from "./plan/capabilities.js";
import type { QemuCapabilities } from "./plan/capabilities.js";
import type { Accelerator } from "./plan/command-line.js";
import { SCSI_DRIVERS } from "./plan/devices.js";
import { extraArguments } from "./plan/extra-arguments.js";
import { videoDriver } from "./plan/graphics.js";
import { guestDeviceDriver } from "./plan/guest-devices.js";
import { soundDriver } from "./plan/peripherals.js";
import { TOPOLOGIES } from "./plan/topology.js";
import type { KvmMachine } from "./plan/topology.js";
import type { HostSupport } from "./probe/host-support.js";

/** Checks that the hardware goes together, and with the machine. @throws InvalidArgumentError, NotSupportedError */
export function checkHardware(definition: GuestDefinition, machine: KvmMachine): void {
  const { hardware, disks, vcpus, memoryMiB, cpuTopology, firmware, platform } = definition;
  const cells = hardware?.cpu?.numaCells;
  const drawn = cells?.reduce((sum, cell) => sum + cell.memoryMiB, 0);
  const frame = { vcpus, cpuTopology, firmware, memoryMiB: Math.min(memoryMiB, drawn ?? memoryMiB) };
  const tuned = disks.map(({ tuning, bus }, index) => ({ tuning, bus, path: `definition.disks[${index}].tuning` }));
  checkHardwareFits(hardware, frame, tuned, "definition.hardware");
  extraArguments(platform?.["kvm"], "definition.platform.kvm");
  checkFirmware(definition, machine);
  if (hardware === undefined) return;
  builtInParts(definition, TOPOLOGIES[machine]);
  checkMachine(hardware, machine);
}

function checkFirmware({ firmware, kernel, hardware }: GuestDefinition, machine: KvmMachine): void {
  if (firmware === "uefi" && machine === "microvm") throw unsupported("firmware uefi", machine);
  if (firmware === "bios" && machine === "virt" && kernel === undefined)
    throw invalid("firmware", firmware, "uefi, or a kernel: this machine has no BIOS");
  if (hardware?.uefi?.secureBoot === true && machine === "pc") throw unsupported("secure boot", machine);
}

function checkMachine(hardware: GuestHardware, machine: KvmMachine): void {
  const { isa, generationId } = TOPOLOGIES[machine];
  const { watchdog, extraSerialPorts = 0, sound, tpm, video, vnc, spice, cpu, memory } = hardware;
  if (watchdog?.model === "itco" && machine !== "q35") throw unsupported("watchdog itco", machine);
  if (watchdog?.model === "ib700" && !isa) throw unsupported("watchdog ib700", machine);
  if (extraSerialPorts > 0 && !isa) throw unsupported("extra serial ports", machine);
  if (sound?.model === "sb16" && !isa) throw unsupported("sound sb16", machine);
  if (tpm !== undefined && machine === "microvm") throw unsupported("a TPM", machine);
  if (tpm?.model === "crb" && machine === "virt") throw unsupported("a TPM of model crb", machine);
  if (hardware.generationId === true && !generationId) throw unsupported("a generation id", machine);
  if (machine !== "microvm") return;
  if (video !== undefined && video.model !== "none") throw unsupported("a graphics card", machine);
  if (vnc !== undefined || spice !== undefined) throw unsupported("a console with pictures", machine);
  if (cpu?.numaCells !== undefined) throw unsupported("NUMA nodes", machine);
  if (memory?.maxMiB !== undefined) throw unsupported("memory that is plugged", machine);
}

/** Checks the hardware against the QEMU and the host at hand. @throws NotSupportedError, InvalidArgumentError */
export function checkSupport(
  definition: GuestDefinition,
  machine: KvmMachine,
  capabilities: QemuCapabilities,
  accelerator: Accelerator,
  support: HostSupport,
): void {
  if (definition.firmware === "uefi") checkUefi(definition, machine, capabilities, support);
  const { hardware } = definition;
  for (const driver of driversOf(definition, machine)) {
    if (!capabilities.devices.includes(driver))
      throw new NotSupportedError({ capability: driver, message: `this QEMU is built without ${driver}` });
  }
  if (hardware === undefined) return;
  checkCpu(hardware, accelerator, support);
  checkHost(hardware, capabilities, support);
}

function checkUefi(
  definition: GuestDefinition,
  machine: KvmMachine,
  capabilities: QemuCapabilities,
  { firmware }: HostSupport,
): void {
  const { target } = capabilities;
  const machineType = machineNamed(capabilities, machine)?.name ?? machine;
  const uefi = definition.hardware?.uefi ?? {};
  if (chooseFirmware(firmware, { uefi, architecture: target, machineType }) !== undefined) return;
  const what = uefi.secureBoot === true ? "UEFI firmware with secure boot" : "UEFI firmware";
  throw new NotSupportedError({
    capability: "firmware uefi",
    message: `this host has no ${what} for a ${machine} machine; on Debian and Ubuntu it is in the package ${target === "aarch64" ? "qemu-efi-aarch64" : "ovmf"}`,
  });
}

/** QEMU's devices for what the definition asks for by name. */
function driversOf(definition: GuestDefinition, machine: KvmMachine): readonly string[] {
  const { hardware = {}, disks } = definition;
  const { video, sound, watchdog, tpm, vsock, filesystems = [], scsiController, generationId, devices = [] } = hardware;
  const drivers: (string | false | undefined)[] = [
    video !== undefined && videoDriver({ machine, definition }),
    sound !== undefined && soundDriver(sound.model),
    watchdog !== undefined && watchdog.model !== "itco" && watchdog.model,
    tpm !== undefined && (machine === "virt" ? "tpm-tis-device" : `tpm-${tpm.model ?? "crb"}`),
    vsock !== undefined && "vhost-vsock-pci",
    ...filesystems.map(({ driver }) => (driver === "9p" ? "virtio-9p-pci" : "vhost-user-fs-pci")),
    scsiController !== undefined && SCSI_DRIVERS[scsiController],
    generationId === true && "vmgenid",
    ...devices.map(guestDeviceDriver),
    ...disks.flatMap(({ bus }) => (bus === "nvme" ? ["nvme"] : bus === "fdc" ? ["floppy"] : [])),
  ];
  return drivers.filter((driver): driver is string => typeof driver === "string");
}

function checkCpu({ cpu = {}, clock }: GuestHardware, accelerator: Accelerator, { cpu: known }: HostSupport): void {
  const { mode, model, features = [] } = cpu;
  if (mode === "hostPassthrough" && accelerator !== "kvm") throw needsKvm("CPU mode hostPassthrough");
  if (clock?.hyperv === true && accelerator !== "kvm") throw needsKvm("clock.hyperv");
  if (mode === "hostModel" && known.nearest === undefined)
    throw new NotSupportedError({ capability: "CPU mode hostModel", message: "no named CPU model runs on this host" });
  if (model !== undefined && !known.models.some(({ name }) => name === model))
    throw new NotSupportedError({ capability: `CPU model ${model}`, message: `this QEMU has no CPU model ${model}` });
  const missing = features.find(({ name, policy }) => policy === "require" && !known.features.includes(name));
  if (missing !== undefined)
    throw new NotSupportedError({
      capability: `CPU feature ${missing.name}`,
      message: `guests on this host can't have the CPU feature ${missing.name} under ${accelerator}`,
    });
}

function needsKvm(capability: string): NotSupportedError {
  return new NotSupportedError({ capability, message: `${capability} needs KVM, which guests don't run under here` });
}

function checkHost(hardware: GuestHardware, { commands, objects }: QemuCapabilities, support: HostSupport): void {
  const { vnc, spice, tpm, filesystems = [], vsock, memory } = hardware;
  if (vnc !== undefined && !commands.includes("query-vnc")) throw built("VNC");
  if (spice !== undefined && !hasSpice({ objects })) throw built("SPICE");
  if (tpm !== undefined && !objects.includes("tpm-emulator")) throw built("TPM emulation");
  if (tpm !== undefined && support.helpers.swtpm === undefined) throw missing("swtpm", "swtpm");
  const served = filesystems.findIndex(({ driver }) => driver === "virtiofs");
  if (served >= 0 && support.helpers.virtiofsd === undefined) throw missing("virtiofsd", "virtiofsd");
  if (filesystems.some(({ driver, readOnly }) => driver === "virtiofs" && readOnly === true))
    throw new NotSupportedError({
      capability: "read-only virtiofs",
      message: "a file system over virtiofs can't be read-only here; one over 9p can",
    });
  if (vsock !== undefined && !support.vsock)
    throw new NotSupportedError({ capability: "vsock", message: "/dev/vhost-vsock can't be opened on this host" });
  checkPages(memory?.backing, memory?.hugepageKiB, support);
}

function checkPages(backing: string | undefined, sizeKiB: number | undefined, { hugepagesKiB }: HostSupport): void {
  if (backing !== "hugepages") return;
  if (hugepagesKiB.length > 0 && (sizeKiB === undefined || hugepagesKiB.includes(sizeKiB))) return;
  const size = sizeKiB === undefined ? "" : ` of ${sizeKiB} KiB`;
  throw new NotSupportedError({ capability: `huge pages${size}`, message: `this host has no huge pages${size}` });
}

/** SPICE is a module of QEMU's, which may not be installed. */
export function hasSpice({ objects }: Pick<QemuCapabilities, "objects">): boolean {
  return objects.includes("chardev-spicevmc");
}

function built(what: string): NotSupportedError {
  return new NotSupportedError({ capability: what, message: `this QEMU is built or installed without ${what}` });
}

function missing(program: string, packageName: string): NotSupportedError {
  return new NotSupportedError({
    capability: program,
    message: `${program} is not installed on this host; on Debian and Ubuntu it is in the package ${packageName}`,
  });
}

function unsupported(what: string, machine: KvmMachine): NotSupportedError {
  return new NotSupportedError({
    capability: `${what} on ${machine}`,
    message: `a ${machine} machine can't have ${what}`,
  });
}

function invalid(field: string, value: unknown, expected: string): InvalidArgumentError {
  return new InvalidArgumentError({ field: `definition.${field}`, value, expected });
}
