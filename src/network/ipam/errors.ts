/** What IPAM and the managers refuse, each with what it is about. */
import { HyperviseError, nameErrorClass } from "../../core/index.js";
import type { ErrorContext, JsonObject } from "../../core/index.js";

/** There is no such network. Code `NETWORK_NOT_FOUND`. */
export class NetworkNotFoundError extends HyperviseError {
  readonly networkId: string;

  static {
    nameErrorClass(this, "NetworkNotFoundError");
  }

  constructor(networkId: string, context: ErrorContext = {}) {
    super("there is no such network", { ...context, code: "NETWORK_NOT_FOUND" });
    this.networkId = networkId;
  }

  protected override tenantFields(): JsonObject {
    return { networkId: this.networkId };
  }
}

/** A network that is to be made overlaps one that is there. Code `NETWORK_CONFLICT`. */
export class NetworkConflictError extends HyperviseError {
  /** The argument that leads to it, such as `cidr`. */
  readonly field: string;
  /** What was to be made: a CIDR, a VLAN, an address and port. */
  readonly wanted: string;
  /** What is there. */
  readonly other: string;

  static {
    nameErrorClass(this, "NetworkConflictError");
  }

  constructor(details: ErrorContext & { readonly field: string; readonly wanted: string; readonly other: string }) {
    super(`${details.field}: ${details.wanted} collides with ${details.other}`, {
      ...details,
      code: "NETWORK_CONFLICT",
    });
    this.field = details.field;
    this.wanted = details.wanted;
    this.other = details.other;
  }

  protected override tenantFields(): JsonObject {
    return { field: this.field, wanted: this.wanted };
  }
}

/** The network, range or project still has what must go first. Code `NETWORK_IN_USE`. */
export class NetworkInUseError extends HyperviseError {
  static {
    nameErrorClass(this, "NetworkInUseError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "NETWORK_IN_USE" });
  }
}

/** No network is left for the project or fits the request. Code `NO_NETWORK`. */
export class NoNetworkError extends HyperviseError {
  static {
    nameErrorClass(this, "NoNetworkError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "NO_NETWORK" });
  }
}

/** Every address of the network or pool is taken. Retryable: some may come back. Code `NO_FREE_ADDRESS`. */
export class NoFreeAddressError extends HyperviseError {
  /** Id of the network or name of the floating pool. */
  readonly pool: string;

  static {
    nameErrorClass(this, "NoFreeAddressError");
  }

  constructor(pool: string, context: ErrorContext = {}) {
    super("no address is free", { retryable: true, ...context, code: "NO_FREE_ADDRESS" });
    this.pool = pool;
  }

  protected override tenantFields(): JsonObject {
    return { pool: this.pool };
  }
}

/** The address is taken, reserved, or bound to something else (Nova's `AddressAlreadyAllocated`). Code `ADDRESS_IN_USE`. */
export class AddressInUseError extends HyperviseError {
  readonly address: string;

  static {
    nameErrorClass(this, "AddressInUseError");
  }

  constructor(address: string, why: string, context: ErrorContext = {}) {
    super(`the address ${address} ${why}`, { ...context, code: "ADDRESS_IN_USE" });
    this.address = address;
  }

  protected override tenantFields(): JsonObject {
    return { address: this.address };
  }
}

/** There is no such fixed or floating address, or it is not bound to what was said. Code `ADDRESS_NOT_FOUND`. */
export class AddressNotFoundError extends HyperviseError {
  readonly address: string;

  static {
    nameErrorClass(this, "AddressNotFoundError");
  }

  constructor(address: string, why = "is not known", context: ErrorContext = {}) {
    super(`the address ${address} ${why}`, { ...context, code: "ADDRESS_NOT_FOUND" });
    this.address = address;
  }

  protected override tenantFields(): JsonObject {
    return { address: this.address };
  }
}

/** There is no such VIF. Code `VIF_NOT_FOUND`. */
export class VifNotFoundError extends HyperviseError {
  static {
    nameErrorClass(this, "VifNotFoundError");
  }

  constructor(vif: string, context: ErrorContext = {}) {
    super("there is no such VIF", { detail: vif, ...context, code: "VIF_NOT_FOUND" });
  }
}

/** No MAC address was found that nobody has. Code `NO_FREE_MAC_ADDRESS`. */
export class NoFreeMacAddressError extends HyperviseError {
  static {
    nameErrorClass(this, "NoFreeMacAddressError");
  }

  constructor(attempts: number, context: ErrorContext = {}) {
    super(`no free MAC address was found in ${attempts} attempts`, {
      retryable: true,
      ...context,
      code: "NO_FREE_MAC_ADDRESS",
    });
  }
}

/** There is no such pool of floating addresses. Code `FLOATING_POOL_NOT_FOUND`. */
export class FloatingPoolNotFoundError extends HyperviseError {
  readonly pool: string;

  static {
    nameErrorClass(this, "FloatingPoolNotFoundError");
  }

  constructor(pool: string, context: ErrorContext = {}) {
    super("there is no such pool of floating addresses", { ...context, code: "FLOATING_POOL_NOT_FOUND" });
    this.pool = pool;
  }

  protected override tenantFields(): JsonObject {
    return { pool: this.pool };
  }
}

/** The project has as many as it may have. Code `QUOTA_EXCEEDED`. */
export class QuotaExceededError extends HyperviseError {
  readonly resource: "fixedIps" | "floatingIps";
  readonly limit: number;

  static {
    nameErrorClass(this, "QuotaExceededError");
  }

  constructor(resource: "fixedIps" | "floatingIps", limit: number, context: ErrorContext = {}) {
    super(`the project may have ${limit} ${resource === "fixedIps" ? "fixed" : "floating"} addresses`, {
      ...context,
      code: "QUOTA_EXCEEDED",
    });
    this.resource = resource;
    this.limit = limit;
  }

  protected override tenantFields(): JsonObject {
    return { resource: this.resource, limit: this.limit };
  }
}

/** It belongs to another project. Code `FORBIDDEN`. */
export class ForbiddenError extends HyperviseError {
  static {
    nameErrorClass(this, "ForbiddenError");
  }

  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "FORBIDDEN" });
  }
}

/** The host that has to do it is not known or can't be reached. Retryable. Code `NETWORK_HOST_UNREACHABLE`. */
export class NetworkHostUnreachableError extends HyperviseError {
  readonly host: string;

  static {
    nameErrorClass(this, "NetworkHostUnreachableError");
  }

  constructor(host: string, context: ErrorContext = {}) {
    super("the network host can't be reached", {
      retryable: true,
      detail: host,
      ...context,
      code: "NETWORK_HOST_UNREACHABLE",
    });
    this.host = host;
  }
}
