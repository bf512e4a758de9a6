/** Graphical consoles, in the words of who wants one. */
import type { Secret } from "../../../core/index.js";
import type { DomainGraphics, DomainGraphicsListen } from "../generated/types.gen.js";
import type { Editable } from "../xml-object.js";
import { defined, yesNo } from "./defined.js";

/** A graphical console of a domain. */
export interface GraphicsOptions {
  readonly type: "vnc" | "spice";
  /** An address, a libvirt network or a UNIX socket; default: what qemu.conf says, usually 127.0.0.1. */
  readonly listen?:
    { readonly address: string } | { readonly network: string } | { readonly socket: string } | undefined;
  /** Default: the next free port. */
  readonly port?: number | undefined;
  readonly tlsPort?: number | undefined;
  readonly password?: Secret | undefined;
  /** In UTC. */
  readonly passwordValidTo?: Date | undefined;
  readonly keymap?: string | undefined;
}

/** The element `<graphics>`. The password stands in it as plain text. */
export function graphicsXml(options: GraphicsOptions): Editable<DomainGraphics> {
  const { type, listen, port, tlsPort, password, passwordValidTo, keymap } = options;
  const hasPort = listen === undefined || !("socket" in listen);
  return defined<DomainGraphics>({
    type,
    port: hasPort ? port : undefined,
    tlsPort,
    autoport: hasPort ? yesNo(port === undefined && tlsPort === undefined) : undefined,
    passwd: password?.reveal(),
    passwdValidTo: passwordValidTo?.toISOString().slice(0, 19),
    keymap,
    $listen: listen === undefined ? undefined : [listenOf(listen)],
  });
}

function listenOf(listen: NonNullable<GraphicsOptions["listen"]>): DomainGraphicsListen {
  if ("address" in listen) return { type: "address", address: listen.address };
  if ("network" in listen) return { type: "network", network: listen.network };
  return { type: "socket", socket: listen.socket };
}
