/** What a libvirt hypervisor is given by its embedder. */
import { InvalidArgumentError, check } from "../../core/index.js";
import type { StateStore } from "../../core/index.js";
import type { LibvirtConnectionOptions } from "../rpc/index.js";
import { VIRT_TYPES, connectionUriOf } from "./plan/index.js";
import type { DomainPlanOptions, VirtType } from "./plan/index.js";
import { resolveMigrationOptions } from "./migration/options.js";
import type { LibvirtMigrationOptions, ResolvedLibvirtMigration } from "./migration/options.js";
import { DEFAULT_LIBVIRT_HYPERVISOR_TIMEOUTS } from "./timeouts.js";
import type { LibvirtHypervisorTimeouts } from "./timeouts.js";

/** What of all guests' domains the host's administrator has decided. */
export type LibvirtDomainDefaults = Pick<
  DomainPlanOptions,
  | "cpuMode"
  | "memoryDirectory"
  | "vncTlsDirectory"
  | "vncVerifiesClients"
  | "spiceTlsDirectory"
  | "nbdTlsDirectory"
  | "spareRootPorts"
>;

export interface LibvirtHypervisorOptions {
  /** Absolute path of a directory that is this hypervisor's alone; made when missing. What libvirt does not keep by itself is there: logs of consoles, and by default the state. */
  readonly stateDirectory: string;
  /** Which of libvirt's hypervisors. Default `kvm`. */
  readonly virtType?: VirtType;
  /** Where the daemon is reached. Default: the kind's own daemon on this host, such as `qemu:///system`. */
  readonly uri?: string;
  /** How the daemon is reached, beside the URI. A lost connection is made again for as long as it takes unless `reconnect` says otherwise. */
  readonly connection?: LibvirtConnectionOptions;
  /** Where the guests' definitions are kept. Default: files in the state directory. */
  readonly state?: StateStore;
  readonly domainDefaults?: LibvirtDomainDefaults;
  /** How guests get to this host, and from it to others. */
  readonly migration?: LibvirtMigrationOptions;
  /** What is kept of a guest's console output, in bytes: 64 KiB to 1 GiB. Default 2 MiB. */
  readonly consoleLogBytes?: number;
  readonly timeouts?: Partial<LibvirtHypervisorTimeouts>;
}

export interface ResolvedLibvirtOptions {
  readonly stateDirectory: string;
  readonly virtType: VirtType;
  readonly uri: string;
  readonly connection: LibvirtConnectionOptions;
  readonly state: StateStore | undefined;
  readonly domainDefaults: LibvirtDomainDefaults;
  readonly migration: ResolvedLibvirtMigration;
  readonly consoleLogBytes: number;
  readonly timeouts: LibvirtHypervisorTimeouts;
}

/** A connection is needed for as long as the driver is: as long as a timer can be. */
const FOR_EVER_MS = 2_147_483_647;

const shape = check.object({
  stateDirectory: check.absolutePath(),
  virtType: check.withDefault(check.oneOf(VIRT_TYPES), "kvm" as const),
  uri: check.optional(check.string({ max: 4_096, charset: "ascii" })),
  consoleLogBytes: check.withDefault(check.integer({ min: 65_536, max: 1_073_741_824 }), 2_097_152),
});

/** @throws InvalidArgumentError that names the bad option */
export function resolveOptions(options: LibvirtHypervisorOptions): ResolvedLibvirtOptions {
  const { timeouts = {}, connection = {}, state, domainDefaults = {}, migration, ...rest } = options;
  const { uri, ...resolved } = shape(rest, "options");
  const given = Object.fromEntries(Object.entries(timeouts).filter(([, value]) => value !== undefined));
  for (const [name, value] of Object.entries(given))
    if (!(Number.isFinite(value) && value > 0))
      throw new InvalidArgumentError({ field: `options.timeouts.${name}`, value, expected: "milliseconds above 0" });
  return {
    ...resolved,
    uri: uri ?? connectionUriOf(resolved.virtType),
    connection: { reconnect: { giveUpAfterMs: FOR_EVER_MS }, ...connection },
    state,
    domainDefaults,
    migration: resolveMigrationOptions(migration),
    timeouts: { ...DEFAULT_LIBVIRT_HYPERVISOR_TIMEOUTS, ...given },
  };
}
