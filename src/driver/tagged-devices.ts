/** Devices of an instance whose role its owner has tagged, and where its guest finds them. */
import type { DeviceAddress } from "./guest.js";
import type { InstanceRecord } from "./instance-record.js";

interface Tagged extends Partial<Omit<DeviceAddress, "type" | "id">> {
  /** As `listDisks` and `listInterfaces` have it. */
  readonly id: string;
  readonly tag: string;
}

/** The guest knows a disk by its serial number and a NIC by its MAC address; `bus` and `address` are absent where they are not known now. */
export type TaggedInstanceDevice =
  | (Tagged & { readonly type: "disk"; readonly serial?: string })
  | (Tagged & { readonly type: "nic"; readonly macAddress: string });

/** Disks first, in the record's order. Pure. */
export function taggedDevicesOf(
  { volumes, vifs, emptyDrives = [] }: Pick<InstanceRecord, "volumes" | "vifs" | "emptyDrives">,
  addresses: readonly DeviceAddress[],
): readonly TaggedInstanceDevice[] {
  const placeOf = (type: "disk" | "nic", id: string): Partial<Pick<DeviceAddress, "bus" | "address">> => {
    const found = addresses.find((one) => one.type === type && one.id === id);
    return found === undefined ? {} : { bus: found.bus, address: found.address };
  };
  const disks = volumes.flatMap(({ diskId: id, tag, deviceType, connection }) => {
    if (tag === undefined) return [];
    const serial = deviceType === "disk" ? { serial: connection.volumeId.slice(0, 20) } : {};
    return [{ type: "disk" as const, id, tag, ...serial, ...placeOf("disk", id) }];
  });
  const drives = emptyDrives.flatMap(({ diskId: id, tag }) =>
    tag === undefined ? [] : [{ type: "disk" as const, id, tag, ...placeOf("disk", id) }],
  );
  const nics = vifs.flatMap(({ vif: { id, tag, macAddress } }) =>
    tag === undefined ? [] : [{ type: "nic" as const, id, tag, macAddress, ...placeOf("nic", id) }],
  );
  return [...disks, ...drives, ...nics];
}
