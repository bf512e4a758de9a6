/** The face of src/host: the operating system. Native packages are loaded on first use, never by importing this. */
export { ensureDirectory, readJsonFile, removeFile, writeFileAtomic } from "./atomic-file.js";
export type { WriteFileOptions } from "./atomic-file.js";
export { ByteStream } from "./byte-stream.js";
export type { ByteSink, ByteStreamOptions } from "./byte-stream.js";
export { SystemCommandRunner, systemCommandRunner } from "./command.js";
export type { CommandOptions, CommandResult, CommandRunner, SystemCommandRunnerOptions } from "./command.js";
export { ConsoleStream } from "./console-stream.js";
export {
  CommandError,
  CommandNotFoundError,
  FdPassingError,
  HostIoError,
  LockedError,
  NativeModuleMissingError,
  TapError,
  errnoName,
} from "./errors.js";
export type { CommandFailure, HostIoDetails, TapFailure } from "./errors.js";
export { sendWithFds, socketFd, writeWithFds } from "./fd-passing.js";
export type { SendFdsOptions } from "./fd-passing.js";
export { defaultFdSender } from "./fd-sender.js";
export type { FdSender } from "./fd-sender.js";
export { acquireFileLock } from "./file-lock.js";
export type { FileLock, FileLockOptions } from "./file-lock.js";
export { FileStateStore } from "./file-state-store.js";
export type { FileStateStoreOptions } from "./file-state-store.js";
export { hostAddress } from "./host-address.js";
export { defaultIoctl } from "./ioctl.js";
export type { Ioctl, IoctlBackend } from "./ioctl.js";
export { readKeptLog, shortenKeptLog, watchKeptLog } from "./kept-log.js";
export type { KeptLog, LogTail, WatchLogOptions } from "./kept-log.js";
export { declareFunction, lastError, loadKoffi } from "./koffi.js";
export type { Koffi, LoadPackage, NativeFunction } from "./koffi.js";
export { openMacvtap } from "./macvtap.js";
export { MAX_LINK_NAME, checkLinkName } from "./link-name.js";
export { MediatedDevices } from "./mediated-devices.js";
export type { MediatedDevice, MediatedDeviceType, MediatedDevicesOptions } from "./mediated-devices.js";
export { linkExists } from "./link.js";
export { pngOfPixmap } from "./pixmap.js";
export { PrivateFile } from "./private-file.js";
export type { PrivateFileOptions } from "./private-file.js";
export { identityOf, isAlive, killProcess, readProcess, waitForExit } from "./process.js";
export type { ProcessIdentity, ProcessInfo, WaitForExitOptions } from "./process.js";
export { checkCpus, defaultAffinitySetter, onlineCpus, parseCpuList, setThreadAffinity } from "./thread-affinity.js";
export type { AffinitySetter } from "./thread-affinity.js";
export {
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_ONE_QUEUE,
  IFF_TAP,
  IFF_TUN_EXCL,
  IFF_VNET_HDR,
  MAX_TAP_QUEUES,
  TUNGETFEATURES,
  TUNGETIFF,
  TUNSETIFF,
  getTunFeatures,
  openTap,
  probeTapVnetHdr,
} from "./tap.js";
export type { OpenTapOptions, Tap } from "./tap.js";
export { defaultHostTimeouts } from "./timeouts.js";
export type { HostTimeouts } from "./timeouts.js";
export { MAX_SOCKET_PATH_BYTES, openSocket, openUnixSocket } from "./open-socket.js";
