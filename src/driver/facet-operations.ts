/** What each method of each facet does. */
import { attachDevice, listDevices } from "./operations/attach-device.js";
import { attachInterface } from "./operations/attach-interface.js";
import { attachVolume } from "./operations/attach-volume.js";
import { backup } from "./operations/backup.js";
import {
  blockStats,
  getAllBandwidthCounters,
  getAllDiagnostics,
  getAllVolumeUsage,
  getDiagnostics,
  interfaceStats,
} from "./operations/statistics.js";
import { cacheImage, manageImageCache } from "./operations/image-cache.js";
import { changeMedium } from "./operations/change-medium.js";
import {
  checkCanLiveMigrateDestination,
  checkCanLiveMigrateSource,
  cleanupLiveMigrationDestinationCheck,
} from "./operations/live-migration-checks.js";
import { compareCpu, getHostCpuStats } from "./operations/host-cpu.js";
import {
  confirmMigration,
  finishMigration,
  finishRevertMigration,
  migrateDiskAndPowerOff,
  resize,
} from "./operations/resize.js";
import { deleteCheckpoint, listCheckpoints } from "./operations/checkpoints.js";
import { deleteTemplate } from "./operations/delete-template.js";
import { describeTemplate, saveTemplate } from "./operations/save-template.js";
import { detachDevice } from "./operations/detach-device.js";
import { detachInterface } from "./operations/detach-interface.js";
import { dumpMemory } from "./operations/dump-memory.js";
import { detachVolume } from "./operations/detach-volume.js";
import {
  ensureFilteringRulesForInstance,
  filterDeferApplyOff,
  filterDeferApplyOn,
  refreshInstanceSecurityRules,
  refreshProviderFirewallRules,
  refreshSecurityGroupMembers,
  refreshSecurityGroupRules,
  unfilterInstance,
} from "./operations/firewall.js";
import {
  execInGuest,
  getGuestInterfaces,
  injectFile,
  quiesce,
  readGuestFile,
  setAdminPassword,
  triggerCrashDump,
  unquiesce,
} from "./operations/guest-agent.js";
import { extendVolume } from "./operations/extend-volume.js";
import {
  getConsoleOutput,
  getSerialConsole,
  getSpiceConsole,
  getVncConsole,
  openConsole,
  takeScreenshot,
} from "./operations/consoles.js";
import { getVolumeConnector, listDisks } from "./operations/list-disks.js";
import { listInterfaces } from "./operations/list-interfaces.js";
import { liveMigration, liveMigrationAbort, liveMigrationForceComplete } from "./operations/live-migration.js";
import { pause, unpause } from "./operations/pause.js";
import { plugVifs, unplugVifs } from "./operations/plug-vifs.js";
import {
  postLiveMigration,
  postLiveMigrationAtDestination,
  postLiveMigrationAtSource,
  rollbackLiveMigrationAtDestination,
  rollbackLiveMigrationAtSource,
} from "./operations/post-live-migration.js";
import { preLiveMigration } from "./operations/pre-live-migration.js";
import { rebuild } from "./operations/rebuild.js";
import { rescue, unrescue } from "./operations/rescue.js";
import { resume, suspend } from "./operations/suspend.js";
import { setBalloon } from "./operations/set-balloon.js";
import { setConsolePassword } from "./operations/set-console-password.js";
import { setDiskLimits } from "./operations/set-disk-limits.js";
import { setMemory, setVcpus } from "./operations/set-vcpus.js";
import { snapshot } from "./operations/snapshot.js";
import { spawnFromTemplate } from "./operations/spawn-from-template.js";
import { swapVolume } from "./operations/swap-volume.js";
import { volumeSnapshotCreate, volumeSnapshotDelete } from "./operations/volume-snapshots.js";
import type { FacetName, Facets } from "./facets.js";
import type { HostContext } from "./host-context.js";

/** A method without its object: the host comes first. */
type OnHost<M> = M extends (...args: infer A) => infer R ? (host: HostContext, ...args: A) => R : never;

export type FacetOperations = { readonly [F in FacetName]: { readonly [M in keyof Facets[F]]: OnHost<Facets[F][M]> } };

export const FACET_OPERATIONS: FacetOperations = {
  pause: { pause, unpause },
  volumes: { attachVolume, detachVolume, getVolumeConnector, listDisks },
  volumeExtend: { extendVolume },
  volumeSwap: { swapVolume },
  volumeSnapshots: { volumeSnapshotCreate, volumeSnapshotDelete },
  interfaces: { attachInterface, detachInterface, listInterfaces, plugVifs, unplugVifs },
  snapshots: { snapshot },
  quiesce: { quiesce, unquiesce },
  suspend: { suspend, resume },
  rescue: { rescue, unrescue },
  resize: { migrateDiskAndPowerOff, finishMigration, confirmMigration, finishRevertMigration, resize },
  rebuild: { rebuild },
  liveMigration: {
    checkCanLiveMigrateDestination,
    cleanupLiveMigrationDestinationCheck,
    checkCanLiveMigrateSource,
    preLiveMigration,
    liveMigration,
    liveMigrationForceComplete,
    liveMigrationAbort,
    postLiveMigration,
    postLiveMigrationAtSource,
    postLiveMigrationAtDestination,
    rollbackLiveMigrationAtDestination,
    rollbackLiveMigrationAtSource,
  },
  consoleOutput: { getConsoleOutput },
  consoleStream: { openConsole },
  vncConsole: { getVncConsole },
  spiceConsole: { getSpiceConsole },
  serialConsole: { getSerialConsole },
  screenshots: { takeScreenshot },
  guestAgent: { setAdminPassword, injectFile, readGuestFile, execInGuest, getGuestInterfaces },
  statistics: {
    getDiagnostics,
    getAllDiagnostics,
    blockStats,
    interfaceStats,
    getAllBandwidthCounters,
    getAllVolumeUsage,
  },
  crashDump: { triggerCrashDump },
  firewall: {
    ensureFilteringRulesForInstance,
    unfilterInstance,
    refreshSecurityGroupRules,
    refreshSecurityGroupMembers,
    refreshInstanceSecurityRules,
    refreshProviderFirewallRules,
    filterDeferApplyOn,
    filterDeferApplyOff,
  },
  imageCache: { cacheImage, manageImageCache },
  hostCpuStatistics: { getHostCpuStats },
  compareCpu: { compareCpu },
  vcpuHotplug: { setVcpus },
  memoryHotplug: { setMemory },
  balloon: { setBalloon },
  devices: { attachDevice, detachDevice, listDevices },
  removableMedia: { changeMedium },
  diskLimits: { setDiskLimits },
  backups: { backup, listCheckpoints, deleteCheckpoint },
  memoryDump: { dumpMemory },
  consolePasswords: { setConsolePassword },
  templates: { saveTemplate, describeTemplate, spawnFromTemplate, deleteTemplate },
};
