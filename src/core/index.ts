/** The face of src/core: errors, time, locks, queues, undo and records; no I/O. */
export { abortErrorOf, joinSignals, onAbort, raceAbort, throwIfAborted } from "./abort.js";
export type { JoinedSignal } from "./abort.js";
export { cloneJson, cloneJsonObject } from "./clone-json.js";
export { sleepOn, systemClock } from "./clock.js";
export type { Clock, TimerHandle } from "./clock.js";
export {
  AbortedError,
  BusyError,
  ClosedError,
  ConflictError,
  DeadlineExceededError,
  InvalidArgumentError,
  NotSupportedError,
  OverflowError,
  StateCorruptError,
  UndoFailedError,
  renderValue,
} from "./common-errors.js";
export type {
  AbortedDetails,
  DeadlineExceededDetails,
  InvalidArgumentDetails,
  NotSupportedDetails,
} from "./common-errors.js";
export { Deadline, withDeadline } from "./deadline.js";
export type { DeadlineOptions } from "./deadline.js";
export { HyperviseError, asError, isHyperviseError, nameErrorClass } from "./error.js";
export type { ErrorContext, HyperviseErrorOptions, InstanceRef } from "./error.js";
export { EventHub } from "./event-queue.js";
export type { EventHubOptions, EventSubscription, SubscribeOptions } from "./event-queue.js";
export { OperationController } from "./handle.js";
export type {
  OperationControllerOptions,
  OperationHandle,
  OperationState,
  ProgressEvent,
  ProgressUpdate,
} from "./handle.js";
export { Journal } from "./journal.js";
export type {
  BeginOperation,
  CompletionHandler,
  JournalOptions,
  RecoveredOperation,
  RecoveryReport,
} from "./journal.js";
export type { JsonObject, JsonValue } from "./json.js";
export { KeyedLock } from "./keyed-lock.js";
export type { LockWaitOptions } from "./keyed-lock.js";
export { LatestRun } from "./latest-run.js";
export type { CommonOptions, OperationOptions, OperationProgress } from "./options.js";
export type { EffectRecord, OperationRecord } from "./operation-record.js";
export { redactError } from "./redact-error.js";
export { isSecretKey, redactText, redactToJson, redactValue } from "./redact.js";
export { RingBuffer } from "./ring-buffer.js";
export { RollbackStack, attachUndoFailures, withRollback } from "./rollback.js";
export type { UndoFailure } from "./rollback.js";
export { REDACTED, Secret } from "./secret.js";
export type { SecretLike } from "./secret.js";
export { MemoryStateStore, checkStateKey } from "./state-store.js";
export type { StateStore } from "./state-store.js";
export { traceMessage, traceOperation } from "./trace.js";
export { Transaction } from "./transaction.js";
export type { AmendEffect, TransactionHost, UndoContext, UndoTable } from "./transaction.js";
export { check } from "./validate.js";
export type { Charset, Check, Checked, ObjectOf, OptionalCheck, Shape, StringRules } from "./validate.js";
export { VirtualClock } from "./virtual-clock.js";
export type { VirtualClockOptions } from "./virtual-clock.js";
export { withoutUndefined } from "./without-undefined.js";
