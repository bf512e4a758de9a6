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
  /** From SIGKILL until the process is gone. */
  readonly killMs: number;
  /** From the loss of the monitor until the process is gone. */
  readonly exitMs: number;
  /** Reaching the console's socket. */
  readonly consoleMs: number;
  /** One command to the guest agent. */
  readonly agentMs: number;
}

export const DEFAULT_KVM_TIMEOUTS: KvmTimeouts = Object.freeze({
  probeMs: 20_000,
  acceleratorProbeMs: 10_000,
  startMs: 60_000,
  queryMs: 5_000,
  commandMs: 30_000,
  adoptMs: 5_000,
  quitMs: 5_000,
  killMs: 30_000,
  exitMs: 10_000,
  consoleMs: 5_000,
  agentMs: 10_000,
});
