/** Consoles, serial ports and channels, in the words of who wants one. */
import type {
  DomainChannel,
  DomainConsole,
  DomainConsoleSource,
  DomainLog,
  DomainProtocol,
  DomainTarget,
} from "../generated/types.gen.js";
import type { Editable } from "../xml-object.js";
import { defined, onOff } from "./defined.js";

/** What is at the host's end. */
export type CharacterBackend =
  | { readonly pty: true }
  | { readonly file: string; readonly append?: boolean | undefined }
  | { readonly device: string }
  | { readonly pipe: string }
  /** A UNIX socket. `listen`: QEMU makes it and waits for others; otherwise it connects to it. */
  | { readonly unix: string; readonly listen: boolean }
  | {
      readonly tcp: { readonly host: string; readonly port: number };
      readonly listen: boolean;
      readonly telnet?: boolean | undefined;
    }
  /** Nothing: what the guest writes is lost. */
  | { readonly null: true };

/** What all character devices can have. */
export interface CharacterDeviceOptions {
  /** Default: a pseudo terminal. */
  readonly backend?: CharacterBackend | undefined;
  /** A file that gets everything the guest writes, whoever reads the other end. */
  readonly log?: { readonly file: string; readonly append?: boolean | undefined } | undefined;
}

/** A serial port or console of a domain. */
export interface ConsoleOptions extends CharacterDeviceOptions {
  /** Default: the next free one. */
  readonly port?: number | undefined;
  /** `virtio` or `serial` for a console, `isa-serial` and others for a serial port. */
  readonly targetType?: DomainTarget["type"];
}

/** A channel between guest and host. */
export interface ChannelOptions extends CharacterDeviceOptions {
  /** Default: a UNIX socket in a place that libvirt chooses. */
  readonly backend?: CharacterBackend | undefined;
  /** The name that the guest finds it by: `org.qemu.guest_agent.0`. */
  readonly name: string;
}

/** The element `<console>`. */
export function consoleXml(options: ConsoleOptions = {}): Editable<DomainConsole> {
  const { targetType: type, port } = options;
  const target =
    type === undefined && port === undefined ? undefined : defined<DomainTarget>({ type, port: port?.toString() });
  return defined<DomainConsole>({ ...characterDevice(options), target });
}

/** The element `<serial>`. */
export function serialXml(options: ConsoleOptions = {}): Editable<DomainConsole> {
  return consoleXml(options);
}

/** The element `<channel>`, over virtio. */
export function channelXml(options: ChannelOptions): Editable<DomainChannel> {
  const { name, backend, log } = options;
  const device = backend === undefined ? { type: "unix", log: logOf(log) } : characterDevice({ backend, log });
  return defined<DomainChannel>({ ...device, target: { type: "virtio", name } });
}

type CharacterDevice = Pick<DomainConsole, "type" | "source" | "protocol" | "log">;

function characterDevice({ backend = { pty: true }, log }: CharacterDeviceOptions): CharacterDevice {
  return defined<CharacterDevice>({ ...backendOf(backend), log: logOf(log) });
}

function backendOf(backend: CharacterBackend): CharacterDevice {
  if ("pty" in backend) return { type: "pty" };
  if ("null" in backend) return { type: "null" };
  if ("device" in backend) return { type: "dev", source: [{ path: backend.device }] };
  if ("pipe" in backend) return { type: "pipe", source: [{ path: backend.pipe }] };
  if ("file" in backend) {
    return {
      type: "file",
      source: [defined<DomainConsoleSource>({ path: backend.file, append: onOff(backend.append) })],
    };
  }
  const mode = backend.listen ? "bind" : "connect";
  if ("unix" in backend) return { type: "unix", source: [{ mode, path: backend.unix }] };
  const { host, port } = backend.tcp;
  const protocol: DomainProtocol = { type: backend.telnet === true ? "telnet" : "raw" };
  return { type: "tcp", source: [{ mode, host, service: port.toString() }], protocol };
}

function logOf(log: CharacterDeviceOptions["log"]): DomainLog | undefined {
  return log && defined<DomainLog>({ file: log.file, append: onOff(log.append) });
}
