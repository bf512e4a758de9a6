/** Names of network interfaces. */
import { InvalidArgumentError } from "../core/index.js";

/** The kernel keeps 16 bytes, the last of which is NUL. */
export const MAX_LINK_NAME = 15;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/**
 * @throws InvalidArgumentError unless a name is 1 to 15 letters, digits, dots, underscores and hyphens, and begins with a
 * letter or digit: stricter than the kernel, so that no name means something to a tool.
 */
export function checkLinkName(name: string, field = "name"): void {
  if (typeof name !== "string" || name.length > MAX_LINK_NAME || !NAME.test(name)) {
    throw new InvalidArgumentError({
      field,
      value: name,
      expected: "1 to 15 letters, digits, '.', '_' and '-', beginning with a letter or digit",
    });
  }
}
