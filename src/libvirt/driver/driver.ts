/** The libvirt driver: the choreography that all drivers share, over a libvirt daemon of this host. */
import { join } from "node:path";
import { systemClock } from "../../core/index.js";
import type { Clock, StateStore } from "../../core/index.js";
import { BaseDriver } from "../../driver/index.js";
import type { Collaborators, DriverClass, DriverTimeouts } from "../../driver/index.js";
import { FileStateStore } from "../../host/index.js";
import { defaultCollaborators } from "../../hypervisor/index.js";
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
    const readOnly = options.readOnly ?? options.connection?.readOnly ?? false;
    const state = options.state ?? new FileStateStore({ dir: join(rest.stateDirectory, "records"), readOnly });
    const hypervisor = new LibvirtHypervisor({
      ...rest,
      state,
      ...(libvirtTimeouts === undefined ? {} : { timeouts: libvirtTimeouts }),
    });
    const defaults = defaultCollaborators({
      stateDirectory: rest.stateDirectory,
      volumeDirectories,
      secrets: collaborators?.secrets,
      state,
      clock,
      hostFacts: () => hypervisor.hostFacts(),
    });
    super({
      hypervisor,
      collaborators: { ...defaults, ...collaborators },
      ...(timeouts === undefined ? {} : { timeouts }),
    });
  }
}
