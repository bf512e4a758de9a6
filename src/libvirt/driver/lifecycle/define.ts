/** A guest's domain in libvirt's persistent configuration. */
import { isLibvirtError } from "../../rpc/index.js";
import { formatDomainXml, parseDomainXml } from "../../xml/index.js";
import type { DomainXml } from "../../xml/index.js";
import type { GuestCore } from "../guest-core.js";
import { planOnHost } from "../plan-on-host.js";
import { keepPlaces, readDomain } from "../plan/index.js";

/** Defines the domain by the guest's state, or defines it anew; keeps which machine and which copy it is, and where its devices are. `virDomainDefineXMLFlags`. */
export async function defineDomain(core: GuestCore): Promise<void> {
  const { host, state } = core;
  await host.directIo.learn(state.definition.disks.map(({ source }) => source));
  const limits = { deadlineMs: host.timeouts.callMs };
  const planned = planOnHost(host, state.definition, state);
  const before = state.machineType === undefined ? undefined : await readConfigured(core);
  const xml = formatDomainXml(before === undefined ? planned : keepPlaces(planned, before));
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

/** Undefined: libvirt has forgotten it. */
async function readConfigured({ domain, host }: GuestCore): Promise<DomainXml | undefined> {
  try {
    return parseDomainXml(await domain.getXmlDesc({ flags: ["inactive"], deadlineMs: host.timeouts.callMs }));
  } catch (error) {
    if (isLibvirtError(error, "domainNotFound")) return undefined;
    throw error;
  }
}
