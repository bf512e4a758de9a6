/** The face of src/libvirt/driver: guests on a libvirt daemon. */
export { LibvirtDriver } from "./driver.js";
export type { LibvirtDriverOptions } from "./driver.js";
export { LIBVIRT_FEATURES } from "./features.js";
export { LibvirtHypervisor } from "./hypervisor.js";
export type { LibvirtPlan } from "./hypervisor.js";
export type { LibvirtDomainDefaults, LibvirtHypervisorOptions } from "./options.js";
export type { LibvirtMemoryOptions, ReservedHugepages } from "./host/host-memory.js";
export type { MediatedDevicesOptions } from "../../host/index.js";
export type { LibvirtSerialConsoleOptions } from "./console/serial-ports.js";
export type { LibvirtCopyMode, LibvirtMigrationOptions } from "./migration/options.js";
export { DEFAULT_LIBVIRT_HYPERVISOR_TIMEOUTS } from "./timeouts.js";
export type { LibvirtHypervisorTimeouts } from "./timeouts.js";
export { LIBVIRT_ABILITIES } from "./abilities.js";
export type { LibvirtAbility } from "./abilities.js";
export {
  MIN_LIBVIRT_VERSION,
  MIN_QEMU_VERSION,
  NEXT_MIN_LIBVIRT_VERSION,
  NEXT_MIN_QEMU_VERSION,
} from "./host/releases.js";
export {
  METADATA_NAMESPACE,
  VIRT_TYPES,
  connectionUriOf,
  findDisk,
  findNic,
  libvirtHostFacts,
  migrationDataUriOf,
  migrationUriOf,
  planDomain,
  readDomain,
} from "./plan/index.js";
export type {
  ChoiceFacts,
  CpuModelFacts,
  DiskPlace,
  DomainMetadata,
  DomainPlanOptions,
  FoundDevice,
  FoundDisk,
  FoundDomain,
  FoundNic,
  GuestKindFacts,
  GuestSystem,
  LaunchSecurity,
  LibvirtHostFacts,
  LibvirtHostSources,
  LibvirtPlatform,
  MachineFacts,
  MigrationTransport,
  RealtimeVcpus,
  VirtType,
} from "./plan/index.js";
