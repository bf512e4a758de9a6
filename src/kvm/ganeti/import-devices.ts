/** Disks, drives and NICs of a Ganeti guest as ours. Pure. */
import { NotSupportedError } from "../../core/index.js";
import type { DiskBus, DiskTuning, GuestDisk, GuestNic } from "../../driver/index.js";
import type { NicModel } from "../../network/index.js";
import { getDriveUri } from "./device-ids.js";
import { entryOf } from "./parameters.js";
import type { ImportNotes, Parameters } from "./parameters.js";
import type { GanetiDisk, GanetiNic, GanetiRuntime } from "./runtime.js";
import type { RuntimeDisk } from "./runtime-text.js";

const BUSES: { readonly [type: string]: DiskBus } = { paravirtual: "virtio", ide: "ide", scsi: "scsi" };
const PREFIXES: { readonly [B in DiskBus]: string } = {
  virtio: "vd",
  scsi: "sd",
  sata: "sd",
  ide: "hd",
  usb: "sd",
  nvme: "nvme",
  fdc: "fd",
};
const NIC_MODELS: { readonly [type: string]: NicModel } = { paravirtual: "virtio", e1000: "e1000", rtl8139: "rtl8139" };
const FILE_TYPES: ReadonlySet<string> = new Set(["file", "sharedfile", "gluster"]);
const CACHES = { none: "none", default: "writeback", writeback: "writeback", writethrough: "writethrough" } as const;

/** Disks in the guest's order, then its CD drives and floppy. @throws NotSupportedError for a disk that QEMU reached by a URI */
export function importDisks(runtime: GanetiRuntime, parameters: Parameters, notes: ImportNotes): readonly GuestDisk[] {
  const type = parameters.text("disk_type") ?? "paravirtual";
  const bus = busOf(type, notes);
  const boots = parameters.text("kernel_path") === undefined ? (parameters.text("boot_order") ?? "disk") : "kernel";
  const tuning = tuningOf(parameters);
  const disks = runtime.disks.map((entry, index): GuestDisk => ({
    id: index === 0 ? "root" : `volume-${entry.disk.uuid}`,
    source: sourceOf(entry),
    bus,
    deviceType: "disk",
    deviceName: nameOf(bus, index),
    readOnly: entry.disk.mode === "ro",
    shareable: false,
    ...(index === 0 && boots === "disk" ? { bootIndex: 0 } : {}),
    tuning,
  }));
  return [...disks, ...importDrives(parameters, boots, disks.length, bus, notes)];
}

export interface NicImport {
  /** Host end of each NIC. Default: a TAP on the NIC's link, named by its uuid. */
  readonly backendOf?: (nic: GanetiNic) => GuestNic["backend"];
}

export function importNics(
  runtime: GanetiRuntime,
  parameters: Parameters,
  { backendOf = tapOf }: NicImport,
  notes: ImportNotes,
): readonly GuestNic[] {
  const type = parameters.text("nic_type") ?? "paravirtual";
  const model = entryOf(NIC_MODELS, type) ?? "e1000";
  if (entryOf(NIC_MODELS, type) === undefined && runtime.nics.length > 0)
    notes.push(`NICs of the model ${type.slice(0, 32)} became e1000`);
  const network = parameters.text("boot_order") === "network" && parameters.text("kernel_path") === undefined;
  return runtime.nics.map((nic, index): GuestNic => {
    const backend = backendOf(nic);
    if (nic.mode !== undefined && nic.mode !== "bridged")
      notes.push(`NIC ${nic.uuid} was ${nic.mode.slice(0, 32)}: its host end is the embedder's to make`);
    return {
      id: nic.uuid,
      macAddress: nic.macAddress,
      model,
      backend,
      queues: backend.type === "tap" ? backend.queues : 1,
      ...(network && index === 0 ? { bootIndex: 0 } : {}),
    };
  });
}

function tapOf(nic: GanetiNic): GuestNic["backend"] {
  return { type: "tap", deviceName: `tap${nic.uuid.slice(0, 8)}`, bridge: (nic.link ?? "br0").slice(0, 15), queues: 1 };
}

function sourceOf({ disk, link, uri }: RuntimeDisk<GanetiDisk>): NonNullable<GuestDisk["source"]> {
  const drive = getDriveUri(disk, link, uri);
  if (!drive.startsWith("/")) {
    throw new NotSupportedError({
      capability: "disks that QEMU reaches by a URI",
      message: `disk ${disk.uuid} is reached by a URI, not by a path of the host`,
      device: disk.uuid,
    });
  }
  return { type: FILE_TYPES.has(disk.type) ? "file" : "block", path: drive, format: "raw" };
}

function busOf(type: string, notes: ImportNotes): DiskBus {
  const bus = entryOf(BUSES, type.startsWith("scsi") ? "scsi" : type);
  if (bus === undefined) notes.push(`disks of the type ${type.slice(0, 32)} became virtio`);
  return bus ?? "virtio";
}

function tuningOf(parameters: Parameters): DiskTuning {
  const cache = entryOf(CACHES, parameters.text("disk_cache") ?? "default") ?? "writeback";
  const aio = parameters.text("disk_aio");
  const direct = cache === "none";
  return {
    cache,
    ...(aio === "native" && direct
      ? { aio: "native" as const }
      : aio === "io_uring" && direct
        ? { aio: "io_uring" as const }
        : {}),
    discard: parameters.text("disk_discard") === "unmap" ? "unmap" : "ignore",
  };
}

function importDrives(
  parameters: Parameters,
  boots: string,
  disks: number,
  diskBus: DiskBus,
  notes: ImportNotes,
): readonly GuestDisk[] {
  const images = ["cdrom_image_path", "cdrom2_image_path"].flatMap((name) => parameters.text(name) ?? []);
  const usable = images.filter((path) => path.startsWith("/"));
  if (usable.length < images.length) notes.push("a CD that QEMU read over HTTP is left out");
  // SCSI disks and CDs share their names; IDE has four units for all.
  const bus = diskBus === "scsi" ? "scsi" : "ide";
  const first = bus === diskBus ? disks : 0;
  const drives = usable.map((path, index): GuestDisk =>
    drive(path, "cdrom", bus, first + index, boots === "cdrom" && index === 0),
  );
  const floppy = parameters.text("floppy_image_path");
  if (floppy === undefined || !floppy.startsWith("/")) return drives;
  return [...drives, drive(floppy, "floppy", "fdc", 0, boots === "floppy")];
}

function drive(path: string, deviceType: "cdrom" | "floppy", bus: DiskBus, index: number, boots: boolean): GuestDisk {
  const deviceName = nameOf(bus, index);
  return {
    id: `drive-${deviceName}`,
    source: { type: "file", path, format: "raw" },
    bus,
    deviceType,
    deviceName,
    readOnly: true,
    shareable: false,
    ...(boots ? { bootIndex: 0 } : {}),
  };
}

function nameOf(bus: DiskBus, index: number): string {
  let letters = "";
  for (let rest = index; rest >= 0; rest = Math.floor(rest / 26) - 1) {
    letters = String.fromCharCode(97 + (rest % 26)) + letters;
  }
  return `${PREFIXES[bus]}${letters}`;
}
