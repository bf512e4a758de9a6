export { parseConnectUri, TRANSPORTS } from "./connect-uri.js";
export type { ConnectUri, Transport } from "./connect-uri.js";
export type { CredentialRequest, CredentialSource, LibvirtCredentials } from "./auth/credentials.js";
export type { CallParameters, LxcCallName, QemuCallName, RemoteCallName } from "./call-types.js";
export type { LibvirtClosure, LibvirtCloseReason } from "./close-reason.js";
export { LibvirtConnection } from "./connection.js";
export type { LibvirtExecuteOptions } from "./connection.js";
export type { EventsOptions, LibvirtEventOf } from "./connection-events.js";
export { DEFAULT_RECONNECT } from "./connection-options.js";
export type {
  LibvirtConnectionEvent,
  LibvirtConnectionOptions,
  LibvirtConnectionState,
  LibvirtConnector,
  ReconnectOptions,
} from "./connection-options.js";
export { libvirtErrno, libvirtErrorKind } from "./error-kind.js";
export type { ErrorKindContext, LibvirtErrorKind } from "./error-kind.js";
export {
  LibvirtAuthenticationError,
  LibvirtConnectError,
  LibvirtDisconnectedError,
  LibvirtError,
  LibvirtKeepaliveError,
  LibvirtProtocolError,
  isLibvirtError,
} from "./errors.js";
export type { LibvirtDisconnectedDetails, LibvirtErrorDetails } from "./errors.js";
export { EVENT_FAMILIES } from "./events/event-families.js";
export type {
  ConnectionClosedData,
  EventData,
  EventFamily,
  EventName,
  EventObject,
  MonitorEventData,
} from "./events/event-families.js";
export type { EventMarker, LibvirtEvent } from "./events/event-reader.js";
export type { EventReadOptions } from "./events/event-router.js";
export type { MonitorEventFilter } from "./events/event-source.js";
export { FRAME_OVERHEAD, FRAME_STATUS, FRAME_TYPE, FrameDecoder, MAX_FRAME_BYTES, encodeFrame } from "./frame.js";
export type { Frame, FrameHeader } from "./frame.js";
export { DEFAULT_KEEPALIVE } from "./keepalive.js";
export type { KeepaliveOptions } from "./keepalive.js";
export { LibvirtStream } from "./streams/libvirt-stream.js";
export type { LibvirtStreamOptions } from "./streams/libvirt-stream.js";
export type { StreamHole, StreamPart } from "./streams/stream-channel.js";
export { DEFAULT_LIBVIRT_TIMEOUTS } from "./timeouts.js";
export type { LibvirtTimeouts } from "./timeouts.js";
export { streamTransport } from "./transports/stream-transport.js";
export type { StreamTransportOptions } from "./transports/stream-transport.js";
export type { LibvirtTransport, LibvirtTransportSink, SendFdsLimits } from "./transports/transport.js";
export type { LateReply, LibvirtCallOptions } from "./window.js";
export { LibvirtClient } from "./client.js";
export type { ObjectHandles } from "./client.js";
export { decodeArguments, decodeError, decodeResult, encodeArguments, encodeError, encodeResult } from "./codec.js";
export { cpusOfMap, mapOfCpus } from "./objects/cpu-map.js";
export type { VcpuStatus } from "./objects/cpu-methods.js";
export type { FlagsInput } from "./objects/flags.js";
export { handleKind } from "./objects/handles.js";
export type {
  ClientMethods,
  Domain,
  DomainCheckpoint,
  DomainSnapshot,
  Interface,
  Network,
  NetworkPort,
  NodeDevice,
  NwFilter,
  NwFilterBinding,
  Secret,
  StoragePool,
  StorageVolume,
} from "./objects/methods.gen.js";
export type { ObjectKind } from "./objects/object-kind.js";
export type { Procedure, ProgramName } from "./procedure.js";
export { PROGRAMS, procedureNamed, procedureNumbered } from "./procedures.js";
export * from "./protocol/enums.gen.js";
export * from "./protocol/error-codes.gen.js";
export type { LxcProcedures } from "./protocol/lxc-types.gen.js";
export type { QemuEvents, QemuProcedures } from "./protocol/qemu-types.gen.js";
export type { RemoteEvents, RemoteProcedures } from "./protocol/remote-types.gen.js";
export type * as LibvirtProtocol from "./protocol/remote-types.gen.js";
export type { KnownTypedParameters } from "./protocol/typed-parameter-types.gen.js";
export type { RemoteError } from "./remote-error.js";
export { knownParameterType, parametersFromObject, parametersToObject } from "./typed-parameter.js";
export type {
  ParameterValue,
  TypedParameter,
  TypedParameterInput,
  TypedParameterValues,
  TypedValue,
} from "./typed-parameter.js";
