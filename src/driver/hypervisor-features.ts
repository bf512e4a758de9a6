/** What a hypervisor may be able to do. Facets of a driver follow from these, so that flag and method can't disagree. */

export const HYPERVISOR_FEATURES = [
  "pause",
  "reset",
  "redefine",
  "hotplugDisk",
  "hotplugNic",
  "resizeDisk",
  "mirrorDisk",
  "diskSnapshot",
  "liveDiskCopy",
  "suspend",
  "consoleLog",
  "consoleStream",
  "vncConsole",
  "spiceConsole",
  "serialConsole",
  "screenshot",
  "statistics",
  "crashDump",
  "guestAgent",
  "migration",
  "injectAtSpawn",
  "hostCpuStatistics",
  "compareCpu",
] as const;
export type HypervisorFeature = (typeof HYPERVISOR_FEATURES)[number];
