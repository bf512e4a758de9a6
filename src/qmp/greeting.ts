/** QEMU's greeting: the first message of a session. */
import { QmpProtocolError } from "./errors.js";
import { isQmpObject } from "./qmp-value.js";
import type { QmpObject } from "./qmp-value.js";

/** QEMU's version; for choosing behaviour look at its schema instead, distributions change what a version has. */
export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
  /** The distribution's own name of the build; may be empty. */
  readonly package: string;
}

export interface QmpGreeting {
  readonly version: QemuVersion;
  /** Capabilities that the monitor offers, such as `oob`. */
  readonly capabilities: readonly string[];
}

/**
 * Reads a greeting.
 * @throws QmpProtocolError (`bad-greeting`) for anything else
 */
export function readGreeting(message: QmpObject): QmpGreeting {
  const greeting = message["QMP"];
  const version = isQmpObject(greeting) ? greeting["version"] : undefined;
  const qemu = isQmpObject(version) ? version["qemu"] : undefined;
  if (!isQmpObject(greeting) || !isQmpObject(version) || !isQmpObject(qemu)) throw notAGreeting();
  const { major, minor, micro } = qemu;
  const { capabilities } = greeting;
  if (typeof major !== "number" || typeof minor !== "number" || typeof micro !== "number") throw notAGreeting();
  if (!Array.isArray(capabilities)) throw notAGreeting();
  const name = version["package"];
  return {
    version: { major, minor, micro, package: typeof name === "string" ? name : "" },
    capabilities: (capabilities as unknown[]).filter((capability) => typeof capability === "string"),
  };
}

function notAGreeting(): QmpProtocolError {
  return new QmpProtocolError("the peer did not greet as QEMU does", { fault: "bad-greeting" });
}
