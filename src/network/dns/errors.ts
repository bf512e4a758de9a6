/** What DNS drivers refuse. */
import { HyperviseError, nameErrorClass } from "../../core/index.js";
import type { ErrorContext } from "../../core/index.js";

/** The name has no address of that version there. Code `DNS_ENTRY_NOT_FOUND`. */
export class DnsEntryNotFoundError extends HyperviseError {
  static {
    nameErrorClass(this, "DnsEntryNotFoundError");
  }

  constructor(name: string, context: ErrorContext = {}) {
    super(`there is no DNS entry ${name}`, { ...context, code: "DNS_ENTRY_NOT_FOUND" });
  }
}

/** There is no such domain. Code `DNS_DOMAIN_NOT_FOUND`. */
export class DnsDomainNotFoundError extends HyperviseError {
  static {
    nameErrorClass(this, "DnsDomainNotFoundError");
  }

  constructor(domain: string, context: ErrorContext = {}) {
    super(`there is no DNS domain ${domain}`, { ...context, code: "DNS_DOMAIN_NOT_FOUND" });
  }
}
