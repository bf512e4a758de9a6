/** What the host is and what it has left, by libvirt's word. */
import { uptime } from "node:os";
import type { CommonOptions } from "../../../core/index.js";
import type { CpuModel, HostFacts, NumaCell } from "../../../driver/index.js";
import { hostAddress } from "../../../host/index.js";
import { parseCapabilitiesXml } from "../../xml/index.js";
import type { CapabilitiesXml } from "../../xml/index.js";
import type { LibvirtHost } from "../host.js";

/** `virConnectGetHostname`, `virConnectGetVersion`, `virConnectGetCapabilities`, `virNodeGetInfo` and `virNodeGetMemoryStats`. */
export async function readHostFacts(host: LibvirtHost, { signal, deadline }: CommonOptions): Promise<HostFacts> {
  const { client, timeouts } = host;
  const limits = { signal, deadlineMs: deadline ?? timeouts.callMs };
  const [hostname, version, document, node, memory] = await Promise.all([
    client.getHostname(limits),
    client.getVersion(limits),
    client.getCapabilities(limits),
    client.nodeGetInfo(limits),
    client.nodeGetMemoryStats(-1, limits),
  ]);
  const capabilities = parseCapabilitiesXml(document);
  const kib = (field: string): number => Number(memory[field] ?? 0n);
  const total = kib("total");
  const available = kib("free") + kib("buffers") + kib("cached");
  const numa = numaOf(capabilities);
  return {
    hostname,
    ipAddress: hostAddress(),
    hypervisorType: host.options.virtType,
    hypervisorVersion: Number(version),
    libraryVersion: host.facts.libvirtVersion,
    cpu: cpuOf(capabilities),
    vcpus: node.cpus,
    memoryMiB: Math.floor(total / 1024),
    memoryUsedMiB: Math.ceil((total - Math.min(total, available)) / 1024),
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

function numaOf({ host }: CapabilitiesXml): readonly NumaCell[] {
  return (host?.topology?.cells?.cell ?? []).flatMap(({ id, memory, cpus }) => {
    if (id === undefined) return [];
    const kib = Number(memory?.$text ?? 0);
    return [{ id, cpus: (cpus?.cpu ?? []).flatMap(({ id: cpu }) => cpu ?? []), memoryMiB: Math.floor(kib / 1024) }];
  });
}
