/** Errors of plugging and unplugging VIFs, and of a host's networks. */
import { HyperviseError, nameErrorClass } from "../core/index.js";
import type { ErrorContext } from "../core/index.js";

/** A VIF could not be plugged on this host. Nothing of it is left. Code `VIF_PLUG_FAILED`. */
export class VifPlugError extends HyperviseError {
  static {
    nameErrorClass(this, "VifPlugError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { retryable: true, ...context, code: "VIF_PLUG_FAILED" });
  }
}

/** A host's devices, addresses, rules or servers could not be changed. It is as it was before. Code `NETWORK_HOST_FAILED`. */
export class NetworkHostError extends HyperviseError {
  static {
    nameErrorClass(this, "NetworkHostError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { retryable: true, ...context, code: "NETWORK_HOST_FAILED" });
  }
}
