/** The command line of a guest on a host. */
import { randomUUID } from "node:crypto";
import type { GuestDefinition } from "../driver/index.js";
import { completeHardware } from "./firmware/complete-hardware.js";
import type { KvmHost } from "./host.js";
import { planCommandLine } from "./plan/command-line.js";
import type { CommandLine } from "./plan/command-line.js";
import type { Hardware } from "./plan/hardware.js";

export interface PlannedGuest {
  /** The hardware with what the guest was given for its start. */
  readonly hardware: Hardware;
  readonly commandLine: CommandLine;
}

export interface PlanOptions {
  /** True for a guest that comes with its memory, and has the hardware that it had. */
  readonly arriving?: boolean;
  /** A port for SPICE, where the definition leaves the choice. */
  readonly spicePort?: number | undefined;
}

/** Touches nothing. The same each time, but for a new guest's id of its generation. @throws NotSupportedError when the host has no firmware that fits */
export function planOnHost(
  host: KvmHost,
  definition: GuestDefinition,
  slots: Hardware,
  { arriving = false, spicePort }: PlanOptions = {},
): PlannedGuest {
  const { capabilities, accelerator, cpuModel, network, support, store } = host;
  const hardware = completeHardware({
    definition,
    hardware: slots,
    firmware: support.firmware,
    architecture: capabilities.target,
    canTellGeneration: capabilities.devices.includes("vmgenid"),
    newId: arriving ? undefined : randomUUID,
  });
  const { pid: pidFile } = store.files(definition.uuid);
  const guest = { definition, hardware, pidFile, spicePort };
  const { cpu, helpers } = support;
  return {
    hardware,
    commandLine: planCommandLine({ ...guest, capabilities, accelerator, cpuModel, network, cpu, helpers }),
  };
}
