/** The face of src/storage: images, the disks of instances, volumes, secrets. */
export { resolveBackingChain } from "./backing-chain.js";
export type { ChainLimits } from "./backing-chain.js";
export type { CreateDiskRequest, DiskBackend, DiskCapacity, DiskInfo } from "./disk-backend.js";
export { DISK_SOURCE_FORMATS } from "./disk-source.js";
export type { BlockDiskSource, DiskSource, DiskSourceFormat, FileDiskSource, NbdDiskSource } from "./disk-source.js";
export { DirectoryImageStore } from "./directory-image-store.js";
export type { DirectoryImageStoreOptions, ImportImageRequest } from "./directory-image-store.js";
export {
  DiskFullError,
  DiskNotFoundError,
  ImageNotFoundError,
  ImageUnacceptableError,
  StorageError,
  VolumeConnectError,
} from "./errors.js";
export { IMAGE_FORMATS } from "./image.js";
export type { ImageFormat, ImageMetadata, LocalImage } from "./image.js";
export type { ImageStore, TransferOptions, TransferProgress } from "./image-store.js";
export type { ExportedFiles } from "./exported-files.js";
export type { FileChanges } from "./instance-disks.js";
export { LocalDiskBackend } from "./local-disk-backend.js";
export type { LocalDiskBackendOptions } from "./local-disk-backend.js";
export { LocalExportedFiles } from "./local-exported-files.js";
export { LocalVolumeConnector } from "./local-volume-connector.js";
export type { LocalVolumeConnectorOptions, LocalVolumeData } from "./local-volume-connector.js";
export { NbdVolumeConnector } from "./nbd-volume-connector.js";
export type { NbdVolumeConnectorOptions, NbdVolumeData } from "./nbd-volume-connector.js";
export { DEFAULT_QEMU_IMG_LIMITS } from "./qemu-img.js";
export type { QemuImgLimits } from "./qemu-img.js";
export { MemorySecretStore } from "./secret-store.js";
export type { SecretStore } from "./secret-store.js";
export type {
  VolumeConnection,
  VolumeConnector,
  VolumeConnectOptions,
  VolumeHostProperties,
} from "./volume-connector.js";
export { readVolumeHostProperties } from "./volume-host-properties.js";
export type { HostPropertiesOptions } from "./volume-host-properties.js";
export type { CommandOptions, CommandResult, CommandRunner } from "../host/index.js";
export { FileStateStore } from "../host/index.js";
export type { FileStateStoreOptions } from "../host/index.js";
