/** Takes what a guest in memory has of vCPUs and memory for what it is to start with, too: after a change, and after a time in which nobody looked. */
import { isLibvirtError } from "../../rpc/index.js";
import { formatDeviceXml } from "../../xml/index.js";
import type { DomainXml } from "../../xml/index.js";
import type { GuestCore } from "../guest-core.js";
import { readDomainOf } from "./find-device.js";
import { memoryOf, vcpusOf, withMemory, withVcpus } from "./guest-size.js";
import type { LiveMemory, MemoryDevice } from "./guest-size.js";

/**
 * Repeatable.
 * @param domain that of the guest in memory
 * @throws LibvirtError; then the definition is as it was, and the next look does it again
 */
export async function settleSizes(core: GuestCore, domain: DomainXml): Promise<void> {
  const { definition, host } = core;
  if (domain.id === undefined) return;
  const vcpus = vcpusOf(domain);
  if (vcpus !== undefined && vcpus !== definition.vcpus) {
    await core.domain.setVcpusFlags(vcpus, { flags: ["config"], deadlineMs: host.timeouts.callMs });
    await core.update((state) => ({ ...state, definition: withVcpus(state.definition, vcpus) }));
  }
  const memory = memoryOf(domain);
  if (memory !== undefined && memory.memoryMiB !== definition.memoryMiB) {
    await configureMemory(core, memory);
    await core.update((state) => ({ ...state, definition: withMemory(state.definition, memory.memoryMiB) }));
  }
}

/** Has the configuration name the memory devices that the guest has. */
async function configureMemory(core: GuestCore, live: LiveMemory): Promise<void> {
  const { domain, host } = core;
  const options = { flags: ["config"], deadlineMs: host.timeouts.callMs } as const;
  const configured = memoryOf(await readDomainOf(core, "configured"))?.devices ?? [];
  for (const device of configured) {
    const same = live.devices.find((one) => isSame(one, device));
    if (same !== undefined && same.requestedMiB === device.requestedMiB) continue;
    await domain.detachDeviceFlags(formatDeviceXml("memory", device.xml), options).catch((error: unknown) => {
      if (!isLibvirtError(error, "deviceNotFound")) throw error;
    });
  }
  for (const device of live.devices) {
    const same = configured.find((one) => isSame(one, device));
    if (same === undefined || same.requestedMiB !== device.requestedMiB)
      await domain.attachDeviceFlags(formatDeviceXml("memory", withoutCurrent(device)), options);
  }
}

function isSame(one: MemoryDevice, other: MemoryDevice): boolean {
  return one.alias === other.alias && one.model === other.model && one.sizeMiB === other.sizeMiB;
}

function withoutCurrent({ xml }: MemoryDevice): MemoryDevice["xml"] {
  const { current: _, ...target } = xml.target ?? {};
  return { ...xml, target };
}
