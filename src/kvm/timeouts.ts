/** Every bounded wait of the KVM hypervisor, in milliseconds. */

export interface KvmTimeouts {
  /** Asking a QEMU binary what it can do. */
  readonly probeMs: number;
  /** The guest that shows whether KVM works. A working one answers within 100 ms. */
  readonly acceleratorProbeMs: number;
  /** From starting QEMU until its guest stands ready. */
  readonly startMs: number;
  /** Reading the state or the counters of a guest; then the last known ones are given. */
  readonly queryMs: number;
  /** A command that changes a guest. */
  readonly commandMs: number;
  /** What `open` gives all guests together to answer; those that don't are adopted with their last known state, and looked after when they do. */
  readonly adoptMs: number;
  /** What QEMU is given to end by itself when a guest is killed. */
  readonly quitMs: number;
  /** From asking the guest for a vCPU or memory until it has let go, where the caller sets no limit. */
  readonly letGoMs: number;
  /** Between two requests to the guest to let go of a device: one that still starts does not hear the first. */
  readonly detachResendMs: number;
  /** From SIGKILL until the process is gone. */
  readonly killMs: number;
  /** From the loss of the monitor until the process is gone. */
  readonly exitMs: number;
  /** Reaching the console's socket. */
  readonly consoleMs: number;
  /** One command to the guest agent. */
  readonly agentMs: number;
  /** Writing a guest's memory to a file, or reading it. */
  readonly memoryMs: number;
  /** A whole migration, where the caller sets no limit. */
  readonly migrationMs: number;
  /** From the end of a migration on the source until the guest stands ready on the destination. */
  readonly arrivalMs: number;
  /** Without a sign of life, after which a connection counts as broken over which a guest's memory goes: a migration fails then, or goes on over another once the guest runs on the destination. */
  readonly stallMs: number;
  /** From when such a connection has broken until the guest counts as lost. */
  readonly recoveryMs: number;
  /** From asking QEMU to give up a migration, a copy of a disk, or writing memory, until it has. */
  readonly cancelMs: number;
  /** How often QEMU is asked how far a migration, a copy or a dump is: of that it tells nothing by itself. */
  readonly progressMs: number;
  /** A job that copies disks or memory, where its caller sets no limit. */
  readonly jobMs: number;
  /** A guest opening the tray of a drive. */
  readonly trayMs: number;
}

export const DEFAULT_KVM_TIMEOUTS: KvmTimeouts = Object.freeze({
  probeMs: 20_000,
  acceleratorProbeMs: 10_000,
  startMs: 60_000,
  queryMs: 5_000,
  commandMs: 30_000,
  adoptMs: 5_000,
  quitMs: 5_000,
  letGoMs: 30_000,
  detachResendMs: 20_000,
  killMs: 30_000,
  exitMs: 10_000,
  consoleMs: 5_000,
  agentMs: 10_000,
  memoryMs: 600_000,
  migrationMs: 3_600_000,
  arrivalMs: 30_000,
  stallMs: 30_000,
  recoveryMs: 120_000,
  cancelMs: 30_000,
  progressMs: 1_000,
  jobMs: 86_400_000,
  trayMs: 5_000,
});
