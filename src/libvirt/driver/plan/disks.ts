/** The guest's disks: on which bus, under which name, how they are read and written. Pure. */
import type { DiskBus, DiskLimits, GuestDisk } from "../../../driver/index.js";
import type { LibvirtXml } from "../../xml/index.js";
import { defined } from "./defined.js";
import type { BootOrder } from "./boot-order.js";
import { deviceAlias } from "./device-alias.js";
import { planSource } from "./disk-source.js";
import { offers } from "./host-facts.js";
import type { DomainFamily, PlanContext } from "./plan-context.js";
import { invalid, unsupported } from "./refuse.js";

type Bus = NonNullable<LibvirtXml.DomainDiskTarget["bus"]>;

interface BusRule {
  readonly bus?: Bus;
  /** What names of disks on the bus begin with. */
  readonly prefix: string;
}

/** libvirt's bus for each of ours, by the kind of guest; a bus that is missing there can't be had. */
const BUSES: { readonly [F in DomainFamily]: Readonly<Partial<Record<DiskBus, BusRule>>> } = {
  qemu: {
    virtio: { bus: "virtio", prefix: "vd" },
    scsi: { bus: "scsi", prefix: "sd" },
    sata: { bus: "sata", prefix: "sd" },
    ide: { bus: "ide", prefix: "hd" },
    usb: { bus: "usb", prefix: "sd" },
    fdc: { bus: "fdc", prefix: "fd" },
  },
  lxc: { virtio: { prefix: "vd" } },
  xenHvm: {
    virtio: { bus: "xen", prefix: "xvd" },
    scsi: { bus: "scsi", prefix: "sd" },
    ide: { bus: "ide", prefix: "hd" },
  },
  xenPv: { virtio: { bus: "xen", prefix: "xvd" } },
  parallels: { scsi: { bus: "scsi", prefix: "sd" }, ide: { bus: "ide", prefix: "hd" } },
  parallelsCt: { scsi: { bus: "scsi", prefix: "sd" }, ide: { bus: "ide", prefix: "hd" } },
  uml: { virtio: { bus: "uml", prefix: "ubd" } },
};
const OUR_PREFIX = /^(?:vd|sd|hd|fd|nvme)/;
/** Place of a controller's own among what hangs on it. */
const LSI_OWN_UNIT = 7;

/** The element `<disk>`, as a domain has it and as it is attached. @throws NotSupportedError, InvalidArgumentError */
export function planDisk(context: PlanContext, disk: GuestDisk, boot: BootOrder, field: string): LibvirtXml.DomainDisk {
  const { family, options } = context;
  const rule = busOf(context, disk, field);
  checkDisk(context, disk, field);
  const placed = disk.source === undefined ? undefined : planSource(disk.source, options, `${field}.source`);
  const { logicalBlockBytes, physicalBlockBytes, limits } = disk.tuning ?? {};
  const dev = diskTarget(family, disk);
  return defined<LibvirtXml.DomainDisk>({
    type: placed?.type ?? "file",
    device: disk.deviceType,
    driver: driverOf(context, disk, field),
    source: placed?.source,
    target: defined<LibvirtXml.DomainDiskTarget>({ dev, bus: rule.bus }),
    iotune: limits === undefined ? undefined : diskLimitsXml(limits),
    blockio:
      logicalBlockBytes === undefined && physicalBlockBytes === undefined
        ? undefined
        : defined<LibvirtXml.DomainDiskBlockio>({
            logical_block_size: logicalBlockBytes ?? 512,
            physical_block_size: physicalBlockBytes ?? logicalBlockBytes,
          }),
    readonly: disk.readOnly ? true : undefined,
    shareable: disk.shareable ? true : undefined,
    serial: serialOf(disk, field),
    // Others know an order of kinds of devices alone, which the domain itself has.
    boot: family === "qemu" ? boot.of(disk.bootIndex) : undefined,
    alias: family === "qemu" ? { name: deviceAlias("disk", disk.id) } : undefined,
    address: family === "qemu" && disk.bus === "scsi" ? scsiAddress(context, disk, field) : undefined,
  });
}

/** libvirt's name of a disk, by which it is found in calls and counters: `vda`. */
export function diskTarget(family: DomainFamily, { bus, deviceName }: Pick<GuestDisk, "bus" | "deviceName">): string {
  const dev = deviceName.replace(OUR_PREFIX, BUSES[family][bus]?.prefix ?? "$&");
  return family === "uml" ? umlName(dev) : dev;
}

function busOf({ family, facts, host, machine }: PlanContext, { bus }: GuestDisk, field: string): BusRule {
  const rule = BUSES[family][bus];
  if (rule === undefined)
    throw unsupported(`${field}.bus`, `libvirt's ${host.virtType} guests have no disks on ${bus}`);
  const missing = (bus === "ide" && machine !== "pc") || (bus === "fdc" && machine === "virt");
  if (family === "qemu" && rule.bus !== undefined && (missing || !offers(facts, "disk", "bus", rule.bus)))
    throw unsupported(`${field}.bus`, `this machine has no disks on ${bus}`);
  return rule;
}

function checkDisk({ family }: PlanContext, disk: GuestDisk, field: string): void {
  const { bus, deviceType, source, shareable } = disk;
  if ((deviceType === "floppy") !== (bus === "fdc"))
    throw invalid(`${field}.bus`, bus, "fdc for a floppy, and only for one");
  if (deviceType === "cdrom" && (bus === "virtio" || bus === "usb"))
    throw invalid(`${field}.bus`, bus, "sata, ide or scsi for a cdrom");
  if (source === undefined && deviceType === "disk") throw invalid(`${field}.source`, undefined, "a source");
  if (source !== undefined && shareable && source.format !== "raw")
    throw invalid(`${field}.source.format`, source.format, "raw for a disk that several guests have open");
  if (family === "qemu") refuseForQemu(disk, field);
  if (family === "qemu" || disk.tuning === undefined) return;
  throw unsupported(`${field}.tuning`, "only QEMU guests have it");
}

/** Of drives that a machine has few of. */
const FEW_DRIVES: Readonly<Partial<Record<DiskBus, { readonly names: RegExp; readonly expected: string }>>> = {
  fdc: { names: /^fd[ab]$/, expected: "fda or fdb: a machine has two floppy drives" },
  ide: { names: /^hd[a-d]$/, expected: "hda to hdd: a machine has four IDE drives" },
};

function refuseForQemu({ bus, deviceType, deviceName, readOnly }: GuestDisk, field: string): void {
  const few = FEW_DRIVES[bus];
  if (few !== undefined && !few.names.test(deviceName)) throw invalid(`${field}.deviceName`, deviceName, few.expected);
  if (readOnly && deviceType === "disk" && (bus === "ide" || bus === "sata"))
    throw unsupported(`${field}.readOnly`, `QEMU's disks on ${bus} can be written`);
}

function serialOf({ serial }: GuestDisk, field: string): string | undefined {
  if (serial !== undefined && !/^[A-Za-z0-9_.+ -]+$/.test(serial))
    throw invalid(`${field}.serial`, serial, "letters, digits, '_', '.', '+', '-' and spaces");
  return serial;
}

function driverOf(context: PlanContext, disk: GuestDisk, field: string): LibvirtXml.DomainDiskDriver | undefined {
  const { family } = context;
  const type = disk.source?.format ?? "raw";
  if (family === "lxc") {
    if (type !== "raw" || (disk.source?.type !== "block" && disk.source?.type !== "file"))
      throw unsupported(`${field}.source`, "beside its root a container has raw block devices and raw files alone");
    // Files come by loop devices, which libvirt makes for containers that it starts.
    return disk.source.type === "file" ? { name: "loop", type } : undefined;
  }
  if (family === "xenHvm" || family === "xenPv") return { name: "qemu", type };
  if (family === "uml") {
    if (type !== "raw") throw unsupported(`${field}.source.format`, "User Mode Linux has raw disks alone");
    return undefined;
  }
  if (family === "parallels" || family === "parallelsCt") {
    const own = disk.deviceType === "disk" && disk.source?.type !== "block";
    if (
      own ||
      (disk.source !== undefined && (type !== "raw" || (disk.source.type !== "file" && disk.source.type !== "block")))
    )
      throw unsupported(`${field}.source`, "Virtuozzo's guests have disks of its own format, or block devices");
    return { type: "raw" };
  }
  const { aio, discard = "unmap", detectZeroes, ioThread, queues, onReadError, onWriteError } = disk.tuning ?? {};
  const reports = disk.bus === "fdc";
  const onWrite = onWriteError ?? "stop";
  return defined<LibvirtXml.DomainDiskDriver>({
    name: "qemu",
    type,
    cache: cacheOf(context, disk, field),
    error_policy: reports ? undefined : onWrite === "enospc" ? "enospace" : onWrite,
    rerror_policy: reports ? undefined : (onReadError ?? "stop"),
    io: aio,
    discard: disk.deviceType === "disk" ? discard : undefined,
    // libvirt counts I/O threads from 1.
    iothread: ioThread === undefined ? undefined : ioThread + 1,
    detect_zeroes: detectZeroes,
    queues,
  });
}

/** Unless somebody says another: past the host's page cache, so that a guest can migrate and nothing is kept twice; where files can't be opened so, through it with each write on the disk. */
function cacheOf({ host, options }: PlanContext, disk: GuestDisk, field: string): LibvirtXml.DomainDiskDriver["cache"] {
  const { cacheModes = {}, indirectDisks = [] } = options;
  const { source, shareable, tuning = {} } = disk;
  if (source === undefined) return tuning.cache;
  const place = source.type === "file" || source.type === "block" ? source.type : "network";
  // What several hosts write must not be in the cache of one.
  const usual = shareable ? "none" : (cacheModes[place] ?? "none");
  const wish = tuning.cache ?? usual;
  const direct = place !== "file" || (host.directIo && !indirectDisks.includes(disk.id));
  if (direct || shareable || (wish !== "none" && wish !== "directsync")) return wish;
  if (tuning.aio === "native" || tuning.cache === "directsync")
    throw unsupported(
      `${field}.tuning.${tuning.aio === "native" ? "aio" : "cache"}`,
      "files of this host can't be opened past its page cache",
    );
  return "writethrough";
}

const LIMIT_NAMES = {
  totalBytesPerSecond: "total_bytes_sec",
  readBytesPerSecond: "read_bytes_sec",
  writeBytesPerSecond: "write_bytes_sec",
  totalOperationsPerSecond: "total_iops_sec",
  readOperationsPerSecond: "read_iops_sec",
  writeOperationsPerSecond: "write_iops_sec",
} as const;

/** The element `<iotune>`, also for a live guest. What has no limit is left out. */
export function diskLimitsXml(limits: DiskLimits): LibvirtXml.DomainThrottlegroup | undefined {
  const { burst = {}, burstSeconds } = limits;
  const entries: [string, number][] = [];
  for (const key of Object.keys(LIMIT_NAMES) as (keyof typeof LIMIT_NAMES)[]) {
    const lasting = limits[key] ?? 0;
    const most = burst[key] ?? 0;
    if (lasting > 0) entries.push([LIMIT_NAMES[key], lasting]);
    if (most > 0) entries.push([`${LIMIT_NAMES[key]}_max`, most]);
    if (most > 0 && burstSeconds !== undefined) entries.push([`${LIMIT_NAMES[key]}_max_length`, burstSeconds]);
  }
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/** A place by the disk's name, so that it is the same whatever disks come and go. */
function scsiAddress({ hardware }: PlanContext, { deviceName }: GuestDisk, field: string): LibvirtXml.DomainAddress {
  const index = letterIndex(deviceName.replace(OUR_PREFIX, ""));
  const { scsiController = "virtio-scsi" } = hardware;
  if (index === undefined) throw invalid(`${field}.deviceName`, deviceName, "a name such as sda");
  if (scsiController === "lsi" && index >= LSI_OWN_UNIT)
    throw invalid(`${field}.deviceName`, deviceName, `one of the first ${LSI_OWN_UNIT}: an lsi controller has no more`);
  if (scsiController === "megasas" && index >= 64)
    throw invalid(`${field}.deviceName`, deviceName, "one of the first 64: a megasas controller has no more");
  if (index >= 256) throw invalid(`${field}.deviceName`, deviceName, "one of the first 256 of the controller");
  const many = scsiController === "megasas";
  return {
    type: "drive",
    controller: "0",
    bus: "0",
    target: many ? String(index) : "0",
    unit: many ? "0" : String(index),
  };
}

function letterIndex(letters: string): number | undefined {
  if (!/^[a-z]{1,2}$/.test(letters)) return undefined;
  return [...letters].reduce((sum, letter) => sum * 26 + letter.charCodeAt(0) - 96, 0) - 1;
}

/** User Mode Linux numbers its disks from `ubd0`. */
function umlName(name: string): string {
  const index = letterIndex(name.slice("ubd".length));
  return index === undefined ? name : `ubd${index}`;
}
