/** What a guest's hardware needs beyond places on buses before it starts: its firmware, and an id of its own generation. Pure. */
import { NotSupportedError } from "../../core/index.js";
import type { GuestDefinition } from "../../driver/index.js";
import type { Hardware } from "../plan/hardware.js";
import { TOPOLOGIES } from "../plan/topology.js";
import { chooseFirmware, wishKey } from "./firmware-descriptor.js";
import type { FirmwareDescriptor, FirmwareFiles } from "./firmware-descriptor.js";

export interface CompletionRequest {
  readonly definition: GuestDefinition;
  readonly hardware: Hardware;
  /** What this host has, best first. */
  readonly firmware: readonly FirmwareDescriptor[];
  readonly architecture: string;
  /** Whether QEMU is built with what tells a guest its generation. */
  readonly canTellGeneration: boolean;
  /** Makes an id that nobody has. Absent for a guest that comes with its memory: it can't be given what it did not have. */
  readonly newId?: (() => string) | undefined;
}

/** The hardware with what is missing. What the guest has, it keeps. @throws NotSupportedError when the host has no firmware that fits */
export function completeHardware(request: CompletionRequest): Hardware {
  const { firmware: _firmware, generationId: _generation, ...rest } = request.hardware;
  return { ...rest, ...firmwareOf(request), ...generationOf(request) };
}

function firmwareOf({ definition, hardware, firmware, architecture }: CompletionRequest): Pick<Hardware, "firmware"> {
  if (definition.firmware !== "uefi") return {};
  const wish = { uefi: definition.hardware?.uefi ?? {}, architecture, machineType: hardware.machineType };
  const known = hardware.firmware;
  if (known !== undefined && known.wish === wishKey(wish) && isHere(known, wish.uefi.codePath, firmware))
    return { firmware: known };
  const chosen = chooseFirmware(firmware, wish);
  if (chosen === undefined)
    throw new NotSupportedError({
      capability: "firmware uefi",
      message: "this host has no UEFI firmware for the guest",
    });
  return { firmware: chosen };
}

/** A guest that comes from another host, or an upgrade of this one, may name code that is elsewhere here. */
function isHere(
  { codePath }: FirmwareFiles,
  asked: string | undefined,
  firmware: readonly FirmwareDescriptor[],
): boolean {
  return asked !== undefined || firmware.some((descriptor) => descriptor.codePath === codePath);
}

function generationOf({
  definition,
  hardware,
  canTellGeneration,
  newId,
}: CompletionRequest): Pick<Hardware, "generationId"> {
  const wanted = definition.hardware?.generationId ?? TOPOLOGIES[hardware.machine].generationId;
  const generationId = hardware.generationId ?? newId?.();
  return wanted && canTellGeneration && generationId !== undefined ? { generationId } : {};
}
