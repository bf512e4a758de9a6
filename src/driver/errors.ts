/** Errors of compute drivers. All extend `HyperviseError`; `docs/errors.md` draws the tree. */
import { HyperviseError, nameErrorClass } from "../core/index.js";
import type { ErrorContext, JsonObject } from "../core/index.js";
import type { PowerState } from "./power-state.js";

/** No instance has the uuid. Reads and power operations reject with it; destroy, cleanup and detach never do. Code `INSTANCE_NOT_FOUND`. */
export class InstanceNotFoundError extends HyperviseError {
  static {
    nameErrorClass(this, "InstanceNotFoundError");
  }
  constructor(uuid: string, context: ErrorContext = {}) {
    super(`Instance ${uuid} was not found`, { instance: { uuid }, ...context, code: "INSTANCE_NOT_FOUND" });
  }
}

/** `spawn` of an instance whose uuid or name is taken. Code `INSTANCE_EXISTS`. */
export class InstanceExistsError extends HyperviseError {
  static {
    nameErrorClass(this, "InstanceExistsError");
  }
  constructor(instance: { readonly uuid: string; readonly name: string }, context: ErrorContext = {}) {
    super(`Instance ${instance.uuid} can't be made: its uuid or its name is taken`, {
      instance,
      ...context,
      code: "INSTANCE_EXISTS",
    });
  }
}

/** What {@link InvalidStateError} says. */
export interface InvalidStateDetails extends ErrorContext {
  /** The operation that was asked for. */
  readonly operation: string;
  /** The power state or task that stands against it. */
  readonly state: PowerState | (string & {});
  /** The states that it starts from. */
  readonly expected: readonly string[];
}

/** The instance is in a state that the operation does not start from. Code `INVALID_STATE`. */
export class InvalidStateError extends HyperviseError {
  readonly operation: string;
  readonly state: string;
  readonly expected: readonly string[];

  static {
    nameErrorClass(this, "InvalidStateError");
  }
  constructor(details: InvalidStateDetails) {
    super(`${details.operation}: the instance is ${details.state}, expected ${details.expected.join(" or ")}`, {
      ...details,
      code: "INVALID_STATE",
    });
    this.operation = details.operation;
    this.state = details.state;
    this.expected = details.expected;
  }

  protected override tenantFields(): JsonObject {
    return { operation: this.operation, state: this.state, expected: [...this.expected] };
  }
}

/** The instance can't be rescued: it has no image to rescue from, or boots from a volume. Code `INSTANCE_NOT_RESCUABLE`. */
export class InstanceNotRescuableError extends HyperviseError {
  static {
    nameErrorClass(this, "InstanceNotRescuableError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "INSTANCE_NOT_RESCUABLE" });
  }
}

/** The hypervisor can't be reached, or lacks what every guest needs. Code `HYPERVISOR_UNAVAILABLE`. */
export class HypervisorUnavailableError extends HyperviseError {
  static {
    nameErrorClass(this, "HypervisorUnavailableError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { retryable: true, ...context, code: "HYPERVISOR_UNAVAILABLE" });
  }
}

/** The driver only looks, and was asked to change something. Nothing was touched. Code `READ_ONLY`. */
export class ReadOnlyError extends HyperviseError {
  /** The method that would have changed something. */
  readonly operation: string;

  static {
    nameErrorClass(this, "ReadOnlyError");
  }
  constructor(operation: string, context: ErrorContext = {}) {
    super(`${operation}: the driver is open for reading only`, {
      remedy: "Call it on the driver that manages the host.",
      ...context,
      code: "READ_ONLY",
    });
    this.operation = operation;
  }

  protected override tenantFields(): JsonObject {
    return { operation: this.operation };
  }
}

/** A method was called before `initHost`. Code `NOT_INITIALIZED`. */
export class NotInitializedError extends HyperviseError {
  static {
    nameErrorClass(this, "NotInitializedError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "NOT_INITIALIZED" });
  }
}

/** The host has not enough memory, vCPUs or disk for the guest. Another host may have (Nova's `ComputeResourcesUnavailable`). Code `NO_CAPACITY`. */
export class NoCapacityError extends HyperviseError {
  static {
    nameErrorClass(this, "NoCapacityError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "NO_CAPACITY" });
  }
}

/** The guest's machine has no slot left for another device of the kind. Code `NO_FREE_SLOT`. */
export class NoFreeSlotError extends HyperviseError {
  static {
    nameErrorClass(this, "NoFreeSlotError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "NO_FREE_SLOT" });
  }
}

/** The flavor's root disk is smaller than the image wants (Nova's `FlavorDiskSmallerThanImage`). Code `FLAVOR_DISK_TOO_SMALL`. */
export class FlavorDiskTooSmallError extends HyperviseError {
  static {
    nameErrorClass(this, "FlavorDiskTooSmallError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "FLAVOR_DISK_TOO_SMALL" });
  }
}

/** The flavor's memory is smaller than the image wants. Code `FLAVOR_MEMORY_TOO_SMALL`. */
export class FlavorMemoryTooSmallError extends HyperviseError {
  static {
    nameErrorClass(this, "FlavorMemoryTooSmallError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "FLAVOR_MEMORY_TOO_SMALL" });
  }
}

/** The hypervisor could not start the guest; `detail` has its own words. Code `GUEST_START_FAILED`. */
export class GuestStartError extends HyperviseError {
  static {
    nameErrorClass(this, "GuestStartError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "GUEST_START_FAILED" });
  }
}

/** The guest's hypervisor process ended while an operation needed it. Code `GUEST_CRASHED`. */
export class GuestCrashedError extends HyperviseError {
  static {
    nameErrorClass(this, "GuestCrashedError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "GUEST_CRASHED" });
  }
}

/** The guest did not shut down in time, and the caller did not want it killed. It runs on. Code `SHUTDOWN_REFUSED`. */
export class ShutdownRefusedError extends HyperviseError {
  static {
    nameErrorClass(this, "ShutdownRefusedError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { retryable: true, ...context, code: "SHUTDOWN_REFUSED" });
  }
}

/** The guest's process does not end even when killed, because it waits in the host's kernel. Code `GUEST_STUCK`. */
export class GuestStuckError extends HyperviseError {
  static {
    nameErrorClass(this, "GuestStuckError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { retryable: true, ...context, code: "GUEST_STUCK" });
  }
}

/** The hypervisor or the guest refused a device. Nothing of it is left. Code `DEVICE_ATTACH_FAILED`. */
export class DeviceAttachError extends HyperviseError {
  static {
    nameErrorClass(this, "DeviceAttachError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "DEVICE_ATTACH_FAILED" });
  }
}

/** The guest did not let go of a device; it still has it. Code `DEVICE_DETACH_FAILED`. */
export class DeviceDetachError extends HyperviseError {
  static {
    nameErrorClass(this, "DeviceDetachError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { retryable: true, ...context, code: "DEVICE_DETACH_FAILED" });
  }
}

export { DiskNotFoundError } from "../storage/index.js";

/** The instance has no such network interface. Code `INTERFACE_NOT_FOUND`. */
export class InterfaceNotFoundError extends HyperviseError {
  static {
    nameErrorClass(this, "InterfaceNotFoundError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "INTERFACE_NOT_FOUND" });
  }
}

/** The instance has no checkpoint of the name. Code `CHECKPOINT_NOT_FOUND`. */
export class CheckpointNotFoundError extends HyperviseError {
  static {
    nameErrorClass(this, "CheckpointNotFoundError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "CHECKPOINT_NOT_FOUND" });
  }
}

/** There is no template in the directory, or it is being deleted. Code `TEMPLATE_NOT_FOUND`. */
export class TemplateNotFoundError extends HyperviseError {
  static {
    nameErrorClass(this, "TemplateNotFoundError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "TEMPLATE_NOT_FOUND" });
  }
}

/** The template is damaged, of another layout or another hypervisor, or wants a CPU that this host has not. Code `TEMPLATE_UNUSABLE`. */
export class TemplateUnusableError extends HyperviseError {
  static {
    nameErrorClass(this, "TemplateUnusableError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "TEMPLATE_UNUSABLE" });
  }
}

/** A volume could not be copied to another; the guest keeps the old one. Code `VOLUME_SWAP_FAILED`. */
export class VolumeSwapError extends HyperviseError {
  static {
    nameErrorClass(this, "VolumeSwapError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { retryable: true, ...context, code: "VOLUME_SWAP_FAILED" });
  }
}

/** The instance can't take the flavor: a disk would shrink, or nothing would change. Code `RESIZE_FAILED`. */
export class ResizeError extends HyperviseError {
  static {
    nameErrorClass(this, "ResizeError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "RESIZE_FAILED" });
  }
}

/** The guest has no console of the kind now. Code `CONSOLE_UNAVAILABLE`. */
export class ConsoleUnavailableError extends HyperviseError {
  static {
    nameErrorClass(this, "ConsoleUnavailableError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "CONSOLE_UNAVAILABLE" });
  }
}

/** The guest agent does not answer now. Code `AGENT_UNRESPONSIVE`. */
export class AgentUnresponsiveError extends HyperviseError {
  static {
    nameErrorClass(this, "AgentUnresponsiveError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { retryable: true, ...context, code: "AGENT_UNRESPONSIVE" });
  }
}

/** The guest agent answered with an error. Code `AGENT_COMMAND_FAILED`. */
export class AgentCommandError extends HyperviseError {
  static {
    nameErrorClass(this, "AgentCommandError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "AGENT_COMMAND_FAILED" });
  }
}

/** The guest can't be migrated to the destination. Code `MIGRATION_PRECHECK_FAILED`. */
export class MigrationPreCheckError extends HyperviseError {
  static {
    nameErrorClass(this, "MigrationPreCheckError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "MIGRATION_PRECHECK_FAILED" });
  }
}

/** A live migration failed; the guest runs on the source as before. Code `MIGRATION_FAILED`. */
export class MigrationError extends HyperviseError {
  static {
    nameErrorClass(this, "MigrationError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { retryable: true, ...context, code: "MIGRATION_FAILED" });
  }
}

/** No migration of the instance is under way. Code `NO_ACTIVE_MIGRATION`. */
export class NoActiveMigrationError extends HyperviseError {
  static {
    nameErrorClass(this, "NoActiveMigrationError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "NO_ACTIVE_MIGRATION" });
  }
}

/** Some of what belongs to the instance could not be removed; the rest is gone. A repeated call goes on. Code `CLEANUP_INCOMPLETE`. */
export class IncompleteCleanupError extends HyperviseError {
  static {
    nameErrorClass(this, "IncompleteCleanupError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { retryable: true, ...context, code: "CLEANUP_INCOMPLETE" });
  }
}
