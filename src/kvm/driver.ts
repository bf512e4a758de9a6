/** The KVM driver: the choreography that all drivers share, over QEMU processes of this host. */
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { systemClock } from "../core/index.js";
import type { Clock, StateStore } from "../core/index.js";
import { BaseDriver } from "../driver/index.js";
import type { Collaborators, DriverClass, DriverTimeouts, InstanceRef } from "../driver/index.js";
import { FileStateStore } from "../host/index.js";
import { defaultCollaborators } from "../hypervisor/index.js";
import { KvmHypervisor } from "./hypervisor.js";
import type { AcceleratorInUse } from "./open-host.js";
import type { MigrationChannel } from "./migration/options.js";
import type { KvmHypervisorOptions } from "./options.js";
import type { KvmTimeouts } from "./timeouts.js";

export interface KvmDriverOptions extends Omit<KvmHypervisorOptions, "timeouts"> {
  /** Directories, by absolute paths, in which volumes of type `local` may lie. Default: `volumes` in the state directory. */
  readonly volumeDirectories?: readonly string[];
  readonly timeouts?: Partial<DriverTimeouts>;
  /** Waits below the choreography: for QEMU itself. */
  readonly kvmTimeouts?: Partial<KvmTimeouts>;
  readonly clock?: Clock;
  /** Where records of instances are kept. Default: files in the state directory. */
  readonly state?: StateStore;
  /** In place of the defaults: images, disks, volumes and secrets in the state directory, bridges (user-mode network without root), no filters. */
  readonly collaborators?: Partial<Omit<Collaborators, "clock" | "state">>;
}

/** What the driver can do beside the core. */
type KvmFacets =
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
  | "suspend"
  | "templates"
  | "liveMigration";

/**
 * Runs instances on QEMU/KVM, without a daemon: guests are processes of their own, and outlive this one. After a restart `initHost` finds them again.
 *
 * ```ts
 * await using driver = new KvmDriver({ stateDirectory: "/var/lib/orchestrator/kvm" });
 * await driver.initHost();
 * await driver.spawn(spec);
 * ```
 */
export class KvmDriver extends (BaseDriver as DriverClass<KvmFacets>) {
  readonly #hypervisor: KvmHypervisor;

  /** Touches nothing before `initHost`. @throws InvalidArgumentError that names the bad option */
  constructor(options: KvmDriverOptions) {
    const { volumeDirectories, timeouts, kvmTimeouts, clock = systemClock, state, collaborators, ...rest } = options;
    const hypervisor = new KvmHypervisor({ ...rest, ...(kvmTimeouts === undefined ? {} : { timeouts: kvmTimeouts }) });
    const defaults = defaultCollaborators({
      stateDirectory: rest.stateDirectory,
      volumeDirectories,
      secrets: collaborators?.secrets,
      state: state ?? new FileStateStore({ dir: join(rest.stateDirectory, "records") }),
      clock,
      hostFacts: () => hypervisor.hostFacts(),
    });
    super({
      hypervisor,
      collaborators: { ...defaults, ...collaborators },
      ...(timeouts === undefined ? {} : { timeouts }),
    });
    this.#hypervisor = hypervisor;
  }

  /**
   * The destination's end of a stream of a tunnel, for an instance that is waited for here: to be joined to the stream that the source's `migration.openTunnel` gave.
   * @throws InstanceNotFoundError, InvalidStateError, HostIoError
   */
  openMigrationChannel(instance: InstanceRef, channel: MigrationChannel): Promise<Duplex> {
    return this.#hypervisor.openMigrationChannel(instance.uuid, channel);
  }

  /** What guests run on, and why; undefined before `initHost`. */
  get accelerator(): AcceleratorInUse | undefined {
    return this.#hypervisor.accelerator;
  }
}
