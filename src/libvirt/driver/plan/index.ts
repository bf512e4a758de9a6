/** The face of src/libvirt/driver/plan: from a guest's definition to libvirt's domain, and back to its devices. */
export { AGENT_CHANNEL, serialAlias } from "./character-devices.js";
export { takesPciPlace } from "./controllers.js";
export { deviceAlias, readDeviceAlias } from "./device-alias.js";
export type { AliasKind } from "./device-alias.js";
export { diskLimitsXml, diskTarget } from "./disks.js";
export { planSource } from "./disk-source.js";
export type { PlannedSource } from "./disk-source.js";
export { freeDrive, isSameDrive } from "./drive-places.js";
export { keepPlaces } from "./keep-places.js";
export { libvirtHostFacts, hasFeature, offers } from "./host-facts.js";
export type {
  ChoiceFacts,
  CpuModelFacts,
  GuestKindFacts,
  LibvirtHostFacts,
  LibvirtHostSources,
  MachineFacts,
} from "./host-facts.js";
export { METADATA_NAMESPACE, METADATA_PREFIX, metadataElement, metadataOf, readMetadata } from "./metadata.js";
export type { DomainMetadata } from "./metadata.js";
export { isSameHostDevice, planDeviceXml, planDiskXml, planHostDevice, planNicXml } from "./plan-device.js";
export { domainFamily } from "./plan-context.js";
export type { DomainFamily } from "./plan-context.js";
export { needsSharedMemory } from "./memory.js";
export { planDomain } from "./plan-domain.js";
export type { DiskPlace, DomainPlanOptions } from "./plan-options.js";
export { libvirtPlatform } from "./platform.js";
export type { GuestSystem, LaunchSecurity, LibvirtPlatform, RealtimeVcpus } from "./platform.js";
export { findDisk, findNic, readDomain } from "./read-domain.js";
export type { FoundDevice, FoundDisk, FoundDomain, FoundNic } from "./read-domain.js";
export { VIRT_TYPES, connectionUriOf, domainTypeOf, migrationDataUriOf, migrationUriOf } from "./virt-type.js";
export type { MigrationTransport, VirtType } from "./virt-type.js";
