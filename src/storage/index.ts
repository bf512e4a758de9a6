/** The face of src/storage: images, the disks of instances, volumes, secrets. */
export { resolveBackingChain } from "./images/backing-chain.js";
export type { ChainLimits } from "./images/backing-chain.js";
export type { CreateDiskRequest, DiskBackend, DiskCapacity, DiskInfo } from "./disks/disk-backend.js";
export { DISK_SOURCE_FORMATS } from "./disks/disk-source.js";
export type {
  BlockDiskSource,
  DiskSource,
  DiskSourceFormat,
  FileDiskSource,
  NbdDiskSource,
} from "./disks/disk-source.js";
export { DirectoryImageStore } from "./images/directory-image-store.js";
export type { DirectoryImageStoreOptions, ImportImageRequest } from "./images/directory-image-store.js";
export {
  DiskFullError,
  DiskNotFoundError,
  ImageNotFoundError,
  ImageUnacceptableError,
  StorageError,
  VolumeConnectError,
} from "./errors.js";
export { IMAGE_FORMATS } from "./images/image.js";
export type { ImageFormat, ImageMetadata, LocalImage } from "./images/image.js";
export type { ImageStore, TransferOptions, TransferProgress } from "./images/image-store.js";
export type { ExportedFiles } from "./exported-files.js";
export type { FileChanges } from "./disks/instance-disks.js";
export { LocalDiskBackend } from "./disks/local-disk-backend.js";
export type { LocalDiskBackendOptions } from "./disks/local-disk-backend.js";
export { LocalExportedFiles } from "./local-exported-files.js";
export { LocalVolumeConnector } from "./volumes/local-volume-connector.js";
export type { LocalVolumeConnectorOptions, LocalVolumeData } from "./volumes/local-volume-connector.js";
export { NbdVolumeConnector } from "./volumes/nbd-volume-connector.js";
export type { NbdVolumeConnectorOptions, NbdVolumeData } from "./volumes/nbd-volume-connector.js";
export { DEFAULT_QEMU_IMG_LIMITS } from "./qemu-img.js";
export type { QemuImgLimits } from "./qemu-img.js";
export { MemorySecretStore } from "./secret-store.js";
export type { SecretStore } from "./secret-store.js";
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
