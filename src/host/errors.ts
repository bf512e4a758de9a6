/** What can go wrong between this package and the operating system. */
import { constants } from "node:os";
import { HyperviseError, nameErrorClass, redactText } from "../core/index.js";
import type { ErrorContext } from "../core/index.js";

/** What {@link HostIoError} says. */
export interface HostIoDetails extends ErrorContext {
  /** What was tried, as a verb phrase: `"writing a file"`. */
  readonly operation: string;
  /** For operators. */
  readonly path?: string | undefined;
  /** Such as `ENOSPC`; taken from the cause when absent. */
  readonly errno?: string | undefined;
}

/** The operating system refused to read, write or signal. The old content of a file stands. Code `HOST_IO`. */
export class HostIoError extends HyperviseError {
  /** Such as `ENOSPC`, `EROFS`, `EACCES`; `UNKNOWN` when the system did not say. */
  readonly errno: string;
  declare readonly path?: string;

  static {
    nameErrorClass(this, "HostIoError");
  }

  constructor(details: HostIoDetails) {
    const errno = details.errno ?? errnoName(details.cause) ?? "UNKNOWN";
    const { path } = details;
    super(`${details.operation} failed on the host (${errno})`, {
      ...details,
      code: "HOST_IO",
      detail: details.detail ?? (path === undefined ? undefined : `${details.operation}: ${path}`),
      remedy: details.remedy ?? REMEDIES[errno],
    });
    this.errno = errno;
    if (path !== undefined) this.path = redactText(path, details.secrets);
  }
}

/** What {@link CommandError} says. */
export interface CommandFailure extends ErrorContext {
  readonly argv: readonly string[];
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  readonly stderr: string;
}

const STDERR_TAIL = 4_096;

/** A command ran and failed. Code `COMMAND_FAILED`. The arguments are redacted, of what it said only the end is kept. */
export class CommandError extends HyperviseError {
  readonly argv: readonly string[];
  /** Absent when a signal ended it. */
  declare readonly exitCode?: number;
  /** The signal that ended it, such as `SIGSEGV`. */
  declare readonly signal?: string;
  /** The last 4096 characters. */
  readonly stderr: string;

  static {
    nameErrorClass(this, "CommandError");
  }

  constructor(failure: CommandFailure) {
    const { argv, exitCode, signal, secrets } = failure;
    const stderr = redactText(failure.stderr, secrets).slice(-STDERR_TAIL);
    const how = exitCode === undefined ? `was ended by ${signal ?? "a signal"}` : `exited with status ${exitCode}`;
    super(`${commandName(argv)} ${how}`, {
      ...failure,
      code: "COMMAND_FAILED",
      detail: failure.detail ?? `${JSON.stringify(argv)}\n${stderr}`,
    });
    this.argv = argv.map((word) => redactText(word, secrets));
    this.stderr = stderr;
    if (exitCode !== undefined) this.exitCode = exitCode;
    if (signal !== undefined) this.signal = signal;
  }
}

/** A command is not installed. `remedy` names the package that has it. Code `COMMAND_NOT_FOUND`. */
export class CommandNotFoundError extends HyperviseError {
  readonly command: string;

  static {
    nameErrorClass(this, "CommandNotFoundError");
  }

  constructor(command: string, context: ErrorContext = {}) {
    const name = commandName([command]);
    super(`the command ${name} is not installed`, {
      ...context,
      code: "COMMAND_NOT_FOUND",
      remedy: context.remedy ?? installRemedy(name),
    });
    this.command = command;
  }
}

/** A native package that is needed for this is not installed or can't be loaded. Code `NATIVE_MODULE_MISSING`. */
export class NativeModuleMissingError extends HyperviseError {
  /** Any one of them would do. */
  readonly packages: readonly string[];

  static {
    nameErrorClass(this, "NativeModuleMissingError");
  }

  constructor(purpose: string, packages: readonly string[], context: ErrorContext = {}) {
    super(`${purpose} needs ${packages.join(" or ")}, and it can't be loaded`, {
      ...context,
      code: "NATIVE_MODULE_MISSING",
      remedy: context.remedy ?? `Run: npm install ${packages.at(-1) ?? ""}`,
    });
    this.packages = packages;
  }
}

/** Another living process holds the lock. Retryable. Code `LOCKED`. */
export class LockedError extends HyperviseError {
  /** The process that holds it. */
  readonly pid: number;

  static {
    nameErrorClass(this, "LockedError");
  }

  constructor(pid: number, context: ErrorContext = {}) {
    super("another process is using it", {
      ...context,
      retryable: context.retryable ?? true,
      code: "LOCKED",
      remedy: context.remedy ?? "Stop the other process, or give this one a directory of its own.",
    });
    this.pid = pid;
  }
}

/** What {@link TapError} says. */
export interface TapFailure extends ErrorContext {
  readonly operation: string;
  /** The name that was asked for. */
  readonly tap?: string | undefined;
}

/** A TAP could not be opened or asked about; nothing stays open. Code `TAP_FAILED`. */
export class TapError extends HyperviseError {
  /** `EBUSY`: the name is taken. `EINVAL`: its kind is another. `EPERM`: no right. `ENOENT`: the kernel has no TUN. */
  readonly errno: string;

  static {
    nameErrorClass(this, "TapError");
  }

  constructor(failure: TapFailure) {
    const errno = errnoName(failure.cause) ?? "UNKNOWN";
    super(`${failure.operation} failed (${errno})`, {
      ...failure,
      code: "TAP_FAILED",
      retryable: failure.retryable ?? errno === "EBUSY",
      device: failure.device ?? failure.tap,
      remedy: failure.remedy ?? TAP_REMEDIES[errno],
    });
    this.errno = errno;
  }
}

/** Descriptors could not be sent. Part of the data may have been. Code `FD_PASSING_FAILED`. */
export class FdPassingError extends HyperviseError {
  readonly errno: string;

  static {
    nameErrorClass(this, "FdPassingError");
  }

  constructor(message: string, errno: string, context: ErrorContext = {}) {
    super(`${message} (${errno})`, { ...context, code: "FD_PASSING_FAILED" });
    this.errno = errno;
  }
}

/** The name of a system error: from `code` (`ENOENT`, or a number as `ioctl-napi` gives it) or `errno`. */
export function errnoName(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const { code, errno } = error as { code?: unknown; errno?: unknown };
  if (typeof code === "string" && /^E[A-Z0-9]+$/.test(code)) return code;
  const number = Math.abs(Number(typeof code === "string" || typeof code === "number" ? code : errno));
  return Number.isInteger(number) ? (ERRNO_NAMES.get(number) ?? String(number)) : undefined;
}

/** An error as system calls give it, of an error number. */
export function errnoError(call: string, errno: number): NodeJS.ErrnoException {
  const code = ERRNO_NAMES.get(errno) ?? String(errno);
  return Object.assign(new Error(`${call}: ${code}`), { errno: -errno, code, syscall: call });
}

/** Of two names for one number (`EAGAIN`, `EWOULDBLOCK`) the first stands. */
const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno)
    .reverse()
    .map(([name, number]) => [number, name]),
);

const REMEDIES: { readonly [errno: string]: string } = {
  ENOSPC: "Free space on the file system.",
  EDQUOT: "Raise the quota, or free space within it.",
  EROFS: "Mount the file system writable, or choose another directory.",
  EACCES: "Give this process the right to the file or directory.",
  EPERM: "Give this process the right to do this.",
};

const TAP_REMEDIES: { readonly [errno: string]: string } = {
  EBUSY: "Choose another name, or remove the interface that has it.",
  EINVAL: "Choose a name of its own for this TAP: what exists under it is of another kind.",
  EPERM: "Run as root or with CAP_NET_ADMIN, or use user-mode networking.",
  EACCES: "Give this process the right to /dev/net/tun.",
  ENOENT: "Load the kernel's tun module, or use user-mode networking.",
};

/** Which Debian package has a command, where it is not named like it. */
const PACKAGES: { readonly [command: string]: string } = {
  ip: "iproute2",
  tc: "iproute2",
  bridge: "iproute2",
  nft: "nftables",
  iptables: "iptables",
  ip6tables: "iptables",
  "iptables-restore": "iptables",
  "ip6tables-restore": "iptables",
  "iptables-save": "iptables",
  dnsmasq: "dnsmasq-base",
  dhcp_release: "dnsmasq-utils",
  radvd: "radvd",
  arping: "iputils-arping",
  "qemu-img": "qemu-utils",
  "qemu-nbd": "qemu-utils",
  "qemu-io": "qemu-utils",
  "qemu-system-x86_64": "qemu-system-x86",
  "qemu-system-aarch64": "qemu-system-arm",
  "ovs-vsctl": "openvswitch-switch",
  "ovs-ofctl": "openvswitch-switch",
  conntrack: "conntrack",
  sysctl: "procps",
  "mkfs.ext4": "e2fsprogs",
  "mkfs.vfat": "dosfstools",
  genisoimage: "genisoimage",
  xorriso: "xorriso",
  cryptsetup: "cryptsetup-bin",
  lvm: "lvm2",
  rbd: "ceph-common",
  ceph: "ceph-common",
  prlimit: "util-linux",
  fallocate: "util-linux",
  blkdiscard: "util-linux",
  libvirtd: "libvirt-daemon-system",
  virsh: "libvirt-clients",
};

function installRemedy(command: string): string {
  const name = Object.hasOwn(PACKAGES, command) ? PACKAGES[command] : undefined;
  return name === undefined
    ? `Install ${command}, and see that PATH leads to it.`
    : `Install the package ${name} (as Debian calls it).`;
}

/** Only the name: the path of a program and its arguments are for operators. */
function commandName(argv: readonly string[]): string {
  const path = argv[0] ?? "";
  return path.slice(path.lastIndexOf("/") + 1);
}
