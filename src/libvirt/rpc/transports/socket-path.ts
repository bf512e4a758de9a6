/** Which UNIX socket a URI means: the one daemon's for everything, or one of the modular daemons'; the system's or a user's. */
import { InvalidArgumentError } from "../../../core/index.js";
import type { ConnectUri } from "../connect-uri.js";

/** What of the surroundings decides. */
export interface SocketSurroundings {
  /** The effective user id. */
  readonly uid: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly exists: (path: string) => boolean;
  /** Whether the socket for reading only is wanted. */
  readonly readOnly: boolean;
}

const SYSTEM_DIRECTORY = "/var/run/libvirt";
const MODES = ["auto", "direct", "legacy"] as const;
type SocketMode = (typeof MODES)[number];

/** Whether a URI means a daemon of the calling user. Root has none: its session is the system. */
export function isSessionUri(uri: Pick<ConnectUri, "driver" | "path">, uid: number): boolean {
  return uid !== 0 && (uri.path === "/session" || uri.driver === "test");
}

/**
 * The socket of the daemon that serves a URI. `socket=` decides alone. `mode=direct` takes the driver's own daemon (`virtqemud`
 * for `qemu`), `mode=legacy` the one for everything, and `mode=auto`, the default, the first if its socket is there. No daemon
 * is started: one that is not there is left to the system's service manager.
 * @throws InvalidArgumentError for another mode, and for `mode=direct` without a driver
 */
export function libvirtSocketPath(uri: ConnectUri, surroundings: SocketSurroundings): string {
  const { socket, mode = "auto" } = uri.parameters;
  if (socket !== undefined && socket !== "") return socket;
  if (!isMode(mode)) throw new InvalidArgumentError({ field: "uri.mode", value: mode, expected: MODES.join(", ") });
  const hasDriver = uri.driver !== "remote" && uri.driver !== "";
  if (mode === "direct" && !hasDriver)
    throw new InvalidArgumentError({
      field: "uri.mode",
      value: mode,
      expected: "a driver in the URI with mode=direct",
    });
  if (mode === "direct" && uri.transport !== "unix")
    throw new InvalidArgumentError({ field: "uri.mode", value: mode, expected: "the transport unix with mode=direct" });

  const legacy = pathOf("libvirt", uri, surroundings);
  if (mode === "legacy" || !hasDriver || uri.transport !== "unix") return legacy;
  const direct = pathOf(`virt${uri.driver}d`, uri, surroundings);
  return mode === "direct" || surroundings.exists(direct) ? direct : legacy;
}

function pathOf(prefix: string, uri: ConnectUri, { uid, env, readOnly }: SocketSurroundings): string {
  if (!isSessionUri(uri, uid)) return `${SYSTEM_DIRECTORY}/${prefix}-sock${readOnly ? "-ro" : ""}`;
  const runtime = env["XDG_RUNTIME_DIR"];
  // Without a runtime directory libvirt uses the cache, as GLib does.
  const cache = env["XDG_CACHE_HOME"] ?? `${env["HOME"] ?? ""}/.cache`;
  return `${runtime === undefined || runtime === "" ? cache : runtime}/libvirt/${prefix}-sock`;
}

function isMode(mode: string): mode is SocketMode {
  return (MODES as readonly string[]).includes(mode);
}
