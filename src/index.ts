/** `hypervise`: the interface of a compute driver, its data and its errors, and the choreography over any hypervisor. Loads no native package. */
export {
  AbortedError,
  BusyError,
  ClosedError,
  ConflictError,
  DeadlineExceededError,
  HyperviseError,
  InvalidArgumentError,
  isHyperviseError,
  MemoryStateStore,
  NotSupportedError,
  OverflowError,
  Secret,
  StateCorruptError,
  systemClock,
  UndoFailedError,
  VirtualClock,
} from "./core/index.js";
export type {
  AbortedDetails,
  Clock,
  CommonOptions,
  DeadlineExceededDetails,
  ErrorContext,
  EventSubscription,
  HyperviseErrorOptions,
  InvalidArgumentDetails,
  JsonObject,
  JsonValue,
  NotSupportedDetails,
  OperationHandle,
  OperationOptions,
  OperationProgress,
  OperationState,
  ProgressEvent,
  SecretLike,
  StateStore,
  TimerHandle,
  VirtualClockOptions,
} from "./core/index.js";
export * from "./driver/index.js";
export { NoopFirewallDriver } from "./firewall/index.js";
export type { FilteredInstance, FilteredPort, FirewallDriver } from "./firewall/index.js";
export { VifPlugError } from "./network/index.js";
export type { BridgeVif, FixedIp, NicModel, Subnet, UserVif, Vif, VifBackend, VifNetwork, VifPlugger } from "./network/index.js";
export { DiskFullError, ImageNotFoundError, ImageUnacceptableError, MemorySecretStore, VolumeConnectError } from "./storage/index.js";
export type {
  BlockDiskSource,
  CreateDiskRequest,
  DiskBackend,
  DiskCapacity,
  DiskInfo,
  DiskSource,
  DiskSourceFormat,
  FileDiskSource,
  ImageFormat,
  ImageMetadata,
  ImageStore,
  LocalImage,
  NbdDiskSource,
  SecretStore,
  TransferOptions,
  TransferProgress,
  VolumeConnection,
  VolumeConnector,
  VolumeConnectOptions,
  VolumeHostProperties,
} from "./storage/index.js";
