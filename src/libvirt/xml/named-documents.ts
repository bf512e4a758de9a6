/** {@link parseXml} and {@link formatXml} for each kind of document, under its own name. */
import { formatXml, parseXml } from "./documents.js";
import type { FormatXmlOptions, ParseXmlOptions } from "./documents.js";
import type { XmlKinds } from "./generated/types.gen.js";
import type { XmlKind } from "./schema-table.js";
import type { Editable } from "./xml-object.js";

/** Reads a document of one kind; see {@link parseXml}. */
export type ParseDocument<Kind extends XmlKind> = (text: string, options?: ParseXmlOptions) => Editable<XmlKinds[Kind]>;

/** Writes a document of one kind; see {@link formatXml}. */
export type FormatDocument<Kind extends XmlKind> = (value: XmlKinds[Kind], options?: FormatXmlOptions) => string;

function parser<Kind extends XmlKind>(kind: Kind): ParseDocument<Kind> {
  return (text, options) => parseXml(kind, text, options);
}

function formatter<Kind extends XmlKind>(kind: Kind): FormatDocument<Kind> {
  return (value, options) => formatXml(kind, value, options);
}
/** Reads `<domain>`; see {@link parseXml}. */
export const parseDomainXml: ParseDocument<"domain"> = parser("domain");
/** Writes `<domain>`; see {@link formatXml}. */
export const formatDomainXml: FormatDocument<"domain"> = formatter("domain");

/** Reads `<capabilities>`; see {@link parseXml}. */
export const parseCapabilitiesXml: ParseDocument<"capabilities"> = parser("capabilities");
/** Writes `<capabilities>`; see {@link formatXml}. */
export const formatCapabilitiesXml: FormatDocument<"capabilities"> = formatter("capabilities");

/** Reads `<domainCapabilities>`; see {@link parseXml}. */
export const parseDomainCapabilitiesXml: ParseDocument<"domainCapabilities"> = parser("domainCapabilities");
/** Writes `<domainCapabilities>`; see {@link formatXml}. */
export const formatDomainCapabilitiesXml: FormatDocument<"domainCapabilities"> = formatter("domainCapabilities");

/** Reads `<cpu>`; see {@link parseXml}. */
export const parseCpuXml: ParseDocument<"cpu"> = parser("cpu");
/** Writes `<cpu>`; see {@link formatXml}. */
export const formatCpuXml: FormatDocument<"cpu"> = formatter("cpu");

/** Reads `<network>`; see {@link parseXml}. */
export const parseNetworkXml: ParseDocument<"network"> = parser("network");
/** Writes `<network>`; see {@link formatXml}. */
export const formatNetworkXml: FormatDocument<"network"> = formatter("network");

/** Reads `<networkport>`; see {@link parseXml}. */
export const parseNetworkPortXml: ParseDocument<"networkPort"> = parser("networkPort");
/** Writes `<networkport>`; see {@link formatXml}. */
export const formatNetworkPortXml: FormatDocument<"networkPort"> = formatter("networkPort");

/** Reads `<filter>`; see {@link parseXml}. */
export const parseNwFilterXml: ParseDocument<"nwFilter"> = parser("nwFilter");
/** Writes `<filter>`; see {@link formatXml}. */
export const formatNwFilterXml: FormatDocument<"nwFilter"> = formatter("nwFilter");

/** Reads `<filterbinding>`; see {@link parseXml}. */
export const parseNwFilterBindingXml: ParseDocument<"nwFilterBinding"> = parser("nwFilterBinding");
/** Writes `<filterbinding>`; see {@link formatXml}. */
export const formatNwFilterBindingXml: FormatDocument<"nwFilterBinding"> = formatter("nwFilterBinding");

/** Reads `<secret>`; see {@link parseXml}. */
export const parseSecretXml: ParseDocument<"secret"> = parser("secret");
/** Writes `<secret>`; see {@link formatXml}. */
export const formatSecretXml: FormatDocument<"secret"> = formatter("secret");

/** Reads `<pool>`; see {@link parseXml}. */
export const parseStoragePoolXml: ParseDocument<"storagePool"> = parser("storagePool");
/** Writes `<pool>`; see {@link formatXml}. */
export const formatStoragePoolXml: FormatDocument<"storagePool"> = formatter("storagePool");

/** Reads `<storagepoolCapabilities>`; see {@link parseXml}. */
export const parseStoragePoolCapabilitiesXml: ParseDocument<"storagePoolCapabilities"> =
  parser("storagePoolCapabilities");
/** Writes `<storagepoolCapabilities>`; see {@link formatXml}. */
export const formatStoragePoolCapabilitiesXml: FormatDocument<"storagePoolCapabilities"> =
  formatter("storagePoolCapabilities");

/** Reads `<volume>`; see {@link parseXml}. */
export const parseStorageVolumeXml: ParseDocument<"storageVolume"> = parser("storageVolume");
/** Writes `<volume>`; see {@link formatXml}. */
export const formatStorageVolumeXml: FormatDocument<"storageVolume"> = formatter("storageVolume");

/** Reads `<domainsnapshot>`; see {@link parseXml}. */
export const parseDomainSnapshotXml: ParseDocument<"domainSnapshot"> = parser("domainSnapshot");
/** Writes `<domainsnapshot>`; see {@link formatXml}. */
export const formatDomainSnapshotXml: FormatDocument<"domainSnapshot"> = formatter("domainSnapshot");

/** Reads `<domaincheckpoint>`; see {@link parseXml}. */
export const parseDomainCheckpointXml: ParseDocument<"domainCheckpoint"> = parser("domainCheckpoint");
/** Writes `<domaincheckpoint>`; see {@link formatXml}. */
export const formatDomainCheckpointXml: FormatDocument<"domainCheckpoint"> = formatter("domainCheckpoint");

/** Reads `<domainbackup>`; see {@link parseXml}. */
export const parseDomainBackupXml: ParseDocument<"domainBackup"> = parser("domainBackup");
/** Writes `<domainbackup>`; see {@link formatXml}. */
export const formatDomainBackupXml: FormatDocument<"domainBackup"> = formatter("domainBackup");

/** Reads `<device>`; see {@link parseXml}. */
export const parseNodeDeviceXml: ParseDocument<"nodeDevice"> = parser("nodeDevice");
/** Writes `<device>`; see {@link formatXml}. */
export const formatNodeDeviceXml: FormatDocument<"nodeDevice"> = formatter("nodeDevice");

/** Reads `<interface>` of the host's network; see {@link parseXml}. */
export const parseHostInterfaceXml: ParseDocument<"interface"> = parser("interface");
/** Writes `<interface>` of the host's network; see {@link formatXml}. */
export const formatHostInterfaceXml: FormatDocument<"interface"> = formatter("interface");
