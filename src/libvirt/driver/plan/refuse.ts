/** Errors of the planner, all of which name the field of the definition that they are about. */
import { InvalidArgumentError, NotSupportedError } from "../../../core/index.js";

/** What this kind of hypervisor, or this host, does not have: `field` is below `definition`. */
export function unsupported(field: string, why: string): NotSupportedError {
  return new NotSupportedError({ capability: `definition.${field}`, message: `definition.${field}: ${why}` });
}

/** What contradicts itself or a bound: `field` is below `definition`. */
export function invalid(field: string, value: unknown, expected: string): InvalidArgumentError {
  return new InvalidArgumentError({ field: `definition.${field}`, value, expected });
}
