/** How long src/host waits, in one place. */

/** Waits of src/host, all in milliseconds. */
export interface HostTimeouts {
  /** A command that says nothing else may take this long. */
  readonly commandMs: number;
  /** Between SIGTERM and SIGKILL for a command that is to stop. */
  readonly commandKillGraceMs: number;
  /** How long a command is waited for after SIGKILL, before it is taken for stuck in the kernel. */
  readonly commandReapMs: number;
  /** How long a finished command's output may stay silent while something else holds its pipe, before it is taken for whole. */
  readonly commandDrainMs: number;
  /** First and longest pause between looks at a process that is not our child; each pause is twice the one before. */
  readonly processWatchMinMs: number;
  readonly processWatchMaxMs: number;
  /** How long a foreign process is waited for when the caller says nothing else. */
  readonly processExitMs: number;
  /** How long a peer's full socket may keep descriptors from being sent. */
  readonly sendFdsMs: number;
}

/** The defaults. */
export const defaultHostTimeouts: HostTimeouts = Object.freeze({
  commandMs: 60_000,
  commandKillGraceMs: 2_000,
  commandReapMs: 2_000,
  commandDrainMs: 250,
  processWatchMinMs: 5,
  processWatchMaxMs: 250,
  processExitMs: 30_000,
  sendFdsMs: 10_000,
});
