/** What a guest's machine itself is: its type, CPUs, memory, firmware and clock. Pure. */
import { dirname } from "node:path";
import type { GuestDefinition } from "../../driver/index.js";
import { cpuOption, smp } from "./cpu.js";
import type { CpuRequest } from "./cpu.js";
import { flash } from "./flash.js";
import type { Hardware } from "./hardware.js";
import { bootMemory } from "./memory.js";
import { bootMemoryMiB, maxMemoryMiB, memoryOf, memorySlots } from "./memory-slots.js";

export interface MachineRequest extends CpuRequest {
  readonly definition: GuestDefinition;
  readonly hardware: Hardware;
  readonly accelerator: string;
  /** Its directory is the guest's. */
  readonly pidFile: string;
}

const MACHINE_OPTIONS = {
  q35: ["usb=off"],
  pc: ["usb=off"],
  microvm: ["acpi=on", "pcie=on", "rtc=on"],
  virt: ["gic-version=max"],
} as const;

/** Machine, accelerator, CPUs, memory, firmware and clock. */
export function machineArguments(request: MachineRequest): string[] {
  const { definition, hardware, accelerator, pidFile } = request;
  const memory = bootMemory(definition, hardware);
  const firmware = flash(hardware, dirname(pidFile));
  const { mergeable } = memoryOf(definition);
  const options = [
    ...MACHINE_OPTIONS[hardware.machine],
    "dump-guest-core=off",
    ...(mergeable === false ? ["mem-merge=off"] : []),
    ...(memory.machineOption === undefined ? [] : [memory.machineOption]),
    ...firmware.machineOptions,
  ];
  return [
    "-machine",
    [hardware.machineType, ...options].join(","),
    "-accel",
    accelerator,
    "-cpu",
    cpuOption(request),
    "-smp",
    smp(definition),
    "-m",
    memorySize(definition, hardware),
    ...memory.args,
    ...firmware.args,
    "-rtc",
    clock(request),
  ];
}

function clock({ definition, hardware }: MachineRequest): string {
  const { base = "utc", driftFix = "slew" } = definition.hardware?.clock ?? {};
  // Only a PC's clock loses ticks.
  return `base=${base}${driftFix === "slew" && hardware.machine !== "virt" ? ",driftfix=slew" : ""}`;
}

function memorySize(definition: GuestDefinition, hardware: Hardware): string {
  const size = `size=${bootMemoryMiB(definition, hardware)}M`;
  const slots = memorySlots(definition);
  const most = maxMemoryMiB(definition);
  if (slots === 0 && !hardware.bindings.some(({ kind }) => kind === "memory")) return size;
  return `${size}${slots === 0 ? "" : `,slots=${slots}`},maxmem=${most}M`;
}
