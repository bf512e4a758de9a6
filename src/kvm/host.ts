/** What all guests of one KVM hypervisor share while it is open. */
import type { Clock } from "../core/index.js";
import type { HypervisorEvent } from "../driver/index.js";
import type { TapOpener } from "./launch.js";
import type { QemuCapabilities } from "./plan/capabilities.js";
import type { Accelerator, NetworkAccess } from "./plan/command-line.js";
import type { GuestStore } from "./state/guest-store.js";
import type { KvmTimeouts } from "./timeouts.js";

export interface KvmHost {
  readonly binary: string;
  readonly capabilities: QemuCapabilities;
  readonly accelerator: Accelerator;
  readonly cpuModel: string;
  /** How TAPs reach a QEMU that is being started, and one that runs. */
  readonly network: NetworkAccess;
  readonly hotplugNetwork: NetworkAccess;
  readonly hotplugPorts: number;
  readonly consoleLogBytes: number;
  readonly openTap: TapOpener;
  readonly bootId: string;
  readonly store: GuestStore;
  readonly clock: Clock;
  readonly timeouts: KvmTimeouts;
  readonly emit: (event: HypervisorEvent) => void;
}
