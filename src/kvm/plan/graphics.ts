/** Displays and the consoles that show them. Pure. */
import type { JsonObject } from "../../core/index.js";
import type { GuestDefinition, GuestSpice, GuestVnc, VideoModel } from "../../driver/index.js";
import { defined, device, object, pairs } from "./arguments.js";
import { rootAddress } from "./devices.js";
import { GUEST_FILES } from "./parts.js";
import { TOPOLOGIES } from "./topology.js";
import type { KvmMachine } from "./topology.js";

const BYTES_PER_MIB = 1_048_576;
/** VNC's displays are counted from this port on. */
export const FIRST_DISPLAY_PORT = 5900;
/** How many displays QEMU tries for a free port. */
const DISPLAYS = 65_535 - FIRST_DISPLAY_PORT;

/** QEMU's device for each model of graphics card, on machines with VGA's old ports and on those without. */
const VIDEO_DRIVERS: { readonly [M in Exclude<VideoModel, "none">]: readonly [string, string] } = {
  vga: ["VGA", "VGA"],
  virtio: ["virtio-vga", "virtio-gpu-pci"],
  qxl: ["qxl-vga", "qxl"],
  bochs: ["bochs-display", "bochs-display"],
  cirrus: ["cirrus-vga", "cirrus-vga"],
  ramfb: ["ramfb", "ramfb"],
};

interface Display {
  readonly machine: KvmMachine;
  readonly definition: Pick<GuestDefinition, "hardware">;
}

/** QEMU's device for the guest's graphics card; undefined for a guest without one. */
export function videoDriver({ machine, definition }: Display): string | undefined {
  const model = definition.hardware?.video?.model ?? TOPOLOGIES[machine].video;
  return model === "none" ? undefined : VIDEO_DRIVERS[model][TOPOLOGIES[machine].isa ? 0 : 1];
}

/** The graphics card. One that the guest did not ask for is left out where QEMU is built without it. */
export function videoArguments(display: Display, devices: readonly string[]): string[] {
  const { definition, machine } = display;
  const driver = videoDriver(display);
  const topology = TOPOLOGIES[machine];
  if (driver === undefined || (definition.hardware?.video === undefined && !devices.includes(driver))) return [];
  const place = driver === "ramfb" ? {} : rootAddress(topology, topology.fixed.video);
  return device({ driver, id: "video0", ...videoMemory(driver, definition.hardware?.video?.memoryMiB), ...place });
}

function videoMemory(driver: string, memoryMiB: number | undefined): JsonObject {
  if (memoryMiB === undefined || driver === "ramfb") return {};
  if (driver === "bochs-display") return { vgamem: memoryMiB * BYTES_PER_MIB };
  if (driver.startsWith("virtio")) return { max_hostmem: memoryMiB * BYTES_PER_MIB };
  return { vgamem_mb: memoryMiB };
}

export interface GraphicsRequest extends Display {
  /** The guest's directory as QEMU sees it. */
  readonly directory: string;
  /** A port for SPICE, where the definition leaves the choice; 0 for a plan that is only shown. */
  readonly spicePort?: number | undefined;
}

/** The consoles. */
export function graphicsArguments({ definition, directory, spicePort = 0 }: GraphicsRequest): string[] {
  const { vnc, spice } = definition.hardware ?? {};
  return [
    ...(vnc === undefined ? [] : vncArguments(vnc, directory)),
    ...(spice === undefined ? [] : spiceArguments(spice, directory, spicePort)),
  ];
}

const VNC_TLS = "vnc-tls0";

function vncArguments(vnc: GuestVnc, directory: string): string[] {
  const { address, port, tlsDirectory, verifyClients = false, passwordRequired, keymap } = vnc;
  const host = address?.includes(":") === true ? `[${address}]` : address;
  const place =
    host === undefined
      ? `unix:${directory}/${GUEST_FILES.vnc}`
      : `${host}:${port === undefined ? 0 : port - FIRST_DISPLAY_PORT}`;
  const credentials = { "qom-type": "tls-creds-x509", id: VNC_TLS, endpoint: "server", "verify-peer": verifyClients };
  return [
    ...(tlsDirectory === undefined ? [] : object({ ...credentials, dir: tlsDirectory })),
    ...(keymap === undefined ? [] : ["-k", keymap]),
    "-vnc",
    pairs(place, {
      to: host !== undefined && port === undefined ? DISPLAYS : undefined,
      password: passwordRequired === true ? true : undefined,
      "tls-creds": tlsDirectory === undefined ? undefined : VNC_TLS,
    }),
  ];
}

function spiceArguments(spice: GuestSpice, directory: string, freePort: number): string[] {
  const { address, port = freePort, tlsDirectory, tlsCiphers, passwordRequired = false } = spice;
  const place =
    address === undefined
      ? { unix: true, addr: `${directory}/${GUEST_FILES.spice}` }
      : { addr: address, ...(tlsDirectory === undefined ? { port } : secured(port, tlsDirectory, tlsCiphers)) };
  return [
    "-spice",
    pairs(undefined, { ...place, ...(passwordRequired ? {} : { "disable-ticketing": true }), ...looks(spice) }),
  ];
}

/** Nothing goes in the clear: QEMU listens at no other port. */
function secured(port: number, directory: string, ciphers: string | undefined): Parameters<typeof pairs>[1] {
  return { "tls-port": port, "x509-dir": directory, "tls-ciphers": ciphers };
}

function looks(spice: GuestSpice): { readonly [key: string]: string | boolean | undefined } {
  const { imageCompression, jpegCompression, zlibGlzCompression, streamingVideo, playbackCompression } = spice;
  return {
    "image-compression": imageCompression?.replace("-", "_"),
    "jpeg-wan-compression": jpegCompression,
    "zlib-glz-wan-compression": zlibGlzCompression,
    "streaming-video": streamingVideo,
    "playback-compression": playbackCompression,
  };
}

/** The channel of the SPICE agent in the guest. */
export function spiceAgentArguments(spice: GuestSpice | undefined): string[] {
  if (spice === undefined || spice.agent === false) return [];
  const port = { driver: "virtserialport", id: "vdagent0", bus: "vserial0.0", nr: 2, chardev: "vdagent" };
  return ["-chardev", "spicevmc,id=vdagent,name=vdagent", ...device(defined({ ...port, name: "com.redhat.spice.0" }))];
}
