/** Every bounded wait of the choreography, in milliseconds. */

export interface DriverTimeouts {
  /** `initHost`, connecting and probing. */
  readonly openMs: number;
  /** `initHost`, undoing and finishing what a former process had under way, and adopting guests. */
  readonly recoveryMs: number;
  /** Reading facts of the host or of one guest. */
  readonly queryMs: number;
  /** A whole `spawn`, without fetching the image. */
  readonly spawnMs: number;
  /** A whole `destroy` or `cleanup`, without the grace given to the guest. */
  readonly destroyMs: number;
  /** From asking for a start until the guest runs. */
  readonly startMs: number;
  /** From starting a new guest until all of its ports are active, where the plugger tells of it (Nova's `vif_plugging_timeout`). */
  readonly vifActiveMs: number;
  /** Nova's `shutdown_timeout`: what a guest is given to shut down by itself. */
  readonly shutdownGraceMs: number;
  /** Nova's `shutdown_retry_interval`: how often it is asked. */
  readonly shutdownResendMs: number;
  /** From a kill until nothing of the guest runs. */
  readonly killMs: number;
  /** A guest letting go of a device (Nova's `device_detach_timeout` times its attempts). */
  readonly detachMs: number;
  /** A guest and its host taking a device. */
  readonly attachMs: number;
  /** Nova's `wait_soft_reboot_seconds`. */
  readonly softRebootMs: number;
  /** Saving or restoring memory. */
  readonly suspendMs: number;
  /** One command to the guest agent. */
  readonly agentMs: number;
  /** File systems frozen at most this long during a snapshot or a backup. */
  readonly freezeMs: number;
  /** Copying, flattening, uploading one disk; a whole backup; a dump of memory. */
  readonly diskCopyMs: number;
  /** Fetching an image. */
  readonly imageFetchMs: number;
  /** A whole live migration. */
  readonly migrationMs: number;
  /** Waiting for the operation before it on the same instance. */
  readonly queueMs: number;
  /** Undoing, or finishing after its point of no return, an operation that failed, was aborted or ran out of time. Then the caller gets its error; the rest goes on. */
  readonly undoMs: number;
  /** `close` waits this long for operations that it has aborted. */
  readonly closeMs: number;
}

export const DEFAULT_TIMEOUTS: DriverTimeouts = Object.freeze({
  openMs: 60_000,
  recoveryMs: 600_000,
  queryMs: 5_000,
  spawnMs: 300_000,
  destroyMs: 300_000,
  startMs: 60_000,
  vifActiveMs: 300_000,
  shutdownGraceMs: 60_000,
  shutdownResendMs: 10_000,
  killMs: 30_000,
  detachMs: 60_000,
  attachMs: 60_000,
  softRebootMs: 120_000,
  suspendMs: 600_000,
  agentMs: 10_000,
  freezeMs: 60_000,
  diskCopyMs: 3_600_000,
  imageFetchMs: 3_600_000,
  migrationMs: 3_600_000,
  queueMs: 600_000,
  undoMs: 60_000,
  closeMs: 30_000,
});
