/** From a guest's definition to libvirt's domain. Pure: reads nothing, starts nothing. */
import { checkHardwareFits } from "../../../driver/index.js";
import type { GuestDefinition } from "../../../driver/index.js";
import { guestDefinitionCheck, refuseContradictions } from "../../../hypervisor/index.js";
import type { DomainXml } from "../../xml/index.js";
import { checkOptions, checkTexts } from "./check-options.js";
import type { LibvirtHostFacts } from "./host-facts.js";
import { metadataOf, metadataXml } from "./metadata.js";
import { otherDomain } from "./other-domains.js";
import { planContext } from "./plan-context.js";
import type { DomainPlanOptions } from "./plan-options.js";
import { qemuDomain } from "./qemu-domain.js";
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
  refuseContradictions(checked);
  checkTexts(checked.hardware ?? {});
  checkHardwareFits(
    checked.hardware,
    checked,
    checked.disks.map(({ tuning, bus }, index) => ({ tuning, bus, path: `definition.disks[${index}].tuning` })),
    "definition.hardware",
  );
  const context = planContext(checked, host, options);
  const { uuid, name } = checked;
  return {
    type: domainTypeOf(host.virtType),
    uuid,
    name,
    metadata: metadataXml(metadataOf(checked, options)),
    ...(context.family === "qemu" ? qemuDomain(context) : otherDomain(context, context.family)),
  };
}
