/** A SCSI disk's place on its controller, where another disk has the one that its name stands for: a guest keeps the places that it was once given. */
import { NoFreeSlotError } from "../../../driver/index.js";
import type { GuestDisk } from "../../../driver/index.js";
import { formatDeviceXml, parseDeviceXml } from "../../xml/index.js";
import type { GuestCore } from "../guest-core.js";
import { runsQemu } from "../host.js";
import { freeDrive, isSameDrive } from "../plan/index.js";
import { readDomainOf } from "./find-device.js";

/** What a controller can hold. */
const MOST = { "virtio-scsi": 256, lsi: 7, megasas: 64, pvscsi: 64 } as const;

/**
 * @param xml the disk's element as planned
 * @returns the element with a place that no disk has, those that the guest was started with counted
 * @throws NoFreeSlotError
 */
export async function placeScsiDisk(core: GuestCore, disk: GuestDisk | undefined, xml: string): Promise<string> {
  if (disk?.bus !== "scsi" || !runsQemu(core.host)) return xml;
  const element = parseDeviceXml("disk", xml);
  const { address, target } = element;
  if (address === undefined) return xml;
  const places = core.inMemory ? (["live", "configured"] as const) : (["configured"] as const);
  const domains = await Promise.all(places.map((where) => readDomainOf(core, where)));
  const others = domains.flatMap(({ devices }) => devices?.disk ?? []);
  const isTaken = others.some((one) => one.target?.bus === target?.bus && isSameDrive(one.address, address));
  if (!isTaken) return xml;
  const { scsiController = "virtio-scsi" } = core.definition.hardware ?? {};
  const free = freeDrive(address, target?.bus, others, MOST[scsiController]);
  if (free === undefined)
    throw new NoFreeSlotError("no unit of the guest's SCSI controller is free", {
      instance: core.instance,
      device: disk.id,
    });
  return formatDeviceXml("disk", { ...element, address: free });
}
