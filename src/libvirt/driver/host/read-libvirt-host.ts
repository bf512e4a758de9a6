/** What a daemon says that its host can do, as the facts that plans are made with. */
import { isLibvirtError } from "../../rpc/index.js";
import type { LibvirtClient } from "../../rpc/index.js";
import { parseCapabilitiesXml, parseDomainCapabilitiesXml } from "../../xml/index.js";
import type { DomainCapabilitiesXml } from "../../xml/index.js";
import type { ResolvedLibvirtOptions } from "../options.js";
import { domainTypeOf, libvirtHostFacts } from "../plan/index.js";
import type { LibvirtHostFacts } from "../plan/index.js";
import { checkReleases } from "./releases.js";

/** Machines whose abilities are read: those that definitions can name. */
const MACHINES = ["q35", "pc", "virt"];

/** @throws HypervisorUnavailableError for a libvirt or a QEMU that is too old; NotSupportedError when it has no guests of the kind; LibvirtError */
export async function readLibvirtHost(
  client: LibvirtClient,
  { virtType }: ResolvedLibvirtOptions,
): Promise<LibvirtHostFacts> {
  const libvirtVersion = await checkReleases(client, virtType);
  const capabilities = parseCapabilitiesXml(await client.getCapabilities());
  const { guests } = libvirtHostFacts({ virtType, libvirtVersion, capabilities });
  const wanted = guests.flatMap(({ arch, machines }) =>
    machines.filter(({ name }) => MACHINES.includes(name)).map(({ name }) => ({ arch, machine: name })),
  );
  const asked = wanted.length === 0 ? guests.map(({ arch }) => ({ arch, machine: undefined })) : wanted;
  const documents = await Promise.all(
    asked.map((one) => readMachine(client, { ...one, virttype: domainTypeOf(virtType) })),
  );
  const domainCapabilities = documents.filter((document) => document !== undefined);
  return libvirtHostFacts({ virtType, libvirtVersion, capabilities, domainCapabilities });
}

/** Undefined where the kind of hypervisor has no such document. */
async function readMachine(
  client: LibvirtClient,
  {
    arch,
    machine,
    virttype,
  }: { readonly arch: string; readonly machine: string | undefined; readonly virttype: string },
): Promise<DomainCapabilitiesXml | undefined> {
  try {
    return parseDomainCapabilitiesXml(await client.getDomainCapabilities({ arch, machine, virttype }));
  } catch (error) {
    if (isLibvirtError(error, "notSupported") || isLibvirtError(error, "invalidArgument")) return undefined;
    // libvirt probes the emulator for it, which it does for nobody who only reads.
    if (isLibvirtError(error, "accessDenied")) return undefined;
    throw error;
  }
}
