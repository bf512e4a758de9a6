/** Disks as images of a Ceph pool. */
import { systemCommandRunner } from "../../../host/index.js";
import type { CommandRunner } from "../../../host/index.js";
import { PoolDiskBackend } from "./pool-disk-backend.js";
import type { PoolDiskBackendOptions } from "./pool-disk-backend.js";
import { RbdPool } from "./rbd-pool.js";
import type { RbdPoolOptions } from "./rbd-pool.js";

export interface RbdDiskBackendOptions extends RbdPoolOptions, Omit<PoolDiskBackendOptions, "commands"> {
  /** Runs `rbd`, `ceph` and `qemu-img`. Default: the system's runner. */
  readonly commands?: CommandRunner;
}

/**
 * Keeps each disk as the image `<uuid>_<name>` of a Ceph pool, raw, a whole copy of its image, thin; QEMU opens it by its own
 * driver. Parked states are whole copies. All hosts with the pool see the same disks.
 */
export class RbdDiskBackend extends PoolDiskBackend {
  /** @throws InvalidArgumentError for an option out of its range. Touches nothing. */
  constructor(options: RbdDiskBackendOptions) {
    const { commands = systemCommandRunner } = options;
    super(new RbdPool(options, commands), { ...options, commands });
  }
}
