/** The command line of a guest on a host. */
import { randomUUID } from "node:crypto";
import type { GuestDefinition } from "../driver/index.js";
import { completeHardware } from "./firmware/complete-hardware.js";
import type { KvmHost } from "./host.js";
import { planCommandLine } from "./plan/command-line.js";
import type { CommandLine } from "./plan/command-line.js";
import { requireDeviceProperties } from "./plan/device-properties.js";
import { throughPageCache } from "./plan/disk-tuning.js";
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
  /** Ids of the disks that can't go past the host's page cache. Default: all can. */
  readonly throughPageCache?: ReadonlySet<string>;
}

/** Touches nothing. The same each time, but for a new guest's id of its generation. @throws NotSupportedError when the host has no firmware that fits, or a device of its QEMU not the properties */
export function planOnHost(
  host: KvmHost,
  wanted: GuestDefinition,
  slots: Hardware,
  { arriving = false, spicePort, throughPageCache: indirect = new Set() }: PlanOptions = {},
): PlannedGuest {
  const disks = wanted.disks.map((disk) =>
    indirect.has(disk.id) ? { ...disk, tuning: throughPageCache(disk.tuning) } : disk,
  );
  const definition = { ...wanted, disks };
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
  const commandLine = planCommandLine({ ...guest, capabilities, accelerator, cpuModel, network, cpu, helpers });
  requireDeviceProperties(commandLine.args, capabilities);
  return { hardware, commandLine };
}
