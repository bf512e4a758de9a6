/** Guests of other hypervisors than QEMU: containers, Xen's, Virtuozzo's and User Mode Linux. Pure. */
import type { GuestCpu, GuestDefinition, GuestHardware } from "../../../driver/index.js";
import type { DiskSource } from "../../../storage/index.js";
import type { DomainXml, LibvirtXml } from "../../xml/index.js";
import { filesystemXml } from "../../xml/index.js";
import { defined } from "./defined.js";
import { BootOrder } from "./boot-order.js";
import { planCpu } from "./cpu.js";
import { planDisk } from "./disks.js";
import { kernelParts } from "./firmware.js";
import { planGraphics, planVideo } from "./graphics.js";
import { planInterface } from "./interfaces.js";
import { planMemory } from "./memory.js";
import type { DomainFamily, PlanContext } from "./plan-context.js";
import type { LibvirtPlatform } from "./platform.js";
import { invalid, unsupported } from "./refuse.js";

type Other = Exclude<DomainFamily, "qemu">;

/** Hardware that guests of a kind can have; all else is refused. */
const HARDWARE: { readonly [F in Other]: readonly (keyof GuestHardware)[] } = {
  lxc: ["cpu"],
  xenHvm: ["cpu", "video", "vnc", "clock", "onReboot"],
  xenPv: ["cpu", "vnc", "clock", "onReboot"],
  parallels: ["cpu", "vnc"],
  parallelsCt: ["cpu"],
  uml: [],
};
/** Where User Mode Linux has its kernel when nobody names one. */
const UML_KERNEL = "/usr/bin/linux";
const ROOT_DISK = "root";
const RESCUE_DISK = "rescue";
const INIT = "/sbin/init";
/** Where a container that is rescued finds its own root. */
const OWN_ROOT = "/mnt";
/** Room for the name of a loop device's file in Linux, less the end of the text. */
const MAX_LOOP_PATH = 63;
/** Kinds whose root is a file system of the host, not a disk. */
const CONTAINERS: readonly DomainFamily[] = ["lxc", "parallelsCt"];

/** The parts of a domain that are its kind's own. @throws NotSupportedError, InvalidArgumentError */
export function otherDomain(context: PlanContext, family: Other): DomainXml {
  checkHardware(context, family);
  const { definition, hardware } = context;
  if (definition.firmware === "uefi") throw unsupported("firmware", "only QEMU guests have UEFI");
  return defined<DomainXml>({
    ...planMemory(context),
    ...planCpu(context),
    bootloader: family === "xenPv" && definition.kernel === undefined ? "pygrub" : undefined,
    os: osOf(context, family),
    idmap: family === "lxc" ? idMap(context) : undefined,
    features: family === "xenHvm" ? { acpi: true, apic: {}, pae: true } : undefined,
    clock: { offset: hardware.clock?.base ?? "utc" },
    on_poweroff: "destroy",
    on_reboot: hardware.onReboot === "poweroff" ? "destroy" : "restart",
    on_crash: "destroy",
    devices: devicesOf(context, family),
  });
}

/** Of `platform.libvirt`. */
const QEMU_ALONE = [
  "iommu",
  "launchSecurity",
  "perfEvents",
  "hideHypervisor",
  "pmu",
  "translationCacheMiB",
  "statelessFirmware",
] as const;

function checkHardware({ hardware, platform, host }: PlanContext, family: Other): void {
  for (const [name, value] of Object.entries(hardware))
    if (value !== undefined && value !== false && !(HARDWARE[family] as readonly string[]).includes(name))
      throw unsupported(`hardware.${name}`, `libvirt's ${host.virtType} guests have none`);
  const { pinning, maxVcpus, ...rest } = hardware.cpu ?? {};
  const [left] = Object.keys(rest);
  if (left !== undefined)
    throw unsupported(`hardware.cpu.${left}`, `libvirt's ${host.virtType} guests have no CPU models`);
  if (maxVcpus !== undefined && CONTAINERS.includes(family))
    throw unsupported("hardware.cpu.maxVcpus", "containers have no CPUs");
  if (isVirtuozzo(family)) refuseForVirtuozzo(hardware.cpu ?? {}, platform);
  if (pinning?.ioThreads !== undefined)
    throw unsupported("hardware.cpu.pinning.ioThreads", "only QEMU guests have them");
  if (hardware.clock?.hyperv === true) throw unsupported("hardware.clock.hyperv", "only QEMU guests have it");
  for (const name of QEMU_ALONE)
    if (platform[name] !== undefined) throw unsupported(`platform.libvirt.${name}`, "only QEMU guests have it");
}

/** Its guests have all the CPUs of the host, and those that they begin with. */
function refuseForVirtuozzo({ pinning, maxVcpus }: GuestCpu, platform: LibvirtPlatform): void {
  if (pinning !== undefined) throw unsupported("hardware.cpu.pinning", "Virtuozzo pins no single vCPUs");
  if (maxVcpus !== undefined) throw unsupported("hardware.cpu.maxVcpus", "Virtuozzo's guests are given no more vCPUs");
  for (const name of ["cpuShares", "cpuPeriod", "cpuQuota"] as const)
    if (platform[name] !== undefined) throw unsupported(`platform.libvirt.${name}`, "Virtuozzo's libvirt has none");
}

function osOf(context: PlanContext, family: Other): LibvirtXml.DomainOs | undefined {
  const { definition, guest, platform } = context;
  const kernel = kernelParts(context);
  switch (family) {
    case "lxc":
      if (definition.kernel !== undefined) throw unsupported("kernel", "containers have none of their own");
      return { type: { arch: guest.arch, $text: "exe" }, init: platform.init ?? INIT };
    case "parallelsCt":
      if (definition.kernel !== undefined) throw unsupported("kernel", "containers have none of their own");
      if ((platform.init ?? INIT) !== INIT)
        throw unsupported("platform.libvirt.init", `Virtuozzo's containers begin with ${INIT}`);
      return { type: { arch: guest.arch, $text: "exe" }, init: INIT };
    case "xenPv":
      return {
        type: { arch: guest.arch, machine: "xenpv", $text: "linux" },
        ...kernel,
        ...(definition.kernel === undefined ? {} : { root: "/dev/xvda" }),
      };
    case "xenHvm":
      return defined<LibvirtXml.DomainOs>({
        type: { arch: guest.arch, machine: "xenfv", $text: "hvm" },
        ...kernel,
        loader: guest.loader === undefined ? undefined : { type: "rom", $text: guest.loader },
        boot: definition.kernel === undefined ? bootDevices(context) : undefined,
      });
    case "parallels":
      if (definition.kernel !== undefined) throw unsupported("kernel", "Virtuozzo's guests boot from disks");
      return { type: { arch: guest.arch, $text: "hvm" }, boot: bootDevices(context) };
    case "uml":
      return { type: { $text: "uml" }, kernel: UML_KERNEL, ...kernel, root: "/dev/ubda" };
  }
}

/** It has its own, and takes no other word of it. */
function isVirtuozzo(family: Other): boolean {
  return family === "parallels" || family === "parallelsCt";
}

/** Here devices have no order of their own: kinds of them have. */
function bootDevices({ definition }: PlanContext): readonly LibvirtXml.DomainOsBoot[] {
  const { disks, nics } = definition;
  const ordered = [
    ...disks.map(({ bootIndex, deviceType }) => ({ bootIndex, dev: deviceType === "cdrom" ? "cdrom" : "hd" })),
    ...nics.map(({ bootIndex }) => ({ bootIndex, dev: "network" })),
  ];
  const chosen = ordered.filter(({ bootIndex }) => bootIndex !== undefined);
  chosen.sort((a, b) => (a.bootIndex ?? 0) - (b.bootIndex ?? 0));
  const kinds = [...new Set(chosen.map(({ dev }) => dev))];
  return (kinds.length === 0 ? ["hd"] : kinds).map((dev) => ({ dev }));
}

function idMap({ platform }: PlanContext): LibvirtXml.DomainIdmap | undefined {
  if (platform.idMap === undefined) return undefined;
  const { firstUid, firstGid, count } = platform.idMap;
  return { uid: [{ start: 0, target: firstUid, count }], gid: [{ start: 0, target: firstGid, count }] };
}

function devicesOf(context: PlanContext, family: Other): LibvirtXml.DomainDevices {
  const { definition, guest } = context;
  const boot = new BootOrder(definition);
  const disks = definition.disks.map((disk, index) => ({ disk, field: `disks[${index}]` }));
  const roots = CONTAINERS.includes(family) ? containerDisks(definition).map(({ id }) => id) : [];
  const isRoot = (id: string): boolean => roots.includes(id);
  const others = disks.filter(({ disk }) => !isRoot(disk.id));
  const graphics = family === "lxc" || family === "uml" ? undefined : planGraphics(context);
  return defined<LibvirtXml.DomainDevices>({
    emulator: isVirtuozzo(family) ? undefined : guest.emulator,
    disk: others.map(({ disk, field }) => planDisk(context, disk, boot, field)),
    filesystem: CONTAINERS.includes(family) ? containerRoots(context) : undefined,
    interface: definition.nics.map((nic, index) => planInterface(context, nic, boot, `nics[${index}]`)),
    graphics,
    video: family === "xenHvm" ? planVideo(context) : undefined,
    console: isVirtuozzo(family) ? undefined : [consoleOf(family)],
  });
}

function consoleOf(family: Other): LibvirtXml.DomainConsole {
  if (family === "xenPv") return { type: "pty", target: { type: "xen", port: "0" } };
  if (family === "lxc") return { type: "pty", target: { type: "lxc", port: "0" } };
  return { type: "pty", target: { type: "serial", port: "0" } };
}

/** A guest that is rescued runs on another disk, and finds its own where it can be mended. */
function containerDisks({ disks }: GuestDefinition): readonly { readonly id: string; readonly target: string }[] {
  if (!disks.some(({ id }) => id === RESCUE_DISK)) return [{ id: ROOT_DISK, target: "/" }];
  const own = disks.some(({ id }) => id === ROOT_DISK) ? [{ id: ROOT_DISK, target: OWN_ROOT }] : [];
  return [{ id: RESCUE_DISK, target: "/" }, ...own];
}

/** What a container has for its root: a directory where somebody has mounted it, else the root disk, which libvirt mounts. */
function containerRoots(context: PlanContext): readonly LibvirtXml.DomainFilesystem[] {
  const { definition, options } = context;
  if (options.rootDirectory !== undefined)
    return [filesystemXml({ source: { directory: options.rootDirectory }, target: "/" })];
  return containerDisks(definition).map(({ id, target }) => containerRoot(context, id, target));
}

/** Virtuozzo's own format, whatever a file's is called. */
function virtuozzoRoot(source: DiskSource, target: string, field: string): LibvirtXml.DomainFilesystem {
  if (source.type !== "file") throw unsupported(field, "a Virtuozzo container's root is a file of its own format");
  return {
    type: "file",
    accessmode: "passthrough",
    driver: { type: "ploop", format: "ploop" },
    source: { file: source.path },
    target: { dir: target },
  };
}

function containerRoot(
  { definition, options, family }: PlanContext,
  diskId: string,
  target: string,
): LibvirtXml.DomainFilesystem {
  const index = definition.disks.findIndex(({ id }) => id === diskId);
  const root = definition.disks[index];
  const field = `disks[${Math.max(index, 0)}].source`;
  const source = root?.source;
  if (source === undefined) throw invalid(field, undefined, "a root disk: a container has to have a root");
  if (source.encryption !== undefined) throw unsupported(`${field}.encryption`, "containers' disks are not encrypted");
  if (family === "parallelsCt") return virtuozzoRoot(source, target, field);
  if (source.type === "file") {
    const { containerFiles = {} } = options;
    const file = (Object.hasOwn(containerFiles, diskId) ? containerFiles[diskId] : undefined) ?? source.path;
    if (Buffer.byteLength(file) > MAX_LOOP_PATH)
      throw unsupported(
        `${field}.path`,
        `libvirt takes no paths of more than ${MAX_LOOP_PATH} bytes for containers' files`,
      );
    const driver = source.format === "raw" ? { type: "loop", format: "raw" } : { type: "nbd", format: source.format };
    return defined<LibvirtXml.DomainFilesystem>({
      type: "file",
      driver,
      source: { file },
      target: { dir: target },
      readonly: root?.readOnly === true ? true : undefined,
    });
  }
  if (source.type === "block" && source.format === "raw")
    return defined<LibvirtXml.DomainFilesystem>({
      ...filesystemXml({ source: { block: source.path }, target }),
      readonly: root?.readOnly === true ? true : undefined,
    });
  throw unsupported(field, "a container's root is a file, a raw block device or a directory");
}
