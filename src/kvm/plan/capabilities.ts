/** What a QEMU binary can do, as it says itself by QMP. */

export interface QemuMachine {
  readonly name: string;
  readonly alias?: string;
  /** Most vCPUs. */
  readonly cpuMax: number;
}

/** Plain data, kept in the state directory. */
export interface QemuCapabilities {
  readonly version: { readonly major: number; readonly minor: number; readonly micro: number };
  /** The distributor's own version, where there is one. */
  readonly package: string;
  /** `x86_64`, `aarch64`… */
  readonly target: string;
  readonly machines: readonly QemuMachine[];
  readonly commands: readonly string[];
  /** Devices that can be made: `virtio-blk-pci`. */
  readonly devices: readonly string[];
  /** Back ends of devices that can be made: `tpm-emulator`, `chardev-spicevmc`, `memory-backend-memfd`. */
  readonly objects: readonly string[];
  /** Accelerators that are built in; whether they work is another question. */
  readonly accelerators: readonly string[];
  readonly screenshotFormats: readonly string[];
  /** Properties of the devices that plans give some to, by the device's name. */
  readonly deviceProperties: Readonly<Record<string, readonly string[]>>;
  /** What migrations can be told to do: `postcopy-ram`, `multifd`. */
  readonly migrationCapabilities: readonly string[];
}

/** Oldest QEMU that is driven: from 7.2 on `-netdev` takes JSON. */
export const OLDEST_VERSION = { major: 7, minor: 2 } as const;

/** The version as `7.2.22`. */
export function versionText(capabilities: QemuCapabilities): string {
  const { major, minor, micro } = capabilities.version;
  return `${major}.${minor}.${micro}`;
}

/** The version as one number: 7.2.22 is 7,002,022. */
export function versionNumber(capabilities: QemuCapabilities): number {
  const { major, minor, micro } = capabilities.version;
  return major * 1_000_000 + minor * 1_000 + micro;
}

export function isOldEnough(capabilities: QemuCapabilities): boolean {
  const { major, minor } = capabilities.version;
  return major > OLDEST_VERSION.major || (major === OLDEST_VERSION.major && minor >= OLDEST_VERSION.minor);
}

/** Architectures of guests that this driver builds machines for. */
export const TARGETS = ["x86_64", "aarch64"] as const;

/** QEMU's full name of a machine: `pc-q35-7.2` for `q35`. */
export function machineNamed(capabilities: QemuCapabilities, name: string): QemuMachine | undefined {
  return capabilities.machines.find((machine) => machine.name === name || machine.alias === name);
}
