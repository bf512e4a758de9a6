/** What all guests of one libvirt hypervisor share while it is open. */
import type { Clock } from "../../core/index.js";
import type { HypervisorEvent } from "../../driver/index.js";
import type { SecretStore } from "../../storage/index.js";
import type { LibvirtClient } from "../rpc/index.js";
import type { LibvirtHostFacts } from "./plan/index.js";
import type { ResolvedLibvirtOptions } from "./options.js";
import type { DirectIo } from "./host/direct-io.js";
import type { SerialPorts } from "./console/serial-ports.js";
import type { MediatedPool } from "./mediated/mediated-pool.js";
import type { GuestStore } from "./state/guest-store.js";
import type { LibvirtHypervisorTimeouts } from "./timeouts.js";

export interface LibvirtHost {
  readonly client: LibvirtClient;
  /** Read anew when the daemon was: it may be another release. */
  readonly facts: LibvirtHostFacts;
  readonly options: ResolvedLibvirtOptions;
  readonly store: GuestStore;
  /** Where the keys of encrypted disks are. */
  readonly secrets: SecretStore;
  /** Where serial consoles listen, and which guest has which. */
  readonly serialPorts: SerialPorts;
  /** The host's mediated devices, and which guest has which. */
  readonly mediated: MediatedPool;
  /** Which files can't be opened past the page cache. */
  readonly directIo: DirectIo;
  readonly clock: Clock;
  readonly timeouts: LibvirtHypervisorTimeouts;
  readonly emit: (event: HypervisorEvent) => void;
}

/** Whether guests are QEMU's, which most of what a guest can do asks for. */
export function runsQemu({ options: { virtType } }: Pick<LibvirtHost, "options">): boolean {
  return virtType === "kvm" || virtType === "qemu";
}
