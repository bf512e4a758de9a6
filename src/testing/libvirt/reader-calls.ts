/** What a daemon refuses to clients that connected for reading only: by the calls' names and arguments. */
import { FakeLibvirtError } from "./fake-libvirt-error.js";

/** Calls that look; all others change something. */
const LOOKING =
  /^(auth|(connect|node|domain|network|storage|interface|secret|nwFilter)[A-Za-z]*?(Get|List|Lookup|NumOf|Num$|NumChildren|Is|Has|Supports|Register|Deregister|Unregister|Compare|Baseline)|connect(Open|Close|SetIdentity)$|domain(BlockStats|InterfaceStats|InterfaceAddresses|MemoryStats|SnapshotCurrent)|nodeDevice(NumOfCaps|ListCaps))/;
/** Calls that look, and for which libvirt has to ask the guest, start a program, or give out what is secret. */
const MORE_THAN_LOOKING: ReadonlySet<string> = new Set([
  "connectGetDomainCapabilities",
  "connectCompareHypervisorCpu",
  "connectBaselineHypervisorCpu",
  "domainAuthorizedSshKeysGet",
  "domainGetFsInfo",
  "domainGetGuestInfo",
  "domainGetGuestVcpus",
  "domainGetHostname",
  "domainGetLaunchSecurityInfo",
  "domainGetTime",
  "domainMigrateGetMaxSpeed",
  "domainSaveImageGetXmlDesc",
  "nodeDeviceGetAutostart",
  "nodeGetSevInfo",
  "secretGetValue",
]);
/** `VIR_DOMAIN_XML_SECURE` and `VIR_DOMAIN_XML_MIGRATABLE`. */
const SECRET_XML = 1 | 8;
/** `VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT`. */
const FROM_AGENT = 1;

/** libvirt's own list, as a daemon of 9.0 answers it, but for calls that neither looks at nor changes anything it has. */
export function changesSomething(name: string, args: unknown): boolean {
  const { flags = 0, source } = args as { readonly flags?: number; readonly source?: number };
  if (name === "domainGetXmlDesc") return (flags & SECRET_XML) !== 0;
  if (name === "domainInterfaceAddresses") return source === FROM_AGENT;
  return MORE_THAN_LOOKING.has(name) || !LOOKING.test(name);
}

/** Code 29. */
export function refusedToReaders(name: string): FakeLibvirtError {
  return new FakeLibvirtError({
    code: 29,
    domain: name.startsWith("domain") ? 20 : 0,
    message: `operation forbidden: read only access prevents ${name}`,
  });
}
