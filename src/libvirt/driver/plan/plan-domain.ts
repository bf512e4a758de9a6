/** From a guest's definition to libvirt's domain. Pure: reads nothing, starts nothing. */
import { checkHardwareFits } from "../../../driver/index.js";
import type { GuestDefinition } from "../../../driver/index.js";
import type { DomainXml } from "../../xml/index.js";
import { guestDefinitionCheck } from "./check-definition.js";
import { checkOptions, checkTexts } from "./check-options.js";
import type { LibvirtHostFacts } from "./host-facts.js";
import { metadataXml } from "./metadata.js";
import { otherDomain } from "./other-domains.js";
import { planContext } from "./plan-context.js";
import type { DomainPlanOptions } from "./plan-options.js";
import { qemuDomain } from "./qemu-domain.js";
import { invalid } from "./refuse.js";
import { domainTypeOf } from "./virt-type.js";

/**
 * The domain that a definition is on a host. The same arguments give the same domain.
 * @throws InvalidArgumentError for what contradicts itself, NotSupportedError for what libvirt, the kind of hypervisor or the host can't do; both name the field.
 */
export function planDomain(
  definition: GuestDefinition,
  host: LibvirtHostFacts,
  options: DomainPlanOptions = {},
): DomainXml {
  const checked = guestDefinitionCheck(definition, "definition");
  checkOptions(options);
  checkUnique(checked);
  checkTexts(checked.hardware ?? {});
  checkHardwareFits(
    checked.hardware,
    checked,
    checked.disks.map(({ tuning, bus }, index) => ({ tuning, bus, path: `definition.disks[${index}].tuning` })),
    "definition.hardware",
  );
  checkTopology(checked);
  const context = planContext(checked, host, options);
  const { uuid, name } = checked;
  const { metadata: entries = {}, tags = {} } = options;
  return {
    type: domainTypeOf(host.virtType),
    uuid,
    name,
    metadata: metadataXml({ uuid, name, entries, tags }),
    ...(context.family === "qemu" ? qemuDomain(context) : otherDomain(context, context.family)),
  };
}

function checkTopology({ cpuTopology, vcpus, hardware }: GuestDefinition): void {
  if (cpuTopology === undefined || hardware?.cpu?.maxVcpus !== undefined) return;
  const { sockets, cores, threads } = cpuTopology;
  if (sockets * cores * threads !== vcpus)
    throw invalid("cpuTopology", `${sockets} * ${cores} * ${threads}`, `a product of ${vcpus}, the number of vCPUs`);
}

function checkUnique({ disks, nics }: GuestDefinition): void {
  unique(disks, "disks", "id", ({ id }) => id);
  unique(disks, "disks", "deviceName", ({ deviceName }) => deviceName);
  unique(nics, "nics", "id", ({ id }) => id);
  unique(nics, "nics", "macAddress", ({ macAddress }) => macAddress);
  const booted = new Set<number>();
  for (const [list, devices] of [["disks", disks] as const, ["nics", nics] as const])
    devices.forEach(({ bootIndex }, index) => {
      if (bootIndex === undefined) return;
      if (booted.has(bootIndex))
        throw invalid(`${list}[${index}].bootIndex`, bootIndex, "one that no other device has");
      booted.add(bootIndex);
    });
}

function unique<T>(items: readonly T[], list: string, key: string, valueOf: (item: T) => string): void {
  const values = items.map(valueOf);
  const second = values.findIndex((value, index) => values.indexOf(value) !== index);
  if (second >= 0)
    throw invalid(`${list}[${second}].${key}`, values[second], `one that no other of the guest's ${list} has`);
}
