/** Serial consoles on TCP ports of the host: what a guest holds of them. */
import { check } from "../../../core/index.js";
import type { Check } from "../../../core/index.js";
import type { GuestDefinition } from "../../../driver/index.js";

/** The ports on which a guest's serial consoles listen: the guest's first, second and third. */
export interface SerialConsole {
  readonly address: string;
  readonly ports: readonly number[];
}

const portNumber = check.integer({ min: 1, max: 65_535 });

export const serialConsoleCheck: Check<SerialConsole> = check.object({
  address: check.ipAddress(),
  ports: check.array(portNumber, { min: 1, max: 4 }),
});

/** How many a guest of the definition needs. */
export function serialPortsOf({ hardware }: Pick<GuestDefinition, "hardware">): number {
  return 1 + (hardware?.extraSerialPorts ?? 0);
}
