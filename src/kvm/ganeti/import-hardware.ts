/** Ganeti's hypervisor parameters as our hardware. Pure. */
import type { GuestCpu, GuestDevice, GuestHardware, GuestSpice, GuestVnc, VideoModel } from "../../driver/index.js";
import { pinningOfMask } from "./cpu-mask.js";
import { entryOf } from "./parameters.js";
import type { ImportNotes, Parameters } from "./parameters.js";

const VIDEO: { readonly [vga: string]: VideoModel } = {
  std: "vga",
  cirrus: "cirrus",
  qxl: "qxl",
  virtio: "virtio",
  none: "none",
};
const SOUND = { hda: "ich6", ac97: "ac97", es1370: "es1370", sb16: "sb16" } as const;
const SCSI = { lsi: "lsi", "virtio-scsi-pci": "virtio-scsi", megasas: "megasas" } as const;
const USB = { mouse: "mouse", tablet: "tablet", keyboard: "keyboard" } as const;

/** What the parameters say beyond disks, NICs and the kernel. `command` tells the ports of consoles. */
export function importHardware(
  parameters: Parameters,
  command: readonly string[],
  vcpus: number,
  notes: ImportNotes,
): GuestHardware {
  const cpu = importCpu(parameters, vcpus);
  const memoryPath = parameters.text("mem_path");
  const video = entryOf(VIDEO, parameters.text("vga"));
  const sound = entryOf(SOUND, parameters.text("soundhw"));
  const vnc = importVnc(parameters, command, notes);
  const spice = vnc === undefined ? importSpice(parameters, command, notes) : undefined;
  const devices = importDevices(parameters, vnc !== undefined, notes);
  const scsi = entryOf(SCSI, parameters.text("scsi_controller_type"));
  noteLosses(parameters, notes);
  return {
    ...(cpu === undefined ? {} : { cpu }),
    ...(memoryPath === undefined
      ? {}
      : { memory: { backing: "file" as const, directory: memoryPath, preallocated: true } }),
    ...(video === undefined ? {} : { video: { model: video } }),
    ...(sound === undefined
      ? {}
      : { sound: { model: sound, backend: spice === undefined ? ("none" as const) : ("spice" as const) } }),
    ...(vnc === undefined ? {} : { vnc }),
    ...(spice === undefined ? {} : { spice }),
    ...(devices.length === 0 ? {} : { devices }),
    ...(scsi === undefined ? {} : { scsiController: scsi }),
    ...(parameters.flag("use_localtime") ? { clock: { base: "localtime" as const } } : {}),
    ...(parameters.text("reboot_behavior") === "exit" ? { onReboot: "poweroff" as const } : {}),
  };
}

function importCpu(parameters: Parameters, vcpus: number): GuestCpu | undefined {
  const [model, ...flags] = parameters.text("cpu_type")?.split(",") ?? [];
  const mask = parameters.text("cpu_mask");
  const pinning = mask === undefined ? undefined : pinningOfMask(mask, vcpus);
  const features = flags.flatMap((flag) => {
    const match = /^([+-])([A-Za-z0-9_.-]{1,64})$/.exec(flag.trim());
    return match === null
      ? []
      : [{ name: match[2] as string, policy: match[1] === "+" ? ("require" as const) : ("disable" as const) }];
  });
  const kind =
    model === undefined
      ? {}
      : model === "host"
        ? { mode: "hostPassthrough" as const }
        : model === "max"
          ? { mode: "maximum" as const }
          : { mode: "custom" as const, model };
  if (model === undefined && pinning === undefined) return undefined;
  return {
    ...kind,
    ...(features.length === 0 ? {} : { features }),
    ...(pinning === undefined ? {} : { pinning }),
  };
}

function importVnc(parameters: Parameters, command: readonly string[], notes: ImportNotes): GuestVnc | undefined {
  const bind = parameters.text("vnc_bind_address");
  if (bind === undefined) return undefined;
  const display = /:(\d{1,5})(?:,|$)/.exec(command[command.indexOf("-vnc") + 1] ?? "")?.[1];
  const address = isAddress(bind) ? bind : undefined;
  if (address === undefined && !bind.startsWith("/"))
    notes.push(`the VNC console listened on the interface ${bind}: it is on a UNIX socket now`);
  const directory = parameters.text("vnc_x509_path");
  const keymap = parameters.text("keymap");
  return {
    ...(address === undefined ? {} : { address }),
    ...(address === undefined || display === undefined || !command.includes("-vnc")
      ? {}
      : { port: 5_900 + Number(display) }),
    ...(parameters.flag("vnc_tls") && directory !== undefined
      ? { tlsDirectory: directory, verifyClients: parameters.flag("vnc_x509_verify") }
      : {}),
    ...(parameters.text("vnc_password_file") === undefined ? {} : { passwordRequired: true }),
    ...(keymap === undefined ? {} : { keymap }),
  };
}

function importSpice(parameters: Parameters, command: readonly string[], notes: ImportNotes): GuestSpice | undefined {
  const bind = parameters.text("spice_bind");
  if (bind === undefined) return undefined;
  const port = /(?:^|,)(?:tls-)?port=(\d{1,5})(?:,|$)/.exec(command[command.indexOf("-spice") + 1] ?? "")?.[1];
  if (!isAddress(bind)) notes.push(`the SPICE console listened on the interface ${bind}: it is on a UNIX socket now`);
  if (parameters.flag("spice_use_tls")) notes.push("SPICE used the cluster's certificate: name a directory with one");
  const image = choice(parameters, "spice_image_compression", ["auto-glz", "auto-lz", "quic", "glz", "lz", "off"]);
  const jpeg = choice(parameters, "spice_jpeg_wan_compression", ["auto", "never", "always"]);
  const zlib = choice(parameters, "spice_zlib_glz_wan_compression", ["auto", "never", "always"]);
  const video = choice(parameters, "spice_streaming_video", ["off", "all", "filter"]);
  const ciphers = parameters.text("spice_tls_ciphers");
  if (ciphers !== undefined && parameters.flag("spice_use_tls"))
    notes.push("the list of ciphers of SPICE (spice_tls_ciphers) goes with the directory: tlsCiphers");
  return {
    ...(isAddress(bind) ? { address: bind } : {}),
    ...(!isAddress(bind) || port === undefined ? {} : { port: Number(port) }),
    ...(parameters.text("spice_password_file") === undefined ? {} : { passwordRequired: true }),
    ...(image === undefined ? {} : { imageCompression: image }),
    ...(jpeg === undefined ? {} : { jpegCompression: jpeg }),
    ...(zlib === undefined ? {} : { zlibGlzCompression: zlib }),
    ...(video === undefined ? {} : { streamingVideo: video }),
    ...(parameters.has("spice_playback_compression")
      ? { playbackCompression: parameters.flag("spice_playback_compression") }
      : {}),
    agent: parameters.flag("spice_use_vdagent"),
  };
}

/** With VNC, Ganeti gave each guest a tablet. */
function importDevices(parameters: Parameters, vnc: boolean, notes: ImportNotes): readonly GuestDevice[] {
  const wanted = [
    parameters.text("usb_mouse") ?? (vnc ? "tablet" : undefined),
    ...(parameters.text("usb_devices")?.split(/[,\s]+/) ?? []),
  ].filter((name): name is string => name !== undefined && name !== "");
  return [...new Set(wanted)].flatMap((name): readonly GuestDevice[] => {
    const model = entryOf(USB, name);
    if (model !== undefined) return [{ type: "usbInput", id: `usb-${model}`, model }];
    notes.push(`the USB device ${name.slice(0, 64)} has no counterpart`);
    return [];
  });
}

function noteLosses(parameters: Parameters, notes: ImportNotes): void {
  if (parameters.text("kvm_extra") !== undefined)
    notes.push("extra words of the command line (kvm_extra) are left out");
  const security = parameters.text("security_model");
  if (security !== undefined && security !== "none")
    notes.push(`the security model ${security.slice(0, 32)} is the driver's to set now: runAs`);
  if (parameters.flag("use_chroot")) notes.push("QEMU is not put into a directory of its own (use_chroot)");
  if (parameters.text("scsi_controller_type") === "dc390") notes.push("the SCSI controller dc390 became virtio-scsi");
}

function choice<T extends string>(parameters: Parameters, name: string, choices: readonly T[]): T | undefined {
  const value = parameters.text(name);
  return choices.find((candidate) => candidate === value);
}

function isAddress(text: string): boolean {
  return /^\d{1,3}(?:\.\d{1,3}){3}$/.test(text) || /^[0-9a-f:]*:[0-9a-f:.]*$/i.test(text);
}
