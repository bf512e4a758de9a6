/** Disks as logical volumes. */
import { systemCommandRunner } from "../../../host/index.js";
import type { CommandRunner } from "../../../host/index.js";
import { LvmPool } from "./lvm-pool.js";
import type { LvmPoolOptions } from "./lvm-pool.js";
import { PoolDiskBackend } from "./pool-disk-backend.js";
import type { PoolDiskBackendOptions } from "./pool-disk-backend.js";

export interface LvmDiskBackendOptions extends LvmPoolOptions, Omit<PoolDiskBackendOptions, "commands"> {
  /** Runs `lvm`, `blkdiscard` and `qemu-img`. Default: the system's runner. */
  readonly commands?: CommandRunner;
}

/**
 * Keeps each disk as the logical volume `<uuid>_<name>` of a volume group, raw, a whole copy of its image; parked states are
 * whole copies too. New space is zeroed before a guest gets it. Marks of what is under way are tags of the volume group.
 */
export class LvmDiskBackend extends PoolDiskBackend {
  /** @throws InvalidArgumentError for an option out of its range. Touches nothing. */
  constructor(options: LvmDiskBackendOptions) {
    const { commands = systemCommandRunner } = options;
    super(new LvmPool(options, commands), { ...options, commands });
  }
}
