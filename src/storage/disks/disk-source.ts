/** What a hypervisor opens when it gives a guest a disk. */

export const DISK_SOURCE_FORMATS = ["raw", "qcow2"] as const;
export type DiskSourceFormat = (typeof DISK_SOURCE_FORMATS)[number];

export const DISK_ENCRYPTIONS = ["luks"] as const;

/**
 * The hypervisor decrypts what it reads and encrypts what the guest writes. Of a raw source all is one LUKS container, as Cinder makes them; a qcow2 file has
 * LUKS within, as `qemu-img -o encrypt.format=luks` makes it.
 */
export interface DiskEncryption {
  readonly format: (typeof DISK_ENCRYPTIONS)[number];
  /** Id in the `SecretStore` of the passphrase. */
  readonly secretId: string;
}

interface CommonDiskSource {
  readonly format: DiskSourceFormat;
  /** Absent: what is there is what the guest reads. */
  readonly encryption?: DiskEncryption;
}

export interface FileDiskSource extends CommonDiskSource {
  readonly type: "file";
  /** Absolute path. */
  readonly path: string;
}

export interface BlockDiskSource extends CommonDiskSource {
  readonly type: "block";
  /** Absolute path of the block device. */
  readonly path: string;
}

/** An address that storage is served at. */
export interface StorageServer {
  /** IP address or name. */
  readonly host: string;
  readonly port: number;
}

export interface NbdDiskSource extends CommonDiskSource {
  readonly type: "nbd";
  readonly server: { readonly type: "unix"; readonly path: string } | ({ readonly type: "inet" } & StorageServer);
  readonly exportName: string;
  /** Absent: what is sent is not encrypted. */
  readonly tls?: NbdTls;
}

/** What an NBD client shows and wants to see: X.509 certificates, by QEMU's names. */
export interface NbdTls {
  /** Absolute path of a directory with `ca-cert.pem`, and `client-cert.pem` with `client-key.pem` where the server asks for them. */
  readonly directory: string;
  /** Name that the server's certificate bears. Default: the host's. */
  readonly hostname?: string;
}

/** A logical unit that QEMU reaches by itself; the host has no device for it. */
export interface IscsiDiskSource extends CommonDiskSource {
  readonly type: "iscsi";
  readonly portal: StorageServer;
  /** Name of the target: `iqn.…`, `eui.…` or `naa.…`. */
  readonly target: string;
  /** 0 to 16383. */
  readonly lun: number;
  /** Name that QEMU gives itself; absent: its own choice, by the guest's uuid. */
  readonly initiator?: string;
  /** One-way CHAP. */
  readonly auth?: { readonly username: string; /** Id in the `SecretStore`. */ readonly secretId: string };
}

/** A Ceph image that QEMU reaches by itself. */
export interface RbdDiskSource extends CommonDiskSource {
  readonly type: "rbd";
  readonly pool: string;
  readonly namespace?: string;
  readonly image: string;
  /** Absent: those of the configuration. */
  readonly monitors?: readonly StorageServer[];
  /** Name of the Ceph user without `client.`; absent: the configuration's. */
  readonly user?: string;
  /** Id in the `SecretStore` of the user's key, in base64 as Ceph writes it; absent: the key ring that the configuration names, if any. */
  readonly secretId?: string;
  /** Absolute path of a Ceph configuration; absent: Ceph's own choice. */
  readonly configPath?: string;
}

export type DiskSource = FileDiskSource | BlockDiskSource | NbdDiskSource | IscsiDiskSource | RbdDiskSource;

/** A source that the host itself has a path for. */
export type LocalDiskSource = FileDiskSource | BlockDiskSource;

export function isLocalSource(source: DiskSource): source is LocalDiskSource {
  return source.type === "file" || source.type === "block";
}

/** Ids of all secrets that opening the source takes. */
export function secretIdsOf(source: DiskSource): readonly string[] {
  const own = source.type === "iscsi" ? source.auth?.secretId : source.type === "rbd" ? source.secretId : undefined;
  return [own, source.encryption?.secretId].filter((id) => id !== undefined);
}
