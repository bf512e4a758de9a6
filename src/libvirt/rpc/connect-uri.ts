/** Connection URIs as libvirt's remote driver reads them: `qemu:///system`, `qemu+tcp://host/system?socket=…`. No I/O. */
import { InvalidArgumentError } from "../../core/index.js";

export const TRANSPORTS = ["unix", "tcp", "tls", "ssh", "libssh", "libssh2", "ext"] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** Parameters that the client takes for itself; all others go to the daemon. */
const STRING_PARAMETERS = [
  "name",
  "command",
  "socket",
  "auth",
  "sshauth",
  "netcat",
  "keyfile",
  "pkipath",
  "known_hosts",
  "known_hosts_verify",
  "tls_priority",
  "mode",
  "proxy",
  "authfile",
] as const;
const FLAG_PARAMETERS = ["no_sanity", "no_verify", "no_tty"] as const;

type StringParameter = (typeof STRING_PARAMETERS)[number];
type FlagParameter = (typeof FLAG_PARAMETERS)[number];

export interface ConnectUri {
  /** Hypervisor driver: `qemu`, `lxc`, `test`, `network`… */
  readonly driver: string;
  readonly transport: Transport;
  readonly host?: string;
  /** The URI's, else the transport's default: 16514 for TLS, 16509 for TCP; absent otherwise. */
  readonly port?: number;
  readonly user?: string;
  /** `/system`, `/session`, or what the driver takes there. */
  readonly path: string;
  /** The client's own parameters, by libvirt's names in lower case. */
  readonly parameters: Readonly<Partial<Record<StringParameter, string>>>;
  readonly flags: ReadonlySet<FlagParameter>;
  /** What the daemon is asked to open. */
  readonly daemonUri: string;
}

const DEFAULT_PORTS: Partial<Record<Transport, number>> = { tls: 16514, tcp: 16509 };
const MAX_LENGTH = 4096;

/**
 * Reads a connection URI. Throws `InvalidArgumentError` naming `uri` when the text is no URI that libvirt would take: no scheme, an unknown
 * transport, `+unix` with a host, a port out of range, `qemu://system` (a host where a path was meant), control characters, more than 4096 characters.
 */
export function parseConnectUri(uri: string): ConnectUri {
  const refuse = (expected: string): never => {
    throw new InvalidArgumentError({ field: "uri", value: uri, expected });
  };
  if (typeof uri !== "string" || uri.length > MAX_LENGTH) return refuse(`a text of at most ${MAX_LENGTH} characters`);
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u0020\u007f]/.test(uri)) return refuse("no blanks and no control characters");
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?$/.exec(uri);
  if (match === null) return refuse("a URI such as qemu:///system");

  const [, scheme = "", authority = "", path = "", query] = match;
  const [driver = "", transportName, ...rest] = scheme.toLowerCase().split("+");
  if (rest.length > 0 || driver === "") return refuse("a scheme of the form driver or driver+transport");
  const { user, host, port } = parseAuthority(authority) ?? refuse("user@host:port, the port from 1 to 65535");

  const transport = transportName ?? (host === undefined ? "unix" : "tls");
  if (!isTransport(transport)) return refuse(`one of the transports ${TRANSPORTS.join(", ")}`);
  if (transport === "unix" && host !== undefined) return refuse("no host with the transport unix");
  if (driver === "qemu" && path === "" && (host === "system" || host === "session")) {
    return refuse(`three slashes before ${host}: ${scheme}:///${host}`);
  }

  const own: Partial<Record<StringParameter, string>> = {};
  const flags = new Set<FlagParameter>();
  const forDaemon: string[] = [];
  for (const [name, value, text] of queryParameters(query ?? "", refuse)) {
    const key = name.toLowerCase();
    if (isOneOf(STRING_PARAMETERS, key)) own[key] = value;
    else if (!isOneOf(FLAG_PARAMETERS, key)) forDaemon.push(text);
    else if (!/^[+-]?\d+$/.test(value)) return refuse(`an integer as the value of ${key}`);
    else if (Number(value) === 0) flags.delete(key);
    else flags.add(key);
  }

  const daemonDriver = driver === "remote" ? "" : `${driver}://${path === "" ? "/" : path}`;
  const daemonQuery = daemonDriver === "" || forDaemon.length === 0 ? "" : `?${forDaemon.join("&")}`;
  const effectivePort = port ?? DEFAULT_PORTS[transport];
  return {
    driver,
    transport,
    ...(host === undefined ? {} : { host }),
    ...(effectivePort === undefined ? {} : { port: effectivePort }),
    ...(user === undefined ? {} : { user }),
    path: decode(path, refuse),
    parameters: own,
    flags,
    daemonUri: own.name ?? `${daemonDriver}${daemonQuery}`,
  };
}

function parseAuthority(authority: string): { user?: string; host?: string; port?: number } | undefined {
  const match = /^(?:([^@]*)@)?(\[[0-9A-Fa-f:.%]+\]|[^:@[\]]*)(?::(\d{1,5}))?$/.exec(authority);
  if (match === null) return undefined;
  const [, user, rawHost = "", portText] = match;
  const port = portText === undefined ? undefined : Number(portText);
  if (port !== undefined && (port < 1 || port > 65_535)) return undefined;
  const host = rawHost.startsWith("[") ? rawHost.slice(1, -1) : rawHost;
  return {
    ...(user === undefined || user === "" ? {} : { user }),
    ...(host === "" ? {} : { host }),
    ...(port === undefined ? {} : { port }),
  };
}

/** `name=value` pairs parted by `&`, or by `;` where there is no `&`; a pair without a name is ignored, one without a value is empty. */
function* queryParameters(query: string, refuse: (expected: string) => never): Generator<[string, string, string]> {
  for (const text of query.split(query.includes("&") ? "&" : ";")) {
    const equals = text.indexOf("=");
    const name = decode(equals < 0 ? text : text.slice(0, equals), refuse);
    if (name !== "") yield [name, equals < 0 ? "" : decode(text.slice(equals + 1), refuse), text];
  }
}

function decode(text: string, refuse: (expected: string) => never): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return refuse("percent signs followed by two hexadecimal digits of UTF-8");
  }
}

function isTransport(name: string): name is Transport {
  return isOneOf(TRANSPORTS, name);
}

function isOneOf<T extends string>(list: readonly T[], value: string): value is T {
  return (list as readonly string[]).includes(value);
}
