/** What a guest's machine has beside disks, NICs, memory and displays. Pure. */
import type { JsonObject } from "../../core/index.js";
import type { GuestDefinition, GuestFilesystem, GuestSound, GuestWatchdog, SoundModel } from "../../driver/index.js";
import { defined, device, object, pairs } from "./arguments.js";
import { FILESYSTEM_PREFIX, POINTER, SCSI_CONTROLLER, SOUND, VSOCK, WATCHDOG } from "./built-in-parts.js";
import { USB_CONTROLLER } from "./built-in-parts.js";
import { expansionAddress, rootAddress, scsiController } from "./devices.js";
import { ioThreadId } from "./disk-tuning.js";
import { usbController } from "./guest-devices.js";
import type { DeviceBinding, Hardware } from "./hardware.js";
import { filesystemSocket } from "./helper-plan.js";
import { GUEST_FILES, PARTS } from "./parts.js";
import { TOPOLOGIES } from "./topology.js";
import type { Topology } from "./topology.js";

export interface PeripheralsRequest {
  readonly definition: GuestDefinition;
  readonly hardware: Hardware;
  /** The guest's directory as QEMU sees it. */
  readonly directory: string;
  /** QEMU's end of the socket pair to the TPM's process. */
  readonly tpmFd?: number | undefined;
}

/** Serial ports beside the console, each a socket. */
export function serialPorts({ definition, directory }: PeripheralsRequest): string[] {
  const files = [GUEST_FILES.serial1, GUEST_FILES.serial2, GUEST_FILES.serial3];
  return files.slice(0, definition.hardware?.extraSerialPorts ?? 0).flatMap((file, index) => {
    const number = index + 1;
    const chardev = `serial${number}-socket`;
    return [
      "-chardev",
      `socket,id=${chardev},path=${directory}/${file},server=on,wait=off`,
      ...device({ driver: "isa-serial", id: `serial${number}`, index: number, chardev }),
    ];
  });
}

export function ioThreads({ definition }: PeripheralsRequest): string[] {
  const count = definition.hardware?.ioThreads ?? 0;
  return Array.from({ length: count }, (_, index) => object({ "qom-type": "iothread", id: ioThreadId(index) })).flat();
}

export function rng({ definition, hardware }: PeripheralsRequest): string[] {
  const rng = definition.hardware?.rng ?? {};
  if (rng === false) return [];
  const { source = "/dev/urandom", maxBytes, periodMs } = rng;
  const topology = TOPOLOGIES[hardware.machine];
  const backend: JsonObject =
    source === "builtin"
      ? { "qom-type": "rng-builtin", id: "entropy0" }
      : { "qom-type": "rng-random", id: "entropy0", filename: source };
  const limits = defined({ "max-bytes": maxBytes, period: maxBytes === undefined ? undefined : (periodMs ?? 1_000) });
  const place = rootAddress(topology, topology.fixed.rng);
  return [
    ...object(backend),
    ...device({ driver: "virtio-rng-pci", id: "rng0", rng: "entropy0", ...limits, ...place }),
  ];
}

/** How often the guest is asked for its statistics, QEMU is told once it runs. */
export function balloon({ definition, hardware }: PeripheralsRequest): string[] {
  const balloon = definition.hardware?.balloon ?? {};
  if (balloon === false) return [];
  const { freePageReporting, deflateOnOom } = balloon;
  const topology = TOPOLOGIES[hardware.machine];
  const members = defined({
    "free-page-reporting": freePageReporting,
    "deflate-on-oom": deflateOnOom,
  });
  const place = rootAddress(topology, topology.fixed.balloon);
  return device({ driver: "virtio-balloon-pci", id: PARTS.balloon, ...members, ...place });
}

export function tpm({ definition, hardware, tpmFd }: PeripheralsRequest): string[] {
  const { tpm } = definition.hardware ?? {};
  if (tpm === undefined || tpmFd === undefined) return [];
  const card = (tpm.model ?? "crb") === "crb" ? "tpm-crb" : "tpm-tis";
  const driver = hardware.machine === "virt" ? "tpm-tis-device" : card;
  return [
    "-chardev",
    `socket,id=tpm-socket,fd=${tpmFd}`,
    "-tpmdev",
    "emulator,id=tpm0,chardev=tpm-socket",
    ...device({ driver, id: "tpm-device0", tpmdev: "tpm0" }),
  ];
}

export function generationId({ hardware }: PeripheralsRequest): string[] {
  const { generationId: guid } = hardware;
  return guid === undefined ? [] : device({ driver: "vmgenid", id: "generation0", guid });
}

/** What happens when the guest resets itself, and when its watchdog bites. */
export function actions({ definition }: Pick<PeripheralsRequest, "definition">): string[] {
  const { onReboot, watchdog } = definition.hardware ?? {};
  const chosen = pairs(undefined, {
    reboot: onReboot === "poweroff" ? "shutdown" : undefined,
    watchdog: watchdog === undefined ? undefined : WATCHDOG_ACTIONS[watchdog.action],
  });
  return chosen === "" ? [] : ["-action", chosen];
}

const WATCHDOG_ACTIONS: { readonly [A in GuestWatchdog["action"]]: string } = {
  reset: "reset",
  shutdown: "shutdown",
  poweroff: "poweroff",
  pause: "pause",
  injectNmi: "inject-nmi",
  none: "none",
};

/** The watchdogs that are no cards. */
export function watchdog({ definition }: PeripheralsRequest): string[] {
  switch (definition.hardware?.watchdog?.model) {
    case "ib700":
      return device({ driver: "ib700", id: WATCHDOG });
    case "itco":
      // As the machine makes it, it may not reset the guest.
      return ["-global", "ICH9-LPC.noreboot=false"];
    default:
      return [];
  }
}

/** A sound card that is on the ISA bus, and the back end of any. */
export function sound({ definition }: PeripheralsRequest): string[] {
  const { sound } = definition.hardware ?? {};
  if (sound === undefined) return [];
  const backend = ["-audiodev", JSON.stringify({ driver: sound.backend ?? "none", id: AUDIO })];
  return sound.model === "sb16" ? [...backend, ...device({ driver: "sb16", id: SOUND, audiodev: AUDIO })] : backend;
}

const AUDIO = "audio0";

/** The parts that have a binding. */
export function boundParts(request: PeripheralsRequest): string[] {
  return request.hardware.bindings
    .filter(({ kind }) => kind === "controller")
    .flatMap((binding) => boundPart(binding, request));
}

function boundPart(binding: DeviceBinding, { definition, hardware, directory }: PeripheralsRequest): string[] {
  const topology = TOPOLOGIES[hardware.machine];
  const { sound, vsock, filesystems = [], scsiController: controller } = definition.hardware ?? {};
  const place = (): JsonObject => partAddress(binding, topology);
  switch (binding.id) {
    case USB_CONTROLLER:
      return device(usbController(binding, hardware));
    case SCSI_CONTROLLER:
      return device(scsiController(binding, hardware, controller));
    case POINTER:
      return device({ driver: "usb-tablet", id: POINTER, ...place() });
    case WATCHDOG:
      return device({ driver: "i6300esb", id: WATCHDOG, ...place() });
    case VSOCK:
      return vsock === undefined
        ? []
        : device({ driver: "vhost-vsock-pci", id: VSOCK, "guest-cid": vsock.cid, ...place() });
    case SOUND:
      return sound === undefined ? [] : soundCard(sound, place());
    default: {
      const filesystem = filesystems.find(({ tag }) => binding.id === `${FILESYSTEM_PREFIX}${tag}`);
      return filesystem === undefined ? [] : filesystemDevice(binding, filesystem, place(), directory);
    }
  }
}

function partAddress(binding: DeviceBinding, topology: Topology): JsonObject {
  if (binding.pool === "usb") return { bus: `${USB_CONTROLLER}.0`, port: String(binding.slot + 1) };
  return { ...expansionAddress(binding, topology) };
}

const SOUND_DRIVERS: { readonly [M in SoundModel]: string } = {
  ich9: "ich9-intel-hda",
  ich6: "intel-hda",
  ac97: "AC97",
  es1370: "ES1370",
  usb: "usb-audio",
  sb16: "sb16",
};

/** The QEMU device behind each sound card. */
export function soundDriver(model: SoundModel): string {
  return SOUND_DRIVERS[model];
}

function soundCard({ model }: GuestSound, place: JsonObject): string[] {
  const driver = SOUND_DRIVERS[model];
  if (model !== "ich9" && model !== "ich6") return device({ driver, id: SOUND, audiodev: AUDIO, ...place });
  const codec = { driver: "hda-duplex", id: `${SOUND}-codec`, bus: `${SOUND}.0`, audiodev: AUDIO };
  return [...device({ driver, id: SOUND, ...place }), ...device(codec)];
}

function filesystemDevice(
  { id }: DeviceBinding,
  { tag, path, driver, readOnly = false, securityModel = "mapped" }: GuestFilesystem,
  place: JsonObject,
  directory: string,
): string[] {
  if (driver === "virtiofs") {
    const socket = `socket,id=${id}-socket,path=${directory}/${filesystemSocket(tag)}`;
    return ["-chardev", socket, ...device({ driver: "vhost-user-fs-pci", id, chardev: `${id}-socket`, tag, ...place })];
  }
  const model = securityModel === "mapped" ? "mapped-xattr" : securityModel;
  return [
    "-fsdev",
    pairs("local", { id: `${id}-directory`, path, security_model: model, readonly: readOnly ? true : undefined }),
    ...device({ driver: "virtio-9p-pci", id, fsdev: `${id}-directory`, mount_tag: tag, ...place }),
  ];
}
