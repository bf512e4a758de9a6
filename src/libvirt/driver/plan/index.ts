/** The face of src/libvirt/driver/plan: from a guest's definition to libvirt's domain, and back to its devices. */
export { guestDefinitionCheck, guestDiskCheck, guestNicCheck } from "./check-definition.js";
export { AGENT_CHANNEL, serialAlias } from "./character-devices.js";
export { deviceAlias, readDeviceAlias } from "./device-alias.js";
export type { AliasKind } from "./device-alias.js";
export { diskLimitsXml, diskTarget } from "./disks.js";
export { planSource } from "./disk-source.js";
export type { PlannedSource } from "./disk-source.js";
export { libvirtHostFacts, offers } from "./host-facts.js";
export type {
  ChoiceFacts,
  CpuModelFacts,
  GuestKindFacts,
  LibvirtHostFacts,
  LibvirtHostSources,
  MachineFacts,
} from "./host-facts.js";
export { METADATA_NAMESPACE, METADATA_PREFIX, metadataElement, readMetadata } from "./metadata.js";
export type { DomainMetadata } from "./metadata.js";
export { planDeviceXml, planDiskXml, planNicXml } from "./plan-device.js";
export { domainFamily } from "./plan-context.js";
export type { DomainFamily } from "./plan-context.js";
export { planDomain } from "./plan-domain.js";
export type { DomainPlanOptions } from "./plan-options.js";
export type { LaunchSecurity, LibvirtPlatform } from "./platform.js";
export { findDisk, findNic, readDomain } from "./read-domain.js";
export type { FoundDevice, FoundDisk, FoundDomain, FoundNic } from "./read-domain.js";
export { VIRT_TYPES, connectionUriOf, domainTypeOf, migrationDataUriOf, migrationUriOf } from "./virt-type.js";
export type { MigrationTransport, VirtType } from "./virt-type.js";
