/** What a template keeps for KVM: the hardware that its memory knows, and what it ran on. Read as anything from outside. Pure. */
import { check, isHyperviseError } from "../../core/index.js";
import type { Check, JsonObject } from "../../core/index.js";
import { TemplateUnusableError } from "../../driver/index.js";
import type { GuestDefinition, GuestTemplate } from "../../driver/index.js";
import { guestDefinitionCheck } from "../../hypervisor/index.js";
import type { KvmHost } from "../host.js";
import { machineNamed } from "../plan/capabilities.js";
import type { Accelerator } from "../plan/command-line.js";
import type { DeviceBinding, Hardware } from "../plan/hardware.js";
import { hardwareCheck } from "../state/guest-state.js";

export interface TemplatePlatform {
  readonly version: 1;
  readonly hardware: Hardware;
  readonly accelerator: Accelerator;
  readonly cpuModel: string;
}

export interface KvmTemplate extends TemplatePlatform {
  readonly memoryPath: string;
  readonly definition: GuestDefinition;
}

const platformCheck: Check<TemplatePlatform> = check.object({
  version: check.oneOf([1] as const),
  hardware: hardwareCheck,
  accelerator: check.oneOf(["kvm", "tcg"]),
  cpuModel: check.string({ max: 1024, charset: "ascii" }),
});

/** As plain data. */
export function describePlatform(
  { accelerator, cpuModel }: Pick<KvmHost, "accelerator" | "cpuModel">,
  hardware: Hardware,
): JsonObject {
  return JSON.parse(
    JSON.stringify(platformCheck({ version: 1, hardware, accelerator, cpuModel }, "platform")),
  ) as JsonObject;
}

/** @throws TemplateUnusableError for what no KVM host has written */
export function readTemplate({ memoryPath, definition, platform }: GuestTemplate): KvmTemplate {
  try {
    const path = check.absolutePath()(memoryPath, "template.memoryPath");
    const checked = guestDefinitionCheck(definition, "template.definition");
    return { ...platformCheck(platform, "template.platform"), memoryPath: path, definition: checked };
  } catch (cause) {
    if (!isHyperviseError(cause, "INVALID_ARGUMENT")) throw cause;
    throw new TemplateUnusableError("the template's description can't be read", { cause, remedy: "Save it anew." });
  }
}

/** @throws TemplateUnusableError when this host can't run what the template ran on */
export function requireRunnable(
  { accelerator, cpuModel, hardware }: TemplatePlatform,
  host: Pick<KvmHost, "accelerator" | "cpuModel" | "capabilities">,
): void {
  const refuse = (message: string): never => {
    throw new TemplateUnusableError(message);
  };
  if (accelerator !== host.accelerator)
    refuse(`the template ran on ${accelerator}, guests run on ${host.accelerator} here`);
  if (cpuModel !== host.cpuModel) refuse(`the template had the CPU ${cpuModel}, guests have ${host.cpuModel} here`);
  if (machineNamed(host.capabilities, hardware.machineType) === undefined)
    refuse(`QEMU has no machine ${hardware.machineType} here`);
}

/**
 * The template's hardware as that of another guest: each device has the slot and the name in QEMU that the memory knows it by, under the id that the guest has it by.
 * @throws TemplateUnusableError when the guest's devices are not those of the template
 */
export function cloneHardware(
  definition: GuestDefinition,
  template: Pick<KvmTemplate, "definition" | "hardware">,
  newId: () => string,
): Hardware {
  requireAlike(definition, template.definition);
  const ids = { disk: renamed("disks"), nic: renamed("nics") };
  const { generationId, ...hardware } = template.hardware;
  return {
    ...hardware,
    bindings: hardware.bindings.map((binding): DeviceBinding => {
      const { kind, id } = binding;
      return kind === "disk" || kind === "nic" ? { ...binding, id: ids[kind].get(id) ?? id } : binding;
    }),
    ...(generationId === undefined ? {} : { generationId: newId() }),
  };

  function renamed(kind: "disks" | "nics"): ReadonlyMap<string, string> {
    return new Map(template.definition[kind].map(({ id }, index) => [id, definition[kind][index]?.id ?? id]));
  }
}

/** What a guest in the template's memory has devices for. */
function requireAlike(here: GuestDefinition, there: GuestDefinition): void {
  const refuse = (what: string): never => {
    throw new TemplateUnusableError(`${what} is not as in the template`, {
      instance: { uuid: here.uuid, name: here.name },
      remedy: "Save the template from a guest that has what its spec says.",
    });
  };
  for (const member of ["vcpus", "memoryMiB", "firmware", "guestAgent"] as const)
    if (here[member] !== there[member]) refuse(member);
  if (here.disks.length !== there.disks.length) refuse("the number of disks");
  if (here.nics.length !== there.nics.length) refuse("the number of NICs");
  for (const [index, disk] of here.disks.entries()) {
    const other = there.disks[index];
    for (const member of ["bus", "deviceType", "deviceName", "readOnly"] as const)
      if (disk[member] !== other?.[member]) refuse(`${member} of disk ${disk.id}`);
  }
  for (const [index, nic] of here.nics.entries()) {
    const other = there.nics[index];
    for (const member of ["model", "queues", "mtu"] as const)
      if (nic[member] !== other?.[member]) refuse(`${member} of NIC ${nic.id}`);
    // What a TAP does for the guest's driver, user-mode networking can't.
    if (nic.backend.type === "user" && other?.backend.type === "tap") refuse(`the network of NIC ${nic.id}`);
  }
}
