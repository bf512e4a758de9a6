/** The face of src/libvirt/driver: guests on a libvirt daemon. */
export { LibvirtDriver } from "./driver.js";
export type { LibvirtDriverOptions } from "./driver.js";
export { LIBVIRT_FEATURES } from "./features.js";
export { LibvirtHypervisor } from "./hypervisor.js";
export type { LibvirtPlan } from "./hypervisor.js";
export type { LibvirtDomainDefaults, LibvirtHypervisorOptions } from "./options.js";
export type { LibvirtCopyMode, LibvirtMigrationOptions } from "./migration/options.js";
export { DEFAULT_LIBVIRT_HYPERVISOR_TIMEOUTS } from "./timeouts.js";
export type { LibvirtHypervisorTimeouts } from "./timeouts.js";
export { MIN_LIBVIRT_VERSION } from "./host/read-libvirt-host.js";
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
  DomainMetadata,
  DomainPlanOptions,
  FoundDevice,
  FoundDisk,
  FoundDomain,
  FoundNic,
  GuestKindFacts,
  LaunchSecurity,
  LibvirtHostFacts,
  LibvirtHostSources,
  LibvirtPlatform,
  MachineFacts,
  MigrationTransport,
  VirtType,
} from "./plan/index.js";
