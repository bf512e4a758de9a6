/** What all guests of one KVM hypervisor share while it is open. */
import type { Clock } from "../core/index.js";
import type { HypervisorEvent } from "../driver/index.js";
import type { SecretStore } from "../storage/index.js";
import type { AccessLedger } from "./access/access-ledger.js";
import type { TapOpener } from "./launch.js";
import type { ResolvedMigrationOptions } from "./migration/options.js";
import type { QemuCapabilities } from "./plan/capabilities.js";
import type { Accelerator, NetworkAccess } from "./plan/command-line.js";
import type { HostSupport } from "./probe/host-support.js";
import type { GuestStore } from "./state/guest-store.js";
import type { KvmTimeouts } from "./timeouts.js";

export interface KvmHost {
  readonly binary: string;
  readonly capabilities: QemuCapabilities;
  readonly accelerator: Accelerator;
  /** What the host has for guests beside QEMU. */
  readonly support: HostSupport;
  readonly cpuModel: string;
  /** How TAPs reach a QEMU that is being started, and one that runs. */
  readonly network: NetworkAccess;
  readonly hotplugNetwork: NetworkAccess;
  readonly hotplugPorts: number;
  readonly consoleLogBytes: number;
  readonly openTap: TapOpener;
  readonly migration: ResolvedMigrationOptions;
  /** Address of this host, where nothing else is said. */
  readonly hostAddress: () => Promise<string>;
  readonly bootId: string;
  readonly store: GuestStore;
  /** What files the user that QEMU runs as was given. */
  readonly access: AccessLedger;
  /** Where the keys of encrypted disks are. */
  readonly secrets: SecretStore;
  readonly clock: Clock;
  readonly timeouts: KvmTimeouts;
  readonly emit: (event: HypervisorEvent) => void;
}
