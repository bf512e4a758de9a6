/** The face of src/driver: the interface, its data, its errors; the seams that a hypervisor fills; and the driver over them. */
export { BaseDriver, createDriver, withAllFacets } from "./base-driver.js";
export type { DriverClass } from "./base-driver.js";
export type { DriverParts } from "./create-host-context.js";
export { capabilitiesOf, FACET_NAMES, FACET_REQUIREMENTS } from "./capabilities.js";
export type { DriverCapabilities, DriverFlags } from "./capabilities.js";
export type { Collaborators } from "./collaborators.js";
export { CONFIG_DRIVE_BUSES } from "./config-drive.js";
export type { ConfigDrive, ConfigDriveBus } from "./config-drive.js";
export type {
  ComputeDriver,
  DestroyOptions,
  EventOptions,
  PowerOffOptions,
  RebootType,
  SpawnPlan,
} from "./compute-driver.js";
export type { ConsoleAddress, ConsoleLog, Screenshot } from "./console.js";
export { blockDevicesOf, mapBlockDevices, stripDevice } from "./block-device-mapping.js";
export type {
  BlockDeviceMapping,
  MapBlockDevicesRequest,
  MappedBlockDevices,
  MappedVolume,
} from "./block-device-mapping.js";
export { READING_FACETS } from "./reading-capabilities.js";
export { checkDeviceName, deviceNameAt, devicePrefix, nextDeviceName } from "./device-names.js";
export * from "./errors.js";
export { LIFECYCLE_TRANSITIONS } from "./events.js";
export type {
  AgentEvent,
  ConnectionEvent,
  DeviceEvent,
  DriverEvent,
  EventCause,
  InstanceEvent,
  IoErrorEvent,
  LifecycleEvent,
  LifecycleTransition,
  OverflowEvent,
} from "./events.js";
export { FACET_METHODS, HANDLE_METHODS } from "./facets.js";
export type { AllFacets, FacetName, Facets } from "./facets.js";
export type {
  Backup,
  BackupDisk,
  BackupOptions,
  BackupRequest,
  BackupsFacet,
  MemoryDump,
  MemoryDumpFacet,
} from "./facets/backups.js";
export type {
  ConsoleOutputFacet,
  ConsolePasswordsFacet,
  ConsoleStreamFacet,
  ScreenshotsFacet,
  SerialConsoleFacet,
  SpiceConsoleFacet,
  VncConsoleFacet,
} from "./facets/consoles.js";
export type { BalloonFacet, DevicesFacet, MemoryHotplugFacet, VcpuHotplugFacet } from "./facets/hotplug.js";
export type { DiskLimitsFacet, RemovableMediaFacet } from "./facets/media.js";
export type { TemplateDisk, TemplateManifest, TemplatesFacet } from "./facets/templates.js";
export type { FirewallFacet } from "./facets/firewall.js";
export type { CrashDumpFacet, GuestAgentFacet, QuiesceFacet } from "./facets/guest-administration.js";
export type { CompareCpuFacet, CpuComparison, HostCpuStatisticsFacet } from "./facets/host.js";
export type { ImageCacheFacet } from "./facets/image-cache.js";
export type { AttachedInterface, InterfacesFacet } from "./facets/interfaces.js";
export type { LiveMigrateData, LiveMigrationFacet, LiveMigrationOptions } from "./facets/live-migration.js";
export type { PauseFacet, SuspendFacet } from "./facets/power.js";
export type { RebuildFacet, RescueFacet, ResizeFacet, ResizeTicket } from "./facets/redefinition.js";
export type { SnapshotOptions, SnapshotsFacet } from "./facets/snapshots.js";
export type { Diagnostics, StatisticsFacet } from "./facets/statistics.js";
export type {
  AttachedDisk,
  AttachVolumeOptions,
  VolumeExtendFacet,
  VolumesFacet,
  VolumeSnapshotDeleteOptions,
  VolumeSnapshotsFacet,
  VolumeSwapFacet,
} from "./facets/volumes.js";
export type { CopyProgress, GuestBackupDisk, GuestBackupRequest, GuestCheckpoint } from "./guest-backup.js";
export type {
  GuestTemplate,
  GuestTemplateDisk,
  GuestTemplatePhase,
  GuestTemplateRequest,
  GuestTemplateState,
} from "./guest-template.js";
export type { GuestDefinition, GuestDisk, GuestKernel, GuestNic } from "./guest-definition.js";
export { DISK_CACHES } from "./disk-tuning.js";
export type { DiskCache, DiskLimits, DiskTuning } from "./disk-tuning.js";
export { CPU_MODES, SCSI_CONTROLLERS, SOUND_MODELS, VIDEO_MODELS } from "./guest-hardware.js";
export type {
  CpuFeature,
  CpuMode,
  CpuPinning,
  GraphicsListener,
  GuestBalloon,
  GuestClock,
  GuestCpu,
  GuestDevice,
  GuestFilesystem,
  GuestHardware,
  GuestMemory,
  GuestNumaCell,
  GuestRng,
  GuestSmbios,
  GuestSound,
  GuestSpice,
  GuestTpm,
  GuestUefi,
  GuestVideo,
  GuestVnc,
  GuestWatchdog,
  ScsiController,
  SoundModel,
  VideoModel,
} from "./guest-hardware.js";
export { checkHardwareFits } from "./hardware-fit.js";
export type { HardwareFrame, TunedDisk } from "./hardware-fit.js";
export { diskLimitsCheck, diskTuningCheck } from "./validate-disk-tuning.js";
export { guestDeviceCheck, guestHardwareCheck } from "./validate-guest-hardware.js";
export { platformCheck } from "./validate-platform.js";
export type {
  DetachOptions,
  DetachOutcome,
  Guest,
  GuestAgent,
  DeviceAddress,
  GuestInfo,
  GuestInjection,
  GuestSuspend,
  MemoryDumpFormat,
} from "./guest.js";
export type {
  GuestMigrationOptions,
  GuestMigrationRequest,
  IncomingMigration,
  IncomingMigrationRequest,
  MigrationOutcome,
  MigrationPhase,
  MigrationProgress,
} from "./guest-migration.js";
export type {
  AvailableResource,
  CpuModel,
  HostCpuStatistics,
  HostDevices,
  HostFacts,
  HostMediatedType,
  HostPciDevice,
  Inventory,
  InventoryItem,
  NumaCell,
} from "./host-facts.js";
export { HYPERVISOR_FEATURES } from "./hypervisor-features.js";
export type { HypervisorFeature } from "./hypervisor-features.js";
export type { Hypervisor, HypervisorContext, HypervisorEvent } from "./hypervisor.js";
export type { AttachedVolume, EmptyDrive, InstanceDisk, InstanceRecord, PluggedVif } from "./instance-record.js";
export { DEVICE_TYPES, DISK_BUSES, FIRMWARES, MACHINES } from "./instance-spec.js";
export type {
  BlockDevice,
  CpuTopology,
  DeviceType,
  DirectKernelBoot,
  DiskBus,
  Firmware,
  Flavor,
  InjectedFile,
  InstanceRef,
  InstanceSpec,
  Machine,
} from "./instance-spec.js";
export { POWER_STATE_CODES } from "./power-state.js";
export type { PowerState } from "./power-state.js";
export type { RecoveredOperation, RecoveryReport } from "./recovery-report.js";
export type { TaggedInstanceDevice } from "./tagged-devices.js";
export type { InstanceInfo, InstanceTask, SpawnResult, StopResult } from "./results.js";
export type { DiskStatistics, GuestStatistics, InterfaceStatistics, VcpuStatistics } from "./statistics.js";
export { supports } from "./supports.js";
export { DEFAULT_TIMEOUTS } from "./timeouts.js";
export type { DriverTimeouts } from "./timeouts.js";
export { validateInstanceSpec } from "./validate-instance-spec.js";
export type { ValidSpec } from "./validate-instance-spec.js";
export { liveMigrate } from "./live-migrate.js";
export type { LiveMigratingDriver } from "./live-migrate.js";
