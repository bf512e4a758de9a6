/** How a QEMU guest boots: firmware, its variables, kernel, boot menu. Pure. */
import type { DomainXml, LibvirtXml } from "../../xml/index.js";
import { defined } from "./defined.js";
import type { PlanContext } from "./plan-context.js";
import { invalid, unsupported } from "./refuse.js";

/** The element `<os>` of a QEMU guest. */
export function planBoot(context: PlanContext): LibvirtXml.DomainOs {
  const { definition, hardware, guest, machine, machineType } = context;
  const { kernel, disks, nics } = definition;
  const { bootMenuMs = 0, smbios } = hardware;
  if (definition.firmware === "bios" && context.platform.statelessFirmware === true)
    throw invalid("platform.libvirt.statelessFirmware", true, "absent, but for firmware uefi");
  if (definition.firmware === "bios" && machine === "virt" && kernel === undefined)
    throw unsupported("firmware", "this machine has no BIOS: uefi, or a kernel");
  const ordered = [...disks, ...nics].some(({ bootIndex }) => bootIndex !== undefined);
  return defined<LibvirtXml.DomainOs>({
    ...(definition.firmware === "uefi" ? uefi(context) : {}),
    type: defined<LibvirtXml.DomainOsType>({ arch: guest.arch, machine: machineType, $text: "hvm" }),
    ...kernelParts(context),
    boot: ordered || kernel !== undefined || disks.length === 0 ? undefined : [{ dev: "hd" }],
    bootmenu: bootMenuMs > 0 ? { enable: "yes", timeout: bootMenuMs } : undefined,
    smbios: smbios !== undefined || machine !== undefined ? { mode: "sysinfo" } : undefined,
  });
}

/** Kernel, initial RAM disk and command line. */
export function kernelParts({ definition }: PlanContext): Pick<LibvirtXml.DomainOs, "kernel" | "initrd" | "cmdline"> {
  const { kernel } = definition;
  if (kernel === undefined) return {};
  const { kernelPath, ramdiskPath: initrd, commandLine: cmdline } = kernel;
  return defined({ kernel: kernelPath, initrd, cmdline: cmdline === "" ? undefined : cmdline });
}

function uefi({ hardware, options, facts, machine, platform }: PlanContext): Partial<LibvirtXml.DomainOs> {
  const { secureBoot = false, codePath, variablesTemplatePath } = hardware.uefi ?? {};
  if (secureBoot && machine !== "q35")
    throw unsupported("hardware.uefi.secureBoot", `a ${machine} machine can't have it`);
  if (secureBoot && facts?.secureBoot === false)
    throw unsupported("hardware.uefi.secureBoot", "this host has no UEFI firmware with secure boot");
  const { nvramPath } = options;
  const { statelessFirmware: stateless = false } = platform;
  if (stateless && (codePath !== undefined || secureBoot))
    throw invalid("platform.libvirt.statelessFirmware", stateless, "absent with secure boot or firmware of one's own");
  if (codePath !== undefined) {
    return {
      loader: defined<LibvirtXml.DomainOsLoader>({
        readonly: "yes",
        secure: secureBoot ? "yes" : undefined,
        type: "pflash",
        $text: codePath,
      }),
      nvram: defined<LibvirtXml.DomainOsNvram>({ template: variablesTemplatePath, $text: nvramPath }),
    };
  }
  if (facts?.firmwares.includes("efi") === false)
    throw unsupported("firmware", "this host's libvirt finds no UEFI firmware");
  const enabled = secureBoot ? "yes" : "no";
  return {
    firmware: "efi",
    $firmware: {
      feature: [
        { enabled, name: "enrolled-keys" },
        { enabled, name: "secure-boot" },
      ],
    },
    ...(stateless ? { loader: { stateless: "yes" } } : {}),
    ...(nvramPath === undefined || stateless ? {} : { nvram: { $text: nvramPath } }),
  };
}

/** What the guest reads as its maker's data. */
export function planSysinfo({ definition, hardware, options }: PlanContext): DomainXml["sysinfo"] {
  const { bios, system, baseBoard, chassis, oemStrings } = hardware.smbios ?? {};
  const { machineSerial: serial = definition.uuid } = options;
  const chosen = { ...(serial === false ? {} : { serial }), ...system };
  return [
    defined<LibvirtXml.DomainSysinfo>({
      type: "smbios",
      bios: bios === undefined ? undefined : entries(bios),
      system: entries(chosen),
      baseBoard: [baseBoard ?? {}].map(entries).filter((board) => board !== undefined),
      chassis: chassis === undefined ? undefined : entries(chassis),
      oemStrings: oemStrings === undefined || oemStrings.length === 0 ? undefined : { entry: oemStrings },
    }),
  ];
}

function entries<K extends string>(
  values: Readonly<Partial<Record<K, string>>>,
): { entry: { name: K; $text: string }[] } | undefined {
  const list = (Object.entries(values) as [K, string | undefined][]).flatMap(([name, $text]) =>
    $text === undefined ? [] : [{ name, $text }],
  );
  return list.length === 0 ? undefined : { entry: list };
}
