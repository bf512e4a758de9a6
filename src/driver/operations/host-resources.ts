/** What the host has and what its guests use. */
import type { CommonOptions } from "../../core/index.js";
import { devicesOf } from "../attached-devices.js";
import type { AvailableResource, HostPciDevice, Inventory, InventoryItem } from "../host-facts.js";
import type { ComputeDriver } from "../compute-driver.js";
import { flavorCheck } from "../validate-instance-spec.js";
import type { Flavor } from "../instance-spec.js";
import type { HostContext } from "../host-context.js";
import { isInMemory } from "../guest-actions.js";
import { runQuery } from "../run-operation.js";

const GIB = 1_073_741_824;

export function getAvailableResource(host: HostContext, options?: CommonOptions): Promise<AvailableResource> {
  return runQuery(host, "getAvailableResource", options, async (signal) => {
    const [facts, devices, capacity, running] = await Promise.all([
      host.hypervisor.hostFacts({ signal }),
      host.hypervisor.hostDevices?.({ signal }),
      host.collaborators.disks.capacity(),
      guestsInMemory(host, signal),
    ]);
    return {
      hostname: facts.hostname,
      hypervisorType: facts.hypervisorType,
      hypervisorVersion: facts.hypervisorVersion,
      ...(facts.libraryVersion === undefined ? {} : { libraryVersion: facts.libraryVersion }),
      cpu: facts.cpu,
      vcpus: facts.vcpus,
      vcpusUsed: running.vcpus,
      memoryMiB: facts.memoryMiB,
      memoryUsedMiB: facts.memoryUsedMiB,
      diskBytes: capacity.totalBytes,
      diskUsedBytes: capacity.usedBytes,
      diskLeastAvailableBytes: capacity.leastAvailableBytes,
      runningGuests: running.count,
      ...(facts.numa === undefined ? {} : { numa: facts.numa }),
      ...(devices === undefined
        ? {}
        : { pciDevices: withHolders(host, devices.pci), mediatedTypes: devices.mediatedTypes }),
    };
  });
}

/** With the instances whose specs name them. */
function withHolders(
  host: HostContext,
  devices: readonly HostPciDevice[],
): NonNullable<AvailableResource["pciDevices"]> {
  const holders = new Map<string, string>();
  for (const record of host.records.list())
    for (const device of devicesOf(record)) if (device.type === "pciHost") holders.set(device.address, record.uuid);
  return devices.map((device) => {
    const instanceUuid = holders.get(device.address);
    return instanceUuid === undefined ? device : { ...device, instanceUuid };
  });
}

/** Placement's inventory of the host: nothing reserved, no overcommit; an orchestrator adds its own policy. */
export function getInventory(host: HostContext, options?: CommonOptions): Promise<Inventory> {
  return runQuery(host, "getInventory", options, async (signal) => {
    const [facts, capacity] = await Promise.all([
      host.hypervisor.hostFacts({ signal }),
      host.collaborators.disks.capacity(),
    ]);
    return {
      VCPU: inventoryOf(facts.vcpus),
      MEMORY_MB: inventoryOf(facts.memoryMiB),
      DISK_GB: inventoryOf(Math.floor(capacity.totalBytes / GIB)),
    };
  });
}

export function getHostIpAddress(host: HostContext, options?: CommonOptions): Promise<string> {
  return runQuery(
    host,
    "getHostIpAddress",
    options,
    async (signal) => (await host.hypervisor.hostFacts({ signal })).ipAddress,
  );
}

export function getHostUptimeMs(host: HostContext, options?: CommonOptions): Promise<number> {
  return runQuery(
    host,
    "getHostUptimeMs",
    options,
    async (signal) => (await host.hypervisor.hostFacts({ signal })).uptimeMs,
  );
}

/** @throws InvalidArgumentError naming the field of the flavor. */
export function estimateInstanceOverhead(
  host: HostContext,
  flavor: Flavor,
): ReturnType<ComputeDriver["estimateInstanceOverhead"]> {
  host.lifecycle.assertReady();
  const checked = flavorCheck(flavor, "flavor");
  const { memoryMiB = 0, vcpus = 0, diskGiB = 0 } = host.hypervisor.overhead?.(checked) ?? {};
  return { memoryMiB, vcpus, diskGiB };
}

function inventoryOf(total: number): InventoryItem {
  return { total, reserved: 0, minUnit: 1, maxUnit: Math.max(1, total), stepSize: 1, allocationRatio: 1 };
}

/** A guest that does not answer counts with the vCPUs that its record says. */
async function guestsInMemory(
  host: HostContext,
  signal: AbortSignal,
): Promise<{ readonly count: number; readonly vcpus: number }> {
  const { hypervisor } = host;
  const [guests, known] = await Promise.all([
    hypervisor.list({ signal }),
    hypervisor.allInfos?.({ signal }).catch(() => undefined),
  ]);
  const infos = await Promise.all(
    guests.map(async (guest) => {
      try {
        return known?.get(guest.uuid) ?? (await guest.info({ signal }));
      } catch {
        const vcpus = host.records.get(guest.uuid)?.spec.flavor.vcpus ?? 1;
        return { state: "nostate" as const, vcpus };
      }
    }),
  );
  const inMemory = infos.filter(({ state }) => isInMemory(state));
  return { count: inMemory.length, vcpus: inMemory.reduce((sum, { vcpus }) => sum + vcpus, 0) };
}
