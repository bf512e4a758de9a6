// What a contract suite asks for, of hosts whose guests hang on a bridge with a DHCP server and boot the test guest's disk.
import { randomUUID } from "node:crypto";
import { truncate, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { ContractSubject } from "../../../src/testing/contract/index.js";
import { run } from "../../lab/index.js";
import type { LabBridge, LabGuest } from "../../lab/index.js";

export interface BridgedGuestsOptions {
  readonly bridge: LabBridge;
  /** Of the bridge. */
  readonly subnet: string;
  /** First four bytes of the guests' addresses; no other suite has the same. */
  readonly macPrefix: string;
  readonly guest: LabGuest;
  readonly volumeDirectory: string;
}

export function bridgedGuests({
  bridge,
  subnet,
  macPrefix,
  guest,
  volumeDirectory,
}: BridgedGuestsOptions): Pick<ContractSubject, "otherImageId" | "spec" | "vif" | "volume"> &
  Required<Pick<ContractSubject, "growVolume" | "overlay">> {
  let count = 0;
  const vif = () => {
    const digits = (++count).toString(16).padStart(4, "0");
    return {
      type: "bridge",
      id: randomUUID(),
      macAddress: `${macPrefix}:${digits.slice(0, 2)}:${digits.slice(2)}`,
      bridge: bridge.name,
      network: { id: "lab", subnets: [{ cidr: subnet, dhcpServer: bridge.address }] },
      // The DHCP server gives out what it likes.
      fixedIps: [],
      allowedAddressPairs: [{ address: subnet }],
      securityGroups: ["default"],
    } as const;
  };
  return {
    otherImageId: "other",
    vif,
    spec: (overrides = {}) => {
      const uuid = randomUUID();
      const flavor = { vcpus: 1, memoryMiB: guest.memoryMiB, rootGiB: 1 };
      return { uuid, name: `contract-${uuid.slice(0, 8)}`, flavor, imageId: "guest", vifs: [vif()], ...overrides };
    },
    volume: async () => {
      const volumeId = `volume-${randomUUID()}`;
      const path = join(volumeDirectory, volumeId);
      await writeFile(path, "");
      await truncate(path, 16 * 1_048_576);
      return { volumeId, type: "local", data: { path, format: "raw" } };
    },
    overlay: async (volume) => {
      const backing = String(volume.data["path"]);
      const path = `${backing}-${randomUUID()}`;
      const on = ["-b", basename(backing), "-F", String(volume.data["format"])];
      await run(["qemu-img", "create", "-q", "-f", "qcow2", ...on, path]);
      return { ...volume, data: { path, format: "qcow2" } };
    },
    growVolume: ({ data }, sizeBytes) => truncate(String(data["path"]), sizeBytes),
  };
}
