/** What a libvirt hypervisor is given by its embedder. */
import { InvalidArgumentError, check } from "../../core/index.js";
import type { StateStore } from "../../core/index.js";
import type { LibvirtConnectionOptions } from "../rpc/index.js";
import type { MediatedDevicesOptions } from "../../host/index.js";
import { resolveMemoryOptions } from "./host/host-memory.js";
import type { LibvirtMemoryOptions } from "./host/host-memory.js";
import { resolveSerialPorts } from "./console/serial-ports.js";
import type { LibvirtSerialConsoleOptions, SerialPortRange } from "./console/serial-ports.js";
import { VIRT_TYPES, connectionUriOf } from "./plan/index.js";
import type { DomainPlanOptions, VirtType } from "./plan/index.js";
import { resolveMigrationOptions } from "./migration/options.js";
import type { LibvirtMigrationOptions, ResolvedLibvirtMigration } from "./migration/options.js";
import { DEFAULT_LIBVIRT_HYPERVISOR_TIMEOUTS } from "./timeouts.js";
import type { LibvirtHypervisorTimeouts } from "./timeouts.js";

/** What of all guests' domains the host's administrator has decided. */
export interface LibvirtDomainDefaults extends Pick<
  DomainPlanOptions,
  | "cpuMode"
  | "memoryDirectory"
  | "vncTlsDirectory"
  | "vncVerifiesClients"
  | "spiceTlsDirectory"
  | "nbdTlsDirectory"
  | "spareRootPorts"
  | "sharedCpus"
  | "cacheModes"
> {
  /** Whose serial number a guest reads as its machine's: the instance's uuid (default), the host's, or none. */
  readonly machineSerial?: "instance" | "host" | "none";
}

export interface LibvirtHypervisorOptions {
  /** Absolute path of a directory that is this hypervisor's alone; made when missing. What libvirt does not keep by itself is there: logs of consoles, and by default the state. */
  readonly stateDirectory: string;
  /** Which of libvirt's hypervisors. Default `kvm`. */
  readonly virtType?: VirtType;
  /** Where the daemon is reached. Default: the kind's own daemon on this host, such as `qemu:///system`. */
  readonly uri?: string;
  /**
   * Only looks, beside the driver that manages the guests, whose state directory or `state` it reads; nothing on the host is changed, not even the directory locked. Connects to
   * the daemon's socket for readers. Default: what `connection.readOnly` says, else false.
   */
  readonly readOnly?: boolean;
  /** How the daemon is reached, beside the URI. A lost connection is made again for as long as it takes unless `reconnect` says otherwise. */
  readonly connection?: LibvirtConnectionOptions;
  /** Where the guests' definitions are kept. Default: files in the state directory. */
  readonly state?: StateStore;
  readonly domainDefaults?: LibvirtDomainDefaults;
  /** How guests get to this host, and from it to others. */
  readonly migration?: LibvirtMigrationOptions;
  /** What is kept of a guest's console output, in bytes: 64 KiB to 1 GiB. Default 2 MiB. */
  readonly consoleLogBytes?: number;
  /** What the host has for its guests' memory. */
  readonly memory?: LibvirtMemoryOptions;
  /** QEMU guests' serial consoles listen on TCP ports of the host, each on its own, up to three a guest. Default: they are pseudo terminals. */
  readonly serialConsole?: LibvirtSerialConsoleOptions;
  /** Where the kernel tells of the host's mediated devices. */
  readonly mediatedDevices?: MediatedDevicesOptions;
  readonly timeouts?: Partial<LibvirtHypervisorTimeouts>;
}

export interface ResolvedLibvirtOptions {
  readonly stateDirectory: string;
  readonly virtType: VirtType;
  readonly uri: string;
  readonly readOnly: boolean;
  readonly connection: LibvirtConnectionOptions;
  readonly state: StateStore | undefined;
  readonly domainDefaults: LibvirtDomainDefaults;
  readonly migration: ResolvedLibvirtMigration;
  readonly consoleLogBytes: number;
  readonly memory: LibvirtMemoryOptions;
  readonly serialConsole: SerialPortRange | undefined;
  readonly mediatedDevices: MediatedDevicesOptions;
  readonly timeouts: LibvirtHypervisorTimeouts;
}

/** A connection is needed for as long as the driver is: as long as a timer can be. */
const FOR_EVER_MS = 2_147_483_647;

const shape = check.object({
  stateDirectory: check.absolutePath(),
  virtType: check.withDefault(check.oneOf(VIRT_TYPES), "kvm" as const),
  uri: check.optional(check.string({ max: 4_096, charset: "ascii" })),
  readOnly: check.optional(check.boolean()),
  consoleLogBytes: check.withDefault(check.integer({ min: 65_536, max: 1_073_741_824 }), 2_097_152),
});

const machineSerial = check.oneOf(["instance", "host", "none"]);

/** @throws InvalidArgumentError that names the bad option */
export function resolveOptions(options: LibvirtHypervisorOptions): ResolvedLibvirtOptions {
  const {
    timeouts = {},
    connection = {},
    state,
    domainDefaults = {},
    migration,
    mediatedDevices = {},
    serialConsole,
    memory,
    ...rest
  } = options;
  const { uri, readOnly = connection.readOnly ?? false, ...resolved } = shape(rest, "options");
  if (domainDefaults.machineSerial !== undefined)
    machineSerial(domainDefaults.machineSerial, "options.domainDefaults.machineSerial");
  const given = Object.fromEntries(Object.entries(timeouts).filter(([, value]) => value !== undefined));
  for (const [name, value] of Object.entries(given))
    if (!(Number.isFinite(value) && value > 0))
      throw new InvalidArgumentError({ field: `options.timeouts.${name}`, value, expected: "milliseconds above 0" });
  return {
    ...resolved,
    uri: uri ?? connectionUriOf(resolved.virtType),
    readOnly,
    connection: { reconnect: { giveUpAfterMs: FOR_EVER_MS }, ...connection, readOnly },
    state,
    domainDefaults,
    migration: resolveMigrationOptions(migration),
    memory: resolveMemoryOptions(memory),
    serialConsole: serialConsole === undefined ? undefined : resolveSerialPorts(serialConsole),
    mediatedDevices,
    timeouts: { ...DEFAULT_LIBVIRT_HYPERVISOR_TIMEOUTS, ...given },
  };
}
