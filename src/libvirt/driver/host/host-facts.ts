/** What the host is and what it has left, by libvirt's word. */
import { uptime } from "node:os";
import type { CommonOptions } from "../../../core/index.js";
import type { CpuModel, GuestDefinition, HostFacts } from "../../../driver/index.js";
import { hostAddress } from "../../../host/index.js";
import { parseCapabilitiesXml } from "../../xml/index.js";
import type { CapabilitiesXml } from "../../xml/index.js";
import type { LibvirtHost } from "../host.js";
import { fileBackedMemory, hostMemory, numaCells } from "./host-memory.js";

/**
 * `virConnectGetHostname`, `virConnectGetVersion`, `virConnectGetCapabilities`, `virNodeGetInfo` and `virNodeGetMemoryStats`.
 * @param inMemory the guests that are
 */
export async function readHostFacts(
  host: LibvirtHost,
  inMemory: readonly GuestDefinition[],
  { signal, deadline }: CommonOptions,
): Promise<HostFacts> {
  const { client, timeouts } = host;
  const limits = { signal, deadlineMs: deadline ?? timeouts.callMs };
  const [hostname, version, document, node, memory] = await Promise.all([
    client.getHostname(limits),
    client.getVersion(limits),
    client.getCapabilities(limits),
    client.nodeGetInfo(limits),
    hostMemory(client, limits),
  ]);
  const capabilities = parseCapabilitiesXml(document);
  const { fileBackedMiB, reservedHugepages = [] } = host.options.memory;
  const numa = numaCells(capabilities, reservedHugepages);
  return {
    hostname,
    ipAddress: hostAddress(),
    hypervisorType: host.options.virtType,
    hypervisorVersion: Number(version),
    libraryVersion: host.facts.libvirtVersion,
    cpu: cpuOf(capabilities),
    vcpus: node.cpus,
    ...(fileBackedMiB === undefined ? memory : fileBackedMemory(fileBackedMiB, inMemory)),
    uptimeMs: Math.round(uptime() * 1000),
    ...(numa.length === 0 ? {} : { numa }),
  };
}

function cpuOf({ host }: CapabilitiesXml): CpuModel {
  const { arch = "x86_64", vendor, model, topology, feature = [] } = host?.cpu ?? {};
  return {
    arch,
    ...(vendor === undefined ? {} : { vendor }),
    ...(model === undefined ? {} : { model }),
    topology: {
      sockets: Number(topology?.sockets ?? 1),
      cores: Number(topology?.cores ?? 1),
      threads: Number(topology?.threads ?? 1),
    },
    features: feature.flatMap(({ name }) => name ?? []),
  };
}
