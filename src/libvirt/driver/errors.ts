/** What libvirt's refusals are to a driver: decided by their kinds, never by their texts. */
import { NotSupportedError, asError } from "../../core/index.js";
import type { InstanceRef } from "../../core/index.js";
import {
  AgentCommandError,
  AgentUnresponsiveError,
  HypervisorUnavailableError,
  InstanceNotFoundError,
} from "../../driver/index.js";
import { LibvirtConnectError, LibvirtDisconnectedError, LibvirtError, isLibvirtError } from "../rpc/index.js";

/** What was asked for, of whom. */
export interface FailedCall {
  /** The seam's method: `attachDisk`. */
  readonly operation: string;
  readonly instance?: InstanceRef;
}

/** The driver's error for what a call threw; errors that already say all are given back. */
export function asDriverError(thrown: unknown, { operation, instance }: FailedCall): Error {
  const error = asError(thrown);
  const { detail } = error as { readonly detail?: string };
  const context = {
    cause: error,
    ...(detail === undefined ? {} : { detail }),
    ...(instance === undefined ? {} : { instance }),
  };
  if (error instanceof LibvirtDisconnectedError || error instanceof LibvirtConnectError)
    return new HypervisorUnavailableError("the libvirt daemon can't be reached", {
      ...context,
      retryable: error.retryable,
    });
  if (!(error instanceof LibvirtError)) return error;
  switch (error.kind) {
    case "domainNotFound":
      return instance === undefined ? error : new InstanceNotFoundError(instance.uuid, context);
    case "connectionLost":
      if (isDaemonMissing(error))
        return new HypervisorUnavailableError("the libvirt daemon can't reach another one that it needs", {
          ...context,
          retryable: true,
          remedy: "Start the daemon that the detail names, or have its socket activated.",
        });
      return new HypervisorUnavailableError("the libvirt daemon has lost its hypervisor", {
        ...context,
        retryable: true,
      });
    case "agentUnresponsive":
      return new AgentUnresponsiveError("the guest agent does not answer", context);
    case "agentCommandFailed":
      return new AgentCommandError("the guest agent could not do it", context);
    case "notSupported":
      return new NotSupportedError({ capability: operation, message: "this libvirt can't do it here", ...context });
    default:
      return instance === undefined ? error : error.withContext({ instance });
  }
}

/** Whether a modular daemon (`virtqemud`) found nobody at the socket of the one that has the host's devices (`virtnodedevd`) or the secrets (`virtsecretd`). */
export function isDaemonMissing(error: unknown): error is LibvirtError {
  return isLibvirtError(error, "connectionLost") && (error.errno === "ENOENT" || error.errno === "ECONNREFUSED");
}

/** Runs a call, and turns what it throws into the driver's errors. */
export async function asDriverErrors<T>(call: FailedCall, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw asDriverError(error, call);
  }
}
