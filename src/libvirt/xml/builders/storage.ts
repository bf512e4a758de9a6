/** Storage pools, volumes and secrets, in the words of who wants one. */
import type {
  DomainHostdevSourceHost,
  Secret,
  SecretUsage,
  StoragePool,
  StoragePoolSource,
  StorageVolume,
  StorageVolumeFormat,
} from "../generated/types.gen.js";
import type { Editable, Int64 } from "../xml-object.js";
import { defined, yesNo } from "./defined.js";

/** A storage pool. */
export interface StoragePoolOptions {
  readonly type: NonNullable<StoragePool["type"]>;
  readonly name: string;
  readonly uuid?: string | undefined;
  /** Where its volumes appear on the host. */
  readonly path?: string | undefined;
  /** Servers that it comes from. */
  readonly hosts?: readonly DomainHostdevSourceHost[] | undefined;
  /** The directory on the server, for `netfs` and `gluster`. */
  readonly directory?: string | undefined;
  /** Devices of the host that it lies on. */
  readonly devices?: readonly string[] | undefined;
  /** Its name in the storage itself: a volume group, a Ceph pool. */
  readonly sourceName?: string | undefined;
  readonly format?: string | undefined;
  readonly auth?:
    { readonly type: "ceph" | "chap"; readonly username: string; readonly secretUuid: string } | undefined;
}

/** The document `<pool>`. */
export function storagePoolXml(options: StoragePoolOptions): Editable<StoragePool> {
  const { type, name, uuid, path, hosts, directory, devices, sourceName, format, auth } = options;
  const source = defined<StoragePoolSource>({
    host: hosts?.map((host) => defined<DomainHostdevSourceHost>(host)),
    device: devices?.map((device) => ({ path: device })),
    dir: directory === undefined ? undefined : { path: directory },
    name: sourceName === undefined ? undefined : [sourceName],
    format: format === undefined ? undefined : { type: format },
    auth:
      auth === undefined ? undefined : { type: auth.type, username: auth.username, secret: { uuid: auth.secretUuid } },
  });
  return defined<StoragePool>({
    type,
    name,
    uuid,
    source: Object.keys(source).length === 0 ? undefined : source,
    target: path === undefined ? undefined : { path },
  });
}

/** A volume of a pool. */
export interface StorageVolumeOptions {
  readonly name: string;
  readonly capacityBytes: Int64;
  /** How much of it is allocated at once. Default: all, for raw volumes; 0 leaves holes. */
  readonly allocationBytes?: Int64 | undefined;
  readonly format?: StorageVolumeFormat["type"];
  /** A volume below, of which this one holds the changes. */
  readonly backing?: { readonly path: string; readonly format: NonNullable<StorageVolumeFormat["type"]> } | undefined;
  /** The libvirt secret with the passphrase, for LUKS. */
  readonly luksSecretUuid?: string | undefined;
}

/** The document `<volume>`. */
export function storageVolumeXml(options: StorageVolumeOptions): Editable<StorageVolume> {
  const { name, capacityBytes, allocationBytes, format, backing, luksSecretUuid: uuid } = options;
  const target = defined<NonNullable<StorageVolume["target"]>>({
    format: format === undefined ? undefined : { type: format },
    encryption: uuid === undefined ? undefined : { format: "luks", secret: [{ type: "passphrase", uuid }] },
  });
  return defined<StorageVolume>({
    name,
    capacity: { unit: "bytes", $text: capacityBytes },
    allocation: allocationBytes === undefined ? undefined : { unit: "bytes", $text: allocationBytes },
    target: Object.keys(target).length === 0 ? undefined : target,
    backingStore: backing === undefined ? undefined : { path: backing.path, format: { type: backing.format } },
  });
}

/** A secret of libvirt: what it is for. Its value is never in the XML. */
export interface SecretOptions {
  readonly uuid?: string | undefined;
  readonly usage?:
    | { readonly volume: string }
    | { readonly ceph: string }
    | { readonly iscsi: string }
    | { readonly tls: string }
    | { readonly vtpm: string }
    | undefined;
  readonly description?: string | undefined;
  /** Only ever in memory. */
  readonly ephemeral?: boolean | undefined;
  /** Never told to a client. */
  readonly private?: boolean | undefined;
}

/** The document `<secret>`. */
export function secretXml(options: SecretOptions): Editable<Secret> {
  return defined<Secret>({
    ephemeral: yesNo(options.ephemeral),
    private: yesNo(options.private),
    uuid: options.uuid,
    description: options.description,
    usage: options.usage === undefined ? undefined : usageOf(options.usage),
  });
}

function usageOf(usage: NonNullable<SecretOptions["usage"]>): SecretUsage {
  if ("volume" in usage) return { type: "volume", volume: usage.volume };
  if ("ceph" in usage) return { type: "ceph", name: usage.ceph };
  if ("iscsi" in usage) return { type: "iscsi", target: usage.iscsi };
  if ("tls" in usage) return { type: "tls", name: usage.tls };
  return { type: "vtpm", name: usage.vtpm };
}
