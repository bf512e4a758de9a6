/** Pictures: the graphics card, and the consoles that show it. Pure. */
import type { GraphicsListener, GuestSpice, GuestVnc, VideoModel } from "../../../driver/index.js";
import type { LibvirtXml } from "../../xml/index.js";
import { offers } from "./host-facts.js";
import { isX86 } from "./plan-context.js";
import type { PlanContext } from "./plan-context.js";
import { invalid, unsupported } from "./refuse.js";
import { defined, onOff } from "./defined.js";

const KIB_PER_MIB = 1024;
/** Long past: nobody gets in with a password that was valid until then. */
const EXPIRED = "1970-01-01T00:00:01";

/** The element `<video>`. */
export function planVideo(context: PlanContext): readonly LibvirtXml.DomainVideo[] {
  const { hardware, facts, family, host } = context;
  const usual: VideoModel = isX86(context) ? "vga" : "virtio";
  const { model = usual, memoryMiB } = hardware.video ?? {};
  if (family === "xenHvm" && !["vga", "cirrus", "qxl", "none"].includes(model))
    throw unsupported("hardware.video.model", `libvirt's xen guests have no ${model}`);
  if (family === "qemu" && !offers(facts, "video", "modelType", model))
    throw unsupported("hardware.video.model", `this host's ${host.virtType} guests have no ${model}`);
  if (memoryMiB !== undefined && ["virtio", "ramfb", "none"].includes(model))
    throw unsupported("hardware.video.memoryMiB", `libvirt can't say how much memory ${model} has`);
  const size = memoryMiB === undefined ? undefined : memoryMiB * KIB_PER_MIB;
  const memory = model === "qxl" ? { vgamem: powerOfTwo(size) } : { vram: size };
  return [
    {
      model: defined<LibvirtXml.DomainVideoModel>({
        type: model,
        ...memory,
        primary: model === "none" ? undefined : "yes",
      }),
    },
  ];
}

function powerOfTwo(size: number | undefined): number | undefined {
  if (size !== undefined && !Number.isInteger(Math.log2(size)))
    throw invalid("hardware.video.memoryMiB", size / KIB_PER_MIB, "a power of two for qxl");
  return size;
}

/** The elements `<graphics>`. */
export function planGraphics(context: PlanContext): readonly LibvirtXml.DomainGraphics[] | undefined {
  const { vnc, spice } = context.hardware;
  if (vnc === undefined && spice === undefined) return undefined;
  return [
    ...(vnc === undefined ? [] : [vncXml(vnc, context)]),
    ...(spice === undefined ? [] : [spiceXml(spice, context)]),
  ];
}

/** What only QEMU's consoles have. */
function refuseForOthers({ address, passwordRequired, tlsDirectory, keymap }: GuestVnc, { family }: PlanContext): void {
  if (family === "qemu") return;
  if (address === undefined)
    throw unsupported("hardware.vnc", "only QEMU's consoles listen on sockets: it wants an address");
  // An empty password would let everybody in there.
  if (passwordRequired === true) throw unsupported("hardware.vnc.passwordRequired", "only QEMU guests have it");
  if (tlsDirectory !== undefined) throw unsupported("hardware.vnc.tlsDirectory", "only QEMU guests have it");
  if (family === "parallels" && keymap !== undefined && keymap !== "en-us")
    throw unsupported("hardware.vnc.keymap", "Virtuozzo knows en-us alone");
}

function vncXml(vnc: GuestVnc, context: PlanContext): LibvirtXml.DomainGraphics {
  const { facts, options } = context;
  const { tlsDirectory, verifyClients = false, keymap } = vnc;
  refuseForOthers(vnc, context);
  if (!offers(facts, "graphics", "type", "vnc")) throw unsupported("hardware.vnc", "this host's QEMU has no VNC");
  if (tlsDirectory !== undefined && tlsDirectory !== options.vncTlsDirectory)
    throw otherPlace("hardware.vnc.tlsDirectory", options.vncTlsDirectory);
  if (verifyClients && options.vncVerifiesClients !== true)
    throw unsupported("hardware.vnc.verifyClients", "libvirt's configuration says for all guests that they need not");
  return defined<LibvirtXml.DomainGraphics>({
    type: "vnc",
    ...listener(vnc, options.vncSocket),
    ...locked(vnc.passwordRequired),
    keymap,
  });
}

function spiceXml(spice: GuestSpice, { facts, options }: PlanContext): LibvirtXml.DomainGraphics {
  const { tlsDirectory, imageCompression, jpegCompression, zlibGlzCompression, playbackCompression, streamingVideo } =
    spice;
  if (!offers(facts, "graphics", "type", "spice")) throw unsupported("hardware.spice", "this host's QEMU has no SPICE");
  if (tlsDirectory !== undefined && tlsDirectory !== options.spiceTlsDirectory)
    throw otherPlace("hardware.spice.tlsDirectory", options.spiceTlsDirectory);
  if (spice.tlsCiphers !== undefined)
    throw unsupported("hardware.spice.tlsCiphers", "libvirt can't tell QEMU which ciphers SPICE may use");
  const place = listener(spice, options.spiceSocket);
  const secure = tlsDirectory === undefined ? {} : { defaultMode: "secure" };
  const { port, ...rest } = place;
  const ports = tlsDirectory === undefined || port === undefined ? place : { ...rest, tlsPort: port };
  return defined<LibvirtXml.DomainGraphics>({
    type: "spice",
    ...ports,
    ...locked(spice.passwordRequired),
    ...secure,
    image: imageCompression === undefined ? undefined : { compression: imageCompression.replace("-", "_") },
    jpeg: jpegCompression === undefined ? undefined : { compression: jpegCompression },
    zlib: zlibGlzCompression === undefined ? undefined : { compression: zlibGlzCompression },
    playback: playbackCompression === undefined ? undefined : { compression: onOff(playbackCompression) },
    streaming: streamingVideo === undefined ? undefined : { mode: streamingVideo },
  });
}

type Listener = Pick<LibvirtXml.DomainGraphics, "port" | "autoport" | "$listen">;

function listener({ address, port }: GraphicsListener, socket: string | undefined): Listener {
  if (address === undefined) return { $listen: [defined({ type: "socket", socket })] };
  return defined<Listener>({
    port,
    autoport: port === undefined ? "yes" : "no",
    $listen: [{ type: "address", address }],
  });
}

/** An empty password lets nobody in, and neither does an expired one. */
function locked(required: boolean | undefined): Pick<LibvirtXml.DomainGraphics, "passwd" | "passwdValidTo"> {
  return required === true ? { passwd: "", passwdValidTo: EXPIRED } : {};
}

function otherPlace(field: string, known: string | undefined): Error {
  const place = known === undefined ? "none" : `those in ${known}`;
  return unsupported(
    field,
    `consoles use the certificates that libvirt's configuration names for all guests: ${place}`,
  );
}
