/** What a libvirt hypervisor can do, by the kind of its guests and by what its host says of itself. */
import type { HypervisorFeature } from "../../driver/index.js";
import { hasFeature, offers } from "./plan/index.js";
import type { LibvirtHostFacts } from "./plan/index.js";

/** What guests of each kind can have, each implemented and tested with real guests of it; a host may have less. Kinds that are not named can be planned, started and stopped. */
export const LIBVIRT_FEATURES = {
  qemu: [
    "redefine",
    "pause",
    "reset",
    "configDrive",
    "consoleLog",
    "consoleStream",
    "serialConsole",
    "screenshot",
    "crashDump",
    "guestAgent",
    "statistics",
    "hostCpuStatistics",
    "suspend",
    "hotplugDisk",
    "hotplugNic",
    "migration",
    "compareCpu",
    "hotplugDevice",
    "hotplugVcpu",
    "hotplugMemory",
    "balloon",
    "changeMedium",
    "limitDisk",
    "resizeDisk",
    "mirrorDisk",
    "diskSnapshot",
    "liveDiskCopy",
    "backup",
    "dumpMemory",
    "vncConsole",
    "spiceConsole",
    "consolePassword",
  ],
  lxc: [
    "redefine",
    "pause",
    "consoleLog",
    "consoleStream",
    "statistics",
    "hostCpuStatistics",
    "hotplugDisk",
    "hotplugNic",
  ],
} as const satisfies Readonly<Record<string, readonly HypervisorFeature[]>>;

/** Parts of QEMU that a build may lack; what libvirt does not say counts as there. */
const GRAPHICS = { vncConsole: ["vnc"], spiceConsole: ["spice"], consolePassword: ["vnc", "spice"] } as const;

/** What needs no more than looking. */
const READING: ReadonlySet<HypervisorFeature> = new Set([
  "consoleLog",
  "serialConsole",
  "vncConsole",
  "spiceConsole",
  "statistics",
  "hostCpuStatistics",
  "compareCpu",
]);

export function featuresOf(
  facts: LibvirtHostFacts,
  { readOnly = false }: { readonly readOnly?: boolean } = {},
): ReadonlySet<HypervisorFeature> {
  const all = featuresOfKind(facts);
  return readOnly ? new Set([...all].filter((feature) => READING.has(feature))) : all;
}

function featuresOfKind({ virtType, machines }: LibvirtHostFacts): ReadonlySet<HypervisorFeature> {
  if (virtType === "lxc") return new Set(LIBVIRT_FEATURES.lxc);
  if (virtType !== "kvm" && virtType !== "qemu") return new Set(["redefine"]);
  const has = (kind: string): boolean =>
    machines.length === 0 || machines.some((machine) => offers(machine, "graphics", "type", kind));
  const isBuiltIn = (feature: HypervisorFeature): boolean => {
    if (feature === "backup")
      return machines.length === 0 || machines.some((one) => hasFeature(one, "backup") !== false);
    return feature in GRAPHICS ? GRAPHICS[feature as keyof typeof GRAPHICS].some(has) : true;
  };
  return new Set(LIBVIRT_FEATURES.qemu.filter(isBuiltIn));
}
