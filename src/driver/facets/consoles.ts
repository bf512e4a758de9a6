/** Consoles of an instance. */
import type { Duplex } from "node:stream";
import type { CommonOptions, OperationOptions, Secret } from "../../core/index.js";
import type { ConsoleAddress, ConsoleLog, Screenshot } from "../console.js";
import type { InstanceRef } from "../instance-spec.js";

export interface ConsoleOutputFacet {
  /** The last bytes that the guest wrote to its serial console; kept when the guest is stopped. `maxBytes` 1 to 16 MiB, default 100 KiB as Nova's. */
  getConsoleOutput(
    instance: Pick<InstanceRef, "uuid">,
    options?: CommonOptions & { readonly maxBytes?: number },
  ): Promise<ConsoleLog>;
}
export interface ConsoleStreamFacet {
  /** Both directions of the serial console. Rejects with `InvalidStateError` when the guest is not in memory, `ConflictError` when somebody else has it open. The stream ends with the guest. */
  openConsole(instance: Pick<InstanceRef, "uuid">, options?: CommonOptions): Promise<Duplex>;
}
export interface VncConsoleFacet {
  /** Rejects with `ConsoleUnavailableError` when the guest is not in memory or has no VNC server. */
  getVncConsole(instance: Pick<InstanceRef, "uuid">, options?: CommonOptions): Promise<ConsoleAddress>;
}
export interface SpiceConsoleFacet {
  /** As `getVncConsole`. */
  getSpiceConsole(instance: Pick<InstanceRef, "uuid">, options?: CommonOptions): Promise<ConsoleAddress>;
}
export interface SerialConsoleFacet {
  /** As `getVncConsole`. */
  getSerialConsole(instance: Pick<InstanceRef, "uuid">, options?: CommonOptions): Promise<ConsoleAddress>;
}
export interface ScreenshotsFacet {
  /** A picture of the guest's display. Rejects with `InvalidStateError` when it is not in memory. */
  takeScreenshot(instance: Pick<InstanceRef, "uuid">, options?: CommonOptions): Promise<Screenshot>;
}
export interface ConsolePasswordsFacet {
  /**
   * Sets the password of a graphical console of a guest in memory, for `validMs` milliseconds (default: until it stops). VNC knows passwords of up to 8 ASCII characters only; longer ones are refused.
   * It is kept nowhere: a guest that is started anew has none. Rejects with `ConsoleUnavailableError` (no console of the kind), `InvalidStateError` (not in memory), `InvalidArgumentError`.
   */
  setConsolePassword(
    instance: InstanceRef,
    kind: "vnc" | "spice",
    password: string | Secret,
    options?: OperationOptions & { readonly validMs?: number },
  ): Promise<void>;
}
