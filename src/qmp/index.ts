/** The face of src/qmp: clients of QEMU's monitor and guest agent, and the types of both, generated from QEMU's schema. */
export { QmpClient } from "./client.js";
export type { QmpArguments, QmpCommandName, QmpResult } from "./client.js";
export type { QmpClientOptions, QmpEventOptions, QmpExecuteOptions, QmpWaitOptions } from "./client-options.js";
export type { LateReply } from "./command-queue.js";
export type { CommandParameters, CommandTable } from "./command-types.js";
export type { QmpEndpoint } from "./endpoint.js";
export {
  GuestAgentUnavailableError,
  GuestThawError,
  QmpCommandError,
  QmpConnectError,
  QmpDisconnectedError,
  QmpError,
  QmpJobError,
  QmpProtocolError,
  QmpStateError,
  isQmpCommandError,
} from "./errors.js";
export type {
  QmpCommandErrorDetails,
  QmpConnectErrorDetails,
  QmpConnectPhase,
  QmpDisconnectedDetails,
  QmpErrorClass,
  QmpExitInfo,
  QmpJobErrorDetails,
  QmpProtocolFault,
} from "./errors.js";
export type { FdPassing, FdSender } from "./fd-passing.js";
export { QmpFdSet } from "./fd-set.js";
export type { QmpFdSetOptions } from "./fd-set.js";
export type * as Qapi from "./generated/qapi.gen.js";
export type * as Qga from "./generated/qga.gen.js";
export type { QemuVersion, QmpGreeting } from "./greeting.js";
export { GuestAgentClient } from "./guest-agent.js";
export { GuestAgentCalls, exitCodeOf, guestInterfaces } from "./guest-agent-calls.js";
export type { GuestAgentCallsOptions, GuestAgentExecute, GuestCommandName } from "./guest-agent-calls.js";
export type { UnansweredOutcome } from "./guest-agent-connection.js";
export type {
  GuestAgentClientOptions,
  GuestExecOptions,
  GuestExecResult,
  GuestFreezeOptions,
  GuestPasswordOptions,
  GuestReadOptions,
  GuestWriteOptions,
} from "./guest-agent-options.js";
export { QmpJob } from "./job.js";
export type { QmpBlockJobCommand, QmpJobCommand, QmpJobOptions, QmpJobProgress } from "./job.js";
export { DEFAULT_MAX_MESSAGE_BYTES } from "./message-decoder.js";
export { parseJsonExactly } from "./parse-json.js";
export type {
  QmpClosure,
  QmpDisconnectedEvent,
  QmpEvent,
  QmpEventName,
  QmpEventOf,
  QmpOverflowEvent,
  QmpStreamEvent,
  QmpTimestamp,
} from "./qmp-event.js";
export type { QmpState } from "./qmp-state.js";
export { isQmpObject, toBigInt, toNumber } from "./qmp-value.js";
export type { Int64, QmpObject, QmpValue } from "./qmp-value.js";
export { serializeJson } from "./serialize-json.js";
export { streamTransport } from "./stream-transport.js";
export type { StreamTransportOptions } from "./stream-transport.js";
export { DEFAULT_GUEST_AGENT_TIMEOUTS, DEFAULT_QMP_TIMEOUTS } from "./timeouts.js";
export type { GuestAgentTimeouts, QmpTimeouts } from "./timeouts.js";
export type { TranscriptEntry, TranscriptHook } from "./transcript.js";
export type { QmpTransport, QmpTransportSink } from "./transport.js";
export { MAX_SOCKET_PATH_BYTES } from "../host/index.js";
export type { GuestExit, GuestProcess } from "./guest-agent-process.js";
