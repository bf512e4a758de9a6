/** A Ganeti guest as a definition that this driver runs. Pure. */
import { InvalidArgumentError, check } from "../../core/index.js";
import type { CpuTopology, GuestDefinition } from "../../driver/index.js";
import { importDisks, importNics } from "./import-devices.js";
import type { NicImport } from "./import-devices.js";
import { importHardware } from "./import-hardware.js";
import { Parameters } from "./parameters.js";
import type { ImportNotes } from "./parameters.js";
import type { GanetiRuntime } from "./runtime.js";
import { corrupt } from "./runtime-text.js";

export interface GanetiImportOptions extends NicImport {
  /** Default: as on the command line. */
  readonly uuid?: string;
  /** Default: as on the command line. Ganeti's names are host names, which may be longer than 63 characters: give one then. */
  readonly name?: string;
}

export interface GanetiImport {
  readonly definition: GuestDefinition;
  /** What could not be taken over as it was. */
  readonly notes: readonly string[];
}

/**
 * What Ganeti ran, as our definition. Secrets are not in a runtime file: set console passwords anew.
 * @throws InvalidArgumentError for a uuid or name that is missing or none; StateCorruptError; NotSupportedError for disks that QEMU reached by a URI
 */
export function importGanetiRuntime(runtime: GanetiRuntime, options: GanetiImportOptions = {}): GanetiImport {
  const { command, hvparams } = runtime;
  const parameters = new Parameters(hvparams);
  const notes: ImportNotes = [];
  const vcpus = vcpusOf(command);
  const topology = topologyOf(parameters, vcpus, notes);
  const kernel = kernelOf(parameters);
  const hardware = importHardware(parameters, command, vcpus, notes);
  const definition: GuestDefinition = {
    uuid: check.uuid()(options.uuid ?? valueOf(command, "-uuid"), "options.uuid"),
    name: nameOf(options.name ?? valueOf(command, "-name")?.split(",")[0]),
    vcpus,
    memoryMiB: memoryOf(command),
    ...(topology === undefined ? {} : { cpuTopology: topology }),
    machine: machineOf(parameters, notes),
    firmware: "bios",
    ...(kernel === undefined ? {} : { kernel }),
    disks: importDisks(runtime, parameters, notes),
    nics: importNics(runtime, parameters, options, notes),
    guestAgent: parameters.flag("use_guest_agent"),
    ...(Object.keys(hardware).length === 0 ? {} : { hardware }),
  };
  return { definition, notes };
}

function nameOf(name: string | undefined): string {
  const [found = ""] = (name ?? "").replace(/^guest=/, "").split(",");
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(found)) return found;
  throw new InvalidArgumentError({
    field: "options.name",
    value: found,
    expected: "1 to 63 letters, digits, '.', '_' and '-'",
  });
}

function vcpusOf(command: readonly string[]): number {
  const found = Number(/^(?:cpus=)?(\d{1,4})(?:,|$)/.exec(valueOf(command, "-smp") ?? "1")?.[1]);
  if (!(found >= 1 && found <= 1_024)) throw corrupt("its number of vCPUs is none");
  return found;
}

function memoryOf(command: readonly string[]): number {
  const match = /^(?:size=)?(\d{1,8})(M|G)?(?:,|$)/i.exec(valueOf(command, "-m") ?? "");
  const memory = Number(match?.[1]) * (match?.[2]?.toUpperCase() === "G" ? 1_024 : 1);
  if (!(memory >= 1 && memory <= 67_108_864)) throw corrupt("its size of memory is none");
  return memory;
}

function topologyOf(parameters: Parameters, vcpus: number, notes: ImportNotes): CpuTopology | undefined {
  const cores = parameters.count("cpu_cores");
  const threads = parameters.count("cpu_threads");
  const sockets = parameters.count("cpu_sockets");
  if (cores === undefined && threads === undefined && sockets === undefined) return undefined;
  const [c, t] = [cores ?? 1, threads ?? 1];
  const topology = { sockets: sockets ?? vcpus / (c * t), cores: c, threads: t };
  if (topology.sockets * c * t === vcpus && Number.isInteger(topology.sockets)) return topology;
  notes.push(`${vcpus} vCPUs don't make up the topology: each has a socket now`);
  return undefined;
}

function kernelOf(parameters: Parameters): GuestDefinition["kernel"] {
  const kernelPath = parameters.text("kernel_path");
  if (kernelPath === undefined) return undefined;
  const ramdiskPath = parameters.text("initrd_path");
  const root = parameters.text("root_path");
  const words = [
    ...(root === undefined ? [] : [`root=${root}`]),
    ...(parameters.text("kernel_args") ?? "").split(/\s+/).filter((word) => word !== ""),
    ...(parameters.flag("serial_console")
      ? [`console=ttyS0,${parameters.text("serial_speed") ?? parameters.count("serial_speed") ?? 38_400}`]
      : []),
  ];
  return {
    kernelPath,
    ...(ramdiskPath === undefined ? {} : { ramdiskPath }),
    ...(words.length === 0 ? {} : { commandLine: words.join(" ") }),
  };
}

/** Ganeti ran nothing but PC machines until late; a version in the name is QEMU's to keep, not ours. */
function machineOf(parameters: Parameters, notes: ImportNotes): "pc" | "q35" {
  const version = parameters.text("machine_version")?.split(",")[0];
  if (version === undefined || version === "pc") return "pc";
  if (version === "q35") return "q35";
  const machine = version.startsWith("pc-q35") ? "q35" : "pc";
  notes.push(`the machine ${version.slice(0, 64)} became ${machine} as this QEMU has it`);
  return machine;
}

function valueOf(command: readonly string[], option: string): string | undefined {
  const at = command.indexOf(option);
  return at < 0 ? undefined : command[at + 1];
}
