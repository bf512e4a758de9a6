/** What a driver can do: facets (groups of methods) and flags, both computed from the features of its hypervisor. */
import { HYPERVISOR_FEATURES } from "./hypervisor-features.js";
import type { HypervisorFeature } from "./hypervisor-features.js";
import type { FacetName } from "./facets.js";

/** What a hypervisor must have for a facet to be there. */
export const FACET_REQUIREMENTS: { readonly [F in FacetName]: readonly HypervisorFeature[] } = {
  pause: ["pause"],
  volumes: ["hotplugDisk"],
  volumeExtend: ["hotplugDisk", "resizeDisk"],
  volumeSwap: ["hotplugDisk", "mirrorDisk"],
  volumeSnapshots: ["diskSnapshot"],
  interfaces: ["hotplugNic"],
  snapshots: [],
  quiesce: ["guestAgent"],
  suspend: ["suspend"],
  rescue: ["redefine"],
  resize: ["redefine"],
  rebuild: ["redefine"],
  liveMigration: ["migration"],
  consoleOutput: ["consoleLog"],
  consoleStream: ["consoleStream"],
  vncConsole: ["vncConsole"],
  spiceConsole: ["spiceConsole"],
  serialConsole: ["serialConsole"],
  screenshots: ["screenshot"],
  guestAgent: ["guestAgent"],
  statistics: ["statistics"],
  crashDump: ["crashDump"],
  firewall: [],
  imageCache: [],
  hostCpuStatistics: ["hostCpuStatistics"],
  compareCpu: ["compareCpu"],
  vcpuHotplug: ["hotplugVcpu", "redefine"],
  memoryHotplug: ["hotplugMemory", "redefine"],
  balloon: ["balloon"],
  devices: ["hotplugDevice"],
  removableMedia: ["changeMedium"],
  diskLimits: ["limitDisk"],
  backups: ["backup"],
  memoryDump: ["dumpMemory"],
  consolePasswords: ["consolePassword"],
  templates: ["template"],
};

export interface DriverFlags {
  /** Guests can have a config drive, if the driver has a `ConfigDriveBuilder`. It takes `adminPassword` and `injectedFiles`, too. */
  readonly configDrive: boolean;
  /** `spawn` takes `adminPassword` and `injectedFiles` for guests without a config drive. */
  readonly injectAtSpawn: boolean;
  /** A running guest's root disk can be copied without stopping it. */
  readonly liveSnapshot: boolean;
  /** One volume can be attached to several instances. */
  readonly multiattach: boolean;
  /** Source and destination of a resize may be one host (Nova's `supports_migrate_to_same_host`). */
  readonly migrateToSameHost: boolean;
  /** Devices keep a role tag (Nova's `supports_device_tagging`). */
  readonly deviceTagging: boolean;
}

export interface DriverCapabilities {
  readonly facets: Readonly<Record<FacetName, boolean>>;
  readonly flags: DriverFlags;
  readonly features: ReadonlySet<HypervisorFeature>;
  /** The driver only looks: whatever would change something rejects, with `ReadOnlyError` or, where a facet has it, with `NotSupportedError`. */
  readonly readOnly: boolean;
}

export const FACET_NAMES = Object.keys(FACET_REQUIREMENTS) as readonly FacetName[];

/** The capabilities that follow from a hypervisor's features. Pure. */
export function capabilitiesOf(features: ReadonlySet<HypervisorFeature>): DriverCapabilities {
  const facets = {} as Record<FacetName, boolean>;
  for (const name of FACET_NAMES) facets[name] = FACET_REQUIREMENTS[name].every((feature) => features.has(feature));
  return Object.freeze({
    facets: Object.freeze(facets),
    flags: Object.freeze({
      configDrive: features.has("configDrive"),
      injectAtSpawn: features.has("injectAtSpawn"),
      liveSnapshot: features.has("liveDiskCopy"),
      multiattach: facets.volumes,
      migrateToSameHost: facets.resize,
      deviceTagging: true,
    }),
    features: new Set(HYPERVISOR_FEATURES.filter((feature) => features.has(feature))),
    readOnly: false,
  });
}
