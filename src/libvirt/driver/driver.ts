/** The libvirt driver: the choreography that all drivers share, over a libvirt daemon of this host. */
import { join } from "node:path";
import { check, systemClock } from "../../core/index.js";
import type { Clock, StateStore } from "../../core/index.js";
import { BaseDriver } from "../../driver/index.js";
import type { Collaborators, DriverClass, DriverTimeouts } from "../../driver/index.js";
import { NoopFirewallDriver } from "../../firewall/index.js";
import { FileStateStore } from "../../host/index.js";
import { LinuxBridgePlugger, UserNetworkPlugger } from "../../network/index.js";
import {
  DirectoryImageStore,
  FileSecretStore,
  IscsiVolumeConnector,
  LocalConfigDriveBuilder,
  LocalDiskBackend,
  LocalVolumeConnector,
  NbdVolumeConnector,
  RbdVolumeConnector,
} from "../../storage/index.js";
import type { SecretStore, VolumeConnector } from "../../storage/index.js";
import { LibvirtHypervisor } from "./hypervisor.js";
import type { LibvirtHypervisorOptions } from "./options.js";
import type { LibvirtHypervisorTimeouts } from "./timeouts.js";

export interface LibvirtDriverOptions extends Omit<LibvirtHypervisorOptions, "timeouts" | "state"> {
  /** Directories, by absolute paths, in which volumes of type `local` may lie. Default: `volumes` in the state directory. */
  readonly volumeDirectories?: readonly string[];
  readonly timeouts?: Partial<DriverTimeouts>;
  /** Waits below the choreography: for libvirt and its guests. */
  readonly libvirtTimeouts?: Partial<LibvirtHypervisorTimeouts>;
  readonly clock?: Clock;
  /** Where records of instances are kept, and what libvirt does not know of guests. Default: files in the state directory. */
  readonly state?: StateStore;
  /** In place of the defaults: images, disks, volumes and secrets in the state directory, bridges (user-mode network without root), no filters. */
  readonly collaborators?: Partial<Omit<Collaborators, "clock" | "state">>;
}

/** What the driver can do beside the core, where the kind of hypervisor can: see `capabilities`. */
type LibvirtFacets =
  | "pause"
  | "volumes"
  | "volumeExtend"
  | "volumeSwap"
  | "volumeSnapshots"
  | "removableMedia"
  | "diskLimits"
  | "backups"
  | "memoryDump"
  | "consolePasswords"
  | "interfaces"
  | "vcpuHotplug"
  | "memoryHotplug"
  | "balloon"
  | "devices"
  | "snapshots"
  | "quiesce"
  | "rescue"
  | "resize"
  | "rebuild"
  | "consoleOutput"
  | "consoleStream"
  | "serialConsole"
  | "vncConsole"
  | "spiceConsole"
  | "screenshots"
  | "guestAgent"
  | "statistics"
  | "crashDump"
  | "firewall"
  | "imageCache"
  | "hostCpuStatistics"
  | "compareCpu"
  | "suspend"
  | "liveMigration";

/**
 * Runs instances by libvirt, which keeps them when this process ends. After a restart `initHost` finds them again.
 *
 * ```ts
 * await using driver = new LibvirtDriver({ stateDirectory: "/var/lib/orchestrator/libvirt" });
 * await driver.initHost();
 * await driver.spawn(spec);
 * ```
 */
export class LibvirtDriver extends (BaseDriver as DriverClass<LibvirtFacets>) {
  /** Touches nothing before `initHost`. @throws InvalidArgumentError that names the bad option */
  constructor(options: LibvirtDriverOptions) {
    const { volumeDirectories, timeouts, libvirtTimeouts, clock = systemClock, collaborators, ...rest } = options;
    const state = options.state ?? new FileStateStore({ dir: join(rest.stateDirectory, "records") });
    const hypervisor = new LibvirtHypervisor({
      ...rest,
      state,
      ...(libvirtTimeouts === undefined ? {} : { timeouts: libvirtTimeouts }),
    });
    const parts = {
      ...defaultCollaborators(rest.stateDirectory, volumeDirectories, clock, state, hypervisor, collaborators?.secrets),
      ...collaborators,
    };
    super({ hypervisor, collaborators: parts, ...(timeouts === undefined ? {} : { timeouts }) });
  }
}

function defaultCollaborators(
  stateDirectory: string,
  volumeDirectories: readonly string[] | undefined,
  clock: Clock,
  state: StateStore,
  hypervisor: LibvirtHypervisor,
  given: SecretStore | undefined,
): Collaborators {
  const roots = check.array(check.absolutePath(), { max: 64 })(
    volumeDirectories ?? [join(stateDirectory, "volumes")],
    "options.volumeDirectories",
  );
  const secrets = given ?? new FileSecretStore({ directory: join(stateDirectory, "secrets") });
  const volumes: readonly VolumeConnector[] = [
    new LocalVolumeConnector({ roots, state }),
    new NbdVolumeConnector({ state, secrets }),
    new IscsiVolumeConnector({ state, secrets }),
    new RbdVolumeConnector({ state, secrets }),
  ];
  return {
    images: new DirectoryImageStore({ directory: join(stateDirectory, "images"), clock }),
    configDrives: new LocalConfigDriveBuilder(),
    disks: new LocalDiskBackend({ directory: join(stateDirectory, "disks") }),
    volumes,
    vifs: process.geteuid?.() === 0 ? new LinuxBridgePlugger() : new UserNetworkPlugger(),
    firewall: new NoopFirewallDriver(),
    secrets,
    state,
    clock,
    volumeHostProperties: async () => {
      const { hostname, ipAddress } = await hypervisor.hostFacts();
      return { hostname, ip: ipAddress, multipath: false };
    },
  };
}
