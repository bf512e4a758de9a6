/** What goes wrong with filters. */
import { HyperviseError, nameErrorClass } from "../core/index.js";
import type { ErrorContext } from "../core/index.js";

/** The host did not take a change of its filters; those that were in force still are. Code `FIREWALL_FAILED`. */
export class FirewallError extends HyperviseError {
  static {
    nameErrorClass(this, "FirewallError");
  }
  constructor(message: string, context: ErrorContext = {}) {
    super(message, { ...context, code: "FIREWALL_FAILED" });
  }
}
