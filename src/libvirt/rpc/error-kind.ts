/** What a libvirt error is about, decided by its numbers alone: the texts are in the daemon's language. */
import { getSystemErrorName } from "node:util";
import { ErrorDomain, ErrorNumber } from "./protocol/error-codes.gen.js";
import type { RemoteError } from "./remote-error.js";

/** What kind of refusal an error is; see {@link libvirtErrorKind}. */
export type LibvirtErrorKind =
  | "domainNotFound"
  | "networkNotFound"
  | "networkPortNotFound"
  | "storagePoolNotFound"
  | "storageVolumeNotFound"
  | "secretNotFound"
  | "nwFilterNotFound"
  | "nwFilterBindingNotFound"
  | "nodeDeviceNotFound"
  | "interfaceNotFound"
  | "snapshotNotFound"
  | "checkpointNotFound"
  | "backupNotFound"
  | "metadataNotFound"
  | "deviceNotFound"
  | "alreadyExists"
  | "invalidState"
  | "invalidDefinition"
  | "invalidArgument"
  | "notSupported"
  | "timeout"
  | "busy"
  | "cancelled"
  | "agentUnresponsive"
  | "agentCommandFailed"
  | "migration"
  | "authentication"
  | "accessDenied"
  | "connectionLost"
  | "system"
  | "internal"
  | "other";

const C = ErrorNumber;

const KINDS: Readonly<Record<number, LibvirtErrorKind>> = {
  [C.internalError]: "internal",
  [C.noMemory]: "system",
  [C.noSupport]: "notSupported",
  [C.noConnect]: "notSupported",
  [C.invalidConn]: "connectionLost",
  [C.invalidArg]: "invalidArgument",
  [C.operationFailed]: "other",
  [C.xmlError]: "invalidDefinition",
  [C.xmlDetail]: "invalidDefinition",
  [C.xmlInvalidSchema]: "invalidDefinition",
  [C.domExist]: "alreadyExists",
  [C.networkExist]: "alreadyExists",
  [C.storageVolExist]: "alreadyExists",
  [C.networkPortExist]: "alreadyExists",
  [C.operationDenied]: "accessDenied",
  [C.accessDenied]: "accessDenied",
  [C.systemError]: "system",
  [C.noDomain]: "domainNotFound",
  [C.noNetwork]: "networkNotFound",
  [C.noNetworkPort]: "networkPortNotFound",
  [C.noStoragePool]: "storagePoolNotFound",
  [C.noStorageVol]: "storageVolumeNotFound",
  [C.noNodeDevice]: "nodeDeviceNotFound",
  [C.noInterface]: "interfaceNotFound",
  [C.noNwfilter]: "nwFilterNotFound",
  [C.noNwfilterBinding]: "nwFilterBindingNotFound",
  [C.noSecret]: "secretNotFound",
  [C.noDomainSnapshot]: "snapshotNotFound",
  [C.noDomainCheckpoint]: "checkpointNotFound",
  [C.noDomainBackup]: "backupNotFound",
  [C.noDomainMetadata]: "metadataNotFound",
  [C.noNetworkMetadata]: "metadataNotFound",
  [C.deviceMissing]: "deviceNotFound",
  [C.operationInvalid]: "invalidState",
  [C.configUnsupported]: "notSupported",
  [C.argumentUnsupported]: "notSupported",
  [C.operationUnsupported]: "notSupported",
  [C.cpuIncompatible]: "notSupported",
  [C.operationTimeout]: "timeout",
  [C.operationAborted]: "cancelled",
  [C.resourceBusy]: "busy",
  [C.blockCopyActive]: "busy",
  [C.agentUnresponsive]: "agentUnresponsive",
  [C.agentUnsynced]: "agentUnresponsive",
  [C.agentCommandTimeout]: "agentUnresponsive",
  [C.agentCommandFailed]: "agentCommandFailed",
  [C.migratePersistFailed]: "migration",
  [C.migrateUnsafe]: "migration",
  [C.migrateFinishOk]: "migration",
  [C.authFailed]: "authentication",
  [C.authCancelled]: "authentication",
  [C.authUnavailable]: "authentication",
};

const CODE_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(C).map(([name, number]) => [number, name]));

/** Codes by which drivers say, besides `deviceMissing`, that the device to detach is not there. */
const DETACH_CODES: ReadonlySet<number> = new Set<number>([C.internalError, C.invalidArg, C.operationFailed]);

/** What the failed call was, where that changes what its numbers mean. */
export interface ErrorKindContext {
  /**
   * A device was to be taken off. Drivers answer with general codes when it is not there, so those then count as
   * `deviceNotFound`: look at the domain's XML before relying on it.
   */
  readonly detaching?: boolean;
}

/** The kind of an error, by code and domain. */
export function libvirtErrorKind(
  error: Pick<RemoteError, "code" | "domain">,
  context: ErrorKindContext = {},
): LibvirtErrorKind {
  const { code, domain } = error;
  const ofConnection = domain === ErrorDomain.rpc || domain === ErrorDomain.remote;
  if (ofConnection && (code === C.systemError || code === C.internalError)) return "connectionLost";
  if (context.detaching === true && DETACH_CODES.has(code)) return "deviceNotFound";
  return KINDS[code] ?? "other";
}

/** The errno behind a system error, such as `EBUSY`; undefined for all others. libvirt puts it into `int1`. */
export function libvirtErrno(error: Pick<RemoteError, "code" | "int1">): string | undefined {
  if (error.code !== C.systemError || error.int1 <= 0) return undefined;
  try {
    return getSystemErrorName(-error.int1);
  } catch {
    return undefined;
  }
}

/** Whether the same call may succeed later without anything being changed by the caller. */
export function isRetryableKind(kind: LibvirtErrorKind, errno: string | undefined): boolean {
  if (kind === "system") return errno === "EAGAIN" || errno === "EBUSY" || errno === "EINTR";
  return kind === "busy" || kind === "agentUnresponsive" || kind === "timeout" || kind === "connectionLost";
}

/** A code's name for a message: `noDomain`, or its number where it has none. */
export function codeName(code: number): string {
  return CODE_NAMES.get(code) ?? `code ${code}`;
}
