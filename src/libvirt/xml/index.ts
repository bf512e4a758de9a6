/** The face of src/libvirt/xml: libvirt's XML as typed objects, generated from its schemas. */
export { channelXml, consoleXml, serialXml } from "./builders/character-device.js";
export type {
  ChannelOptions,
  CharacterBackend,
  CharacterDeviceOptions,
  ConsoleOptions,
} from "./builders/character-device.js";
export { diskXml } from "./builders/disk.js";
export type { DiskLimit, DiskOptions, DiskSource, NetworkDiskHost } from "./builders/disk.js";
export { filesystemXml } from "./builders/filesystem.js";
export type { FilesystemOptions } from "./builders/filesystem.js";
export { graphicsXml } from "./builders/graphics.js";
export type { GraphicsOptions } from "./builders/graphics.js";
export { hostDeviceXml } from "./builders/host-device.js";
export type { HostDeviceOptions } from "./builders/host-device.js";
export { filterReferenceXml, interfaceXml } from "./builders/interface.js";
export type { InterfaceFilter, InterfaceOptions, InterfaceRate, InterfaceSource } from "./builders/interface.js";
export { networkXml } from "./builders/network.js";
export type { NetworkAddress, NetworkOptions } from "./builders/network.js";
export { nwFilterRuleXml, nwFilterXml } from "./builders/nw-filter.js";
export type { NwFilterMatch, NwFilterOptions, NwFilterProtocol, NwFilterRuleOptions } from "./builders/nw-filter.js";
export { domainBackupXml, domainCheckpointXml, domainSnapshotXml } from "./builders/snapshot.js";
export type { BackupOptions, CheckpointOptions, SnapshotOptions } from "./builders/snapshot.js";
export { secretXml, storagePoolXml, storageVolumeXml } from "./builders/storage.js";
export type { SecretOptions, StoragePoolOptions, StorageVolumeOptions } from "./builders/storage.js";
export {
  formatDeviceXml,
  formatXml,
  formatXmlElement,
  parseDeviceXml,
  parseXml,
  parseXmlElement,
} from "./documents.js";
export type { DeviceKind, DeviceOf, FormatXmlOptions, ParseXmlOptions } from "./documents.js";
export type * as LibvirtXml from "./generated/types.gen.js";
export type {
  Capabilities as CapabilitiesXml,
  Cpu as CpuXml,
  Domain as DomainXml,
  DomainBackup as DomainBackupXml,
  DomainCapabilities as DomainCapabilitiesXml,
  DomainCheckpoint as DomainCheckpointXml,
  DomainSnapshot as DomainSnapshotXml,
  Interface as HostInterfaceXml,
  Network as NetworkXml,
  NetworkPort as NetworkPortXml,
  NodeDevice as NodeDeviceXml,
  NwFilter as NwFilterXml,
  NwFilterBinding as NwFilterBindingXml,
  Secret as SecretXml,
  StoragePool as StoragePoolXml,
  StoragePoolCapabilities as StoragePoolCapabilitiesXml,
  StorageVolume as StorageVolumeXml,
  XmlKinds,
} from "./generated/types.gen.js";
export {
  formatCapabilitiesXml,
  formatCpuXml,
  formatDomainBackupXml,
  formatDomainCapabilitiesXml,
  formatDomainCheckpointXml,
  formatDomainSnapshotXml,
  formatDomainXml,
  formatHostInterfaceXml,
  formatNetworkPortXml,
  formatNetworkXml,
  formatNodeDeviceXml,
  formatNwFilterBindingXml,
  formatNwFilterXml,
  formatSecretXml,
  formatStoragePoolCapabilitiesXml,
  formatStoragePoolXml,
  formatStorageVolumeXml,
  parseCapabilitiesXml,
  parseCpuXml,
  parseDomainBackupXml,
  parseDomainCapabilitiesXml,
  parseDomainCheckpointXml,
  parseDomainSnapshotXml,
  parseDomainXml,
  parseHostInterfaceXml,
  parseNetworkPortXml,
  parseNetworkXml,
  parseNodeDeviceXml,
  parseNwFilterBindingXml,
  parseNwFilterXml,
  parseSecretXml,
  parseStoragePoolCapabilitiesXml,
  parseStoragePoolXml,
  parseStorageVolumeXml,
} from "./named-documents.js";
export type { FormatDocument, ParseDocument } from "./named-documents.js";
export { XML_KINDS } from "./schema-table.js";
export type { XmlKind } from "./schema-table.js";
export type { XmlLayout } from "./write-tree.js";
export type { XmlElement } from "./xml-element.js";
export { XmlError } from "./xml-error.js";
export type { XmlErrorReason, XmlPosition } from "./xml-error.js";
export { XML_LIMITS } from "./xml-limits.js";
export type { XmlLimits } from "./xml-limits.js";
export type { Editable, Int64, XmlObject } from "./xml-object.js";
