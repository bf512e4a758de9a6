/** The face of src/storage: images, the disks of instances, volumes, secrets. */
export { resolveBackingChain } from "./images/backing-chain.js";
export type { ChainLimits } from "./images/backing-chain.js";
export type {
  BuildConfigDriveRequest,
  ConfigDriveBuilder,
  ConfigDriveImage,
} from "./config-drive/config-drive-builder.js";
export { CONFIG_DRIVE_FORMATS, CONFIG_DRIVE_LAYOUTS } from "./config-drive/config-drive-content.js";
export type {
  ConfigDriveContent,
  ConfigDriveFile,
  ConfigDriveFormat,
  ConfigDriveLayout,
  FileForGuest,
  LinkNetwork,
  NetworkLink,
  NetworkRoute,
  TaggedDevice,
} from "./config-drive/config-drive-content.js";
export { CONFIG_DRIVE_LABELS, configDriveFiles, MAX_CONFIG_DRIVE_BYTES } from "./config-drive/config-drive-files.js";
export { DEFAULT_IMAGE_PROGRAM_LIMITS } from "./config-drive/image-programs.js";
export type { ImageProgramLimits } from "./config-drive/image-programs.js";
export { LocalConfigDriveBuilder } from "./config-drive/local-config-drive-builder.js";
export type { LocalConfigDriveBuilderOptions } from "./config-drive/local-config-drive-builder.js";
export { EPHEMERAL_FORMATS } from "./disks/format-disk.js";
export type { EphemeralFormat, GuestFormat } from "./disks/format-disk.js";
export { supportsDirectIo } from "./direct-io.js";
export { DISK_LAYOUTS } from "./disks/disk-backend.js";
export type { CreateDiskRequest, DiskBackend, DiskCapacity, DiskInfo, DiskLayout } from "./disks/disk-backend.js";
export { DISK_ENCRYPTIONS, DISK_SOURCE_FORMATS, isLocalSource, secretIdsOf } from "./disks/disk-source.js";
export type {
  BlockDiskSource,
  DiskEncryption,
  DiskSource,
  DiskSourceFormat,
  FileDiskSource,
  IscsiDiskSource,
  LocalDiskSource,
  NbdDiskSource,
  NbdTls,
  RbdDiskSource,
  StorageServer,
} from "./disks/disk-source.js";
export {
  diskObjectId,
  diskObjectProperties,
  diskObjects,
  nodesOfDiskObject,
  protocolOptions,
} from "./disks/qemu-source.js";
export type { DiskObject } from "./disks/qemu-source.js";
export { SourceInspector } from "./disks/source-inspector.js";
export type { SourceInspectorOptions } from "./disks/source-inspector.js";
export { diskSourceCheck, encryptionCheck } from "./disks/validate-disk-source.js";
export { DirectoryImageStore } from "./images/directory-image-store.js";
export type { DirectoryImageStoreOptions, ImportImageRequest } from "./images/directory-image-store.js";
export {
  DiskFullError,
  DiskKeyError,
  DiskNotFoundError,
  ImageNotFoundError,
  ImageTransferError,
  ImageUnacceptableError,
  SecretNotFoundError,
  StorageError,
  VolumeConnectError,
} from "./errors.js";
export { kernelOf } from "./images/image-kernel.js";
export type { ImageKernel } from "./images/image-kernel.js";
export { snapshotMetadata } from "./images/snapshot-metadata.js";
export type { SnapshotOf } from "./images/snapshot-metadata.js";
export { IMAGE_FORMATS } from "./images/image.js";
export type { ImageFormat, ImageMetadata, LocalImage } from "./images/image.js";
export type {
  ByteStream,
  FileImageSource,
  HttpImageSource,
  HttpImportOptions,
  ImageSource,
  StreamImageSource,
} from "./images/image-source.js";
export type { ImageStore, TransferOptions, TransferProgress } from "./images/image-store.js";
export type { ExportedFiles } from "./exported-files.js";
export type { FileChanges } from "./disks/instance-disks.js";
export { LocalDiskBackend } from "./disks/local-disk-backend.js";
export type { LocalDiskBackendOptions } from "./disks/local-disk-backend.js";
export { LvmDiskBackend } from "./disks/pool/lvm-disk-backend.js";
export type { LvmDiskBackendOptions } from "./disks/pool/lvm-disk-backend.js";
export type { LvmPoolOptions } from "./disks/pool/lvm-pool.js";
export type { DiskPool, PoolContent, PoolSpace, PoolVolume } from "./disks/pool/disk-pool.js";
export { PoolDiskBackend } from "./disks/pool/pool-disk-backend.js";
export type { PoolDiskBackendOptions } from "./disks/pool/pool-disk-backend.js";
export { RbdDiskBackend } from "./disks/pool/rbd-disk-backend.js";
export type { RbdDiskBackendOptions } from "./disks/pool/rbd-disk-backend.js";
export type { RbdPoolOptions } from "./disks/pool/rbd-pool.js";
export { LocalExportedFiles } from "./local-exported-files.js";
export { LocalVolumeConnector } from "./volumes/local-volume-connector.js";
export type { LocalVolumeConnectorOptions, LocalVolumeData } from "./volumes/local-volume-connector.js";
export { IscsiHostVolumeConnector } from "./volumes/iscsi-host-volume-connector.js";
export type { IscsiHostVolumeConnectorOptions } from "./volumes/iscsi-host-volume-connector.js";
export { IscsiVolumeConnector } from "./volumes/iscsi-volume-connector.js";
export type { IscsiVolumeConnectorOptions } from "./volumes/iscsi-volume-connector.js";
export type { IscsiVolumeData } from "./volumes/iscsi-volume-data.js";
export { LuksFormat } from "./volumes/luks-format.js";
export type { EncryptedSource, FormatLuksRequest, LuksFormatOptions } from "./volumes/luks-format.js";
export { NbdVolumeConnector } from "./volumes/nbd-volume-connector.js";
export type { NbdVolumeConnectorOptions, NbdVolumeData } from "./volumes/nbd-volume-connector.js";
export { NfsVolumeConnector } from "./volumes/nfs-volume-connector.js";
export type { NfsVolumeConnectorOptions, NfsVolumeData } from "./volumes/nfs-volume-connector.js";
export { QemuVolumeConnector } from "./volumes/qemu-volume-connector.js";
export type { QemuVolumeConnectorOptions } from "./volumes/qemu-volume-connector.js";
export { RbdVolumeConnector } from "./volumes/rbd-volume-connector.js";
export type { RbdVolumeConnectorOptions, RbdVolumeData } from "./volumes/rbd-volume-connector.js";
export { DEFAULT_QEMU_IMG_LIMITS, PREALLOCATIONS } from "./qemu-img.js";
export type { FormattedFile, ImageByOptions, Preallocation, QemuFormat, QemuImgLimits } from "./qemu-img.js";
export { FileSecretStore } from "./file-secret-store.js";
export type { FileSecretStoreOptions } from "./file-secret-store.js";
export { MemorySecretStore, requireSecret } from "./secret-store.js";
export type { SecretStore } from "./secret-store.js";
export { validateConnection, withEncryption } from "./volumes/validate-connection.js";
export type {
  VolumeConnection,
  VolumeConnector,
  VolumeConnectOptions,
  VolumeHostProperties,
} from "./volumes/volume-connector.js";
export { readVolumeHostProperties } from "./volumes/volume-host-properties.js";
export type { HostPropertiesOptions } from "./volumes/volume-host-properties.js";
export type { CommandOptions, CommandResult, CommandRunner } from "../host/index.js";
export { FileStateStore } from "../host/index.js";
export type { FileStateStoreOptions } from "../host/index.js";
