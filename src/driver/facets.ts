/** Groups of methods that a driver may have or lack. `supports(driver, name)` narrows a driver's type to them. */
import type { BackupsFacet, MemoryDumpFacet } from "./facets/backups.js";
import type { BalloonFacet, DevicesFacet, MemoryHotplugFacet, VcpuHotplugFacet } from "./facets/hotplug.js";
import type { CrashDumpFacet, QuiesceFacet, GuestAgentFacet } from "./facets/guest-administration.js";
import type {
  ConsoleOutputFacet,
  ConsolePasswordsFacet,
  ConsoleStreamFacet,
  ScreenshotsFacet,
  SerialConsoleFacet,
  SpiceConsoleFacet,
  VncConsoleFacet,
} from "./facets/consoles.js";
import type { CompareCpuFacet, HostCpuStatisticsFacet } from "./facets/host.js";
import type { FirewallFacet } from "./facets/firewall.js";
import type { ImageCacheFacet } from "./facets/image-cache.js";
import type { InterfacesFacet } from "./facets/interfaces.js";
import type { LiveMigrationFacet } from "./facets/live-migration.js";
import type { OperationHandle } from "../core/index.js";
import type { DiskLimitsFacet, RemovableMediaFacet } from "./facets/media.js";
import type { PauseFacet, SuspendFacet } from "./facets/power.js";
import type { RebuildFacet, RescueFacet, ResizeFacet } from "./facets/redefinition.js";
import type { SnapshotsFacet } from "./facets/snapshots.js";
import type { StatisticsFacet } from "./facets/statistics.js";
import type { TemplatesFacet } from "./facets/templates.js";
import type { VolumeExtendFacet, VolumesFacet, VolumeSnapshotsFacet, VolumeSwapFacet } from "./facets/volumes.js";

export interface Facets {
  readonly pause: PauseFacet;
  readonly volumes: VolumesFacet;
  readonly volumeExtend: VolumeExtendFacet;
  readonly volumeSwap: VolumeSwapFacet;
  readonly volumeSnapshots: VolumeSnapshotsFacet;
  readonly interfaces: InterfacesFacet;
  readonly snapshots: SnapshotsFacet;
  readonly quiesce: QuiesceFacet;
  readonly suspend: SuspendFacet;
  readonly rescue: RescueFacet;
  readonly resize: ResizeFacet;
  readonly rebuild: RebuildFacet;
  readonly liveMigration: LiveMigrationFacet;
  readonly consoleOutput: ConsoleOutputFacet;
  readonly consoleStream: ConsoleStreamFacet;
  readonly vncConsole: VncConsoleFacet;
  readonly spiceConsole: SpiceConsoleFacet;
  readonly serialConsole: SerialConsoleFacet;
  readonly screenshots: ScreenshotsFacet;
  readonly guestAgent: GuestAgentFacet;
  readonly statistics: StatisticsFacet;
  readonly crashDump: CrashDumpFacet;
  readonly firewall: FirewallFacet;
  readonly imageCache: ImageCacheFacet;
  readonly hostCpuStatistics: HostCpuStatisticsFacet;
  readonly compareCpu: CompareCpuFacet;
  readonly vcpuHotplug: VcpuHotplugFacet;
  readonly memoryHotplug: MemoryHotplugFacet;
  readonly balloon: BalloonFacet;
  readonly devices: DevicesFacet;
  readonly removableMedia: RemovableMediaFacet;
  readonly diskLimits: DiskLimitsFacet;
  readonly backups: BackupsFacet;
  readonly memoryDump: MemoryDumpFacet;
  readonly consolePasswords: ConsolePasswordsFacet;
  readonly templates: TemplatesFacet;
}

export type FacetName = keyof Facets;

/** Methods of all facets together: what a driver object carries at run time. */
export type AllFacets = Facets[FacetName] extends infer F ? UnionToIntersection<F> : never;

type UnionToIntersection<U> = (U extends unknown ? (member: U) => void : never) extends (member: infer I) => void
  ? I
  : never;

/** The methods of each facet. The compiler checks that each list is whole and holds nothing else. */
export const FACET_METHODS = {
  pause: ["pause", "unpause"],
  volumes: ["attachVolume", "detachVolume", "getVolumeConnector", "listDisks"],
  volumeExtend: ["extendVolume"],
  volumeSwap: ["swapVolume"],
  volumeSnapshots: ["volumeSnapshotCreate", "volumeSnapshotDelete"],
  interfaces: ["attachInterface", "detachInterface", "listInterfaces", "plugVifs", "unplugVifs"],
  snapshots: ["snapshot"],
  quiesce: ["quiesce", "unquiesce"],
  suspend: ["suspend", "resume"],
  rescue: ["rescue", "unrescue"],
  resize: ["migrateDiskAndPowerOff", "finishMigration", "confirmMigration", "finishRevertMigration", "resize"],
  rebuild: ["rebuild"],
  liveMigration: [
    "checkCanLiveMigrateDestination",
    "cleanupLiveMigrationDestinationCheck",
    "checkCanLiveMigrateSource",
    "preLiveMigration",
    "liveMigration",
    "liveMigrationForceComplete",
    "liveMigrationAbort",
    "postLiveMigration",
    "postLiveMigrationAtSource",
    "postLiveMigrationAtDestination",
    "rollbackLiveMigrationAtDestination",
    "rollbackLiveMigrationAtSource",
  ],
  consoleOutput: ["getConsoleOutput"],
  consoleStream: ["openConsole"],
  vncConsole: ["getVncConsole"],
  spiceConsole: ["getSpiceConsole"],
  serialConsole: ["getSerialConsole"],
  screenshots: ["takeScreenshot"],
  guestAgent: ["setAdminPassword", "injectFile", "readGuestFile", "execInGuest", "getGuestInterfaces"],
  statistics: [
    "getDiagnostics",
    "getAllDiagnostics",
    "blockStats",
    "interfaceStats",
    "getAllBandwidthCounters",
    "getAllVolumeUsage",
  ],
  crashDump: ["triggerCrashDump"],
  firewall: [
    "ensureFilteringRulesForInstance",
    "unfilterInstance",
    "refreshSecurityGroupRules",
    "refreshSecurityGroupMembers",
    "refreshInstanceSecurityRules",
    "refreshProviderFirewallRules",
    "filterDeferApplyOn",
    "filterDeferApplyOff",
  ],
  imageCache: ["cacheImage", "manageImageCache"],
  hostCpuStatistics: ["getHostCpuStats"],
  compareCpu: ["compareCpu"],
  vcpuHotplug: ["setVcpus"],
  memoryHotplug: ["setMemory"],
  balloon: ["setBalloon"],
  devices: ["attachDevice", "detachDevice", "listDevices"],
  removableMedia: ["changeMedium"],
  diskLimits: ["setDiskLimits"],
  backups: ["backup", "listCheckpoints", "deleteCheckpoint"],
  memoryDump: ["dumpMemory"],
  consolePasswords: ["setConsolePassword"],
  templates: ["saveTemplate", "describeTemplate", "spawnFromTemplate", "deleteTemplate"],
} as const satisfies { readonly [F in FacetName]: readonly (keyof Facets[F])[] };

type Missing = { [F in FacetName]: Exclude<keyof Facets[F], (typeof FACET_METHODS)[F][number]> }[FacetName];
/** Compiles only while no facet has a method that `FACET_METHODS` lacks. */
export const FACET_METHODS_ARE_COMPLETE: [Missing] extends [never] ? true : never = true;

/** Methods that answer with a handle at once. The compiler checks that all of them are named. */
type HandleMethod = {
  [M in keyof AllFacets]: AllFacets[M] extends (...args: never[]) => OperationHandle<unknown> ? M : never;
}[keyof AllFacets];
const HANDLE_METHOD_TABLE: { readonly [M in HandleMethod]: true } = {
  snapshot: true,
  resize: true,
  liveMigration: true,
  backup: true,
  dumpMemory: true,
  saveTemplate: true,
};
/** Names of the methods that answer with an `OperationHandle` at once; all others but `filterDeferApplyOn` answer with a promise. */
export const HANDLE_METHODS: ReadonlySet<string> = new Set(Object.keys(HANDLE_METHOD_TABLE));
