/** Specs that tests start from. */
import type { BlockDevice, InstanceSpec } from "../../../../src/driver/index.js";
import type { BridgeVif } from "../../../../src/network/index.js";
import type { VolumeConnection } from "../../../../src/storage/index.js";

export const UUID = "11111111-2222-4333-8444-555555555555";
export const OTHER_UUID = "99999999-2222-4333-8444-555555555555";

export function vif(n = 1, changes: Partial<BridgeVif> = {}): BridgeVif {
  const hex = n.toString(16).padStart(2, "0");
  return {
    type: "bridge",
    id: `aaaaaa${hex}-0000-4000-8000-000000000001`,
    macAddress: `52:54:00:00:00:${hex}`,
    network: { id: "net-1", subnets: [{ cidr: "192.0.2.0/24", gateway: "192.0.2.1" }] },
    bridge: "br0",
    fixedIps: [{ address: `192.0.2.${10 + n}` }],
    ...changes,
  };
}

export function connection(volumeId = "vol-1", changes: Partial<VolumeConnection> = {}): VolumeConnection {
  return { volumeId, type: "fake", data: {}, ...changes };
}

export function blockDevice(
  volumeId = "vol-1",
  changes: Partial<BlockDevice> = {},
): BlockDevice & { readonly connection: VolumeConnection } {
  return { connection: connection(volumeId), ...changes };
}

/** With everything that `spawn` knows how to make. */
export function fullSpec(changes: Partial<InstanceSpec> = {}): InstanceSpec {
  return {
    uuid: UUID,
    name: "web-1",
    flavor: {
      vcpus: 2,
      memoryMiB: 512,
      rootGiB: 4,
      ephemeralGiB: 1,
      swapMiB: 128,
      cpuTopology: { sockets: 1, cores: 2, threads: 1 },
    },
    imageId: "cirros",
    blockDevices: [blockDevice("vol-1"), blockDevice("vol-2", { bus: "scsi", deviceType: "disk", tag: "data" })],
    vifs: [vif(1), vif(2)],
    machine: "q35",
    firmware: "bios",
    guestAgent: true,
    metadata: { owner: "tests" },
    ...changes,
  };
}

/** One of each kind of thing. */
export function smallSpec(changes: Partial<InstanceSpec> = {}): InstanceSpec {
  return {
    uuid: UUID,
    name: "web-1",
    flavor: { vcpus: 1, memoryMiB: 512, rootGiB: 1 },
    imageId: "cirros",
    blockDevices: [blockDevice("vol-1")],
    vifs: [vif(1)],
    ...changes,
  };
}
