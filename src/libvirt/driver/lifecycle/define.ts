/** A guest's domain in libvirt's persistent configuration. */
import { formatDomainXml, parseDomainXml } from "../../xml/index.js";
import type { GuestCore } from "../guest-core.js";
import { planOnHost } from "../plan-on-host.js";
import { readDomain } from "../plan/index.js";

/** Defines the domain by the guest's state, or defines it anew; keeps which machine and which copy it is. `virDomainDefineXMLFlags`. */
export async function defineDomain(core: GuestCore): Promise<void> {
  const { host, state } = core;
  const limits = { deadlineMs: host.timeouts.callMs };
  const xml = formatDomainXml(planOnHost(host, state.definition, state));
  const domain = await host.client.defineDomainXmlFlags(xml, { flags: ["validate"], ...limits });
  const found = readDomain(parseDomainXml(await domain.getXmlDesc({ flags: ["inactive"], ...limits })));
  const { machineType, generationId } = found;
  await core.update((current) => {
    const same = current.machineType === machineType && current.generationId === generationId;
    if (same) return current;
    return {
      ...current,
      ...(machineType === undefined ? {} : { machineType }),
      ...(generationId === undefined ? {} : { generationId }),
    };
  });
}
