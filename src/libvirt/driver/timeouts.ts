/** Every bounded wait of the libvirt hypervisor, in milliseconds. Those of the connection itself are the client's. */

export interface LibvirtHypervisorTimeouts {
  /** Reaching the daemon and reading what its host can do; a daemon probes its emulators then. */
  readonly openMs: number;
  /** From starting a domain until it runs, or stands paused. */
  readonly startMs: number;
  /** Reading the state or the counters of a guest; then the last known ones are given. */
  readonly queryMs: number;
  /** A call that changes a guest. */
  readonly callMs: number;
  /** From killing a guest until it is not in memory. */
  readonly killMs: number;
  /** From asking the guest for a vCPU or memory until it has let go, where the caller sets no limit. */
  readonly letGoMs: number;
  /** From asking a guest for a device until it is asked again, where it has not answered. Guests whose PCI slots have attention buttons take a repeated request within 5 seconds for its end. */
  readonly detachResendMs: number;
  /** One command to the guest agent. */
  readonly agentMs: number;
  /** Opening a console, and taking a picture of it. */
  readonly consoleMs: number;
  /** Writing a guest's memory to a file, or reading it. */
  readonly memoryMs: number;
  /** A job that copies disks, where its caller sets no limit. */
  readonly jobMs: number;
  /** A whole migration, where the caller sets no limit. */
  readonly migrationMs: number;
  /** From the end of a migration on the source until the guest stands ready on the destination. */
  readonly arrivalMs: number;
  /** Without a sign of progress, after which a migration has failed. */
  readonly stallMs: number;
  /** From when the link of a guest that has gone over by post-copy has broken until the guest counts as lost. */
  readonly recoveryMs: number;
  /** From asking for a job's or a migration's end until it has ended. */
  readonly cancelMs: number;
  /** How often libvirt is asked how far a job is: of that it tells nothing by itself. */
  readonly progressMs: number;
}

export const DEFAULT_LIBVIRT_HYPERVISOR_TIMEOUTS: LibvirtHypervisorTimeouts = Object.freeze({
  openMs: 60_000,
  startMs: 120_000,
  queryMs: 3_000,
  callMs: 60_000,
  killMs: 30_000,
  letGoMs: 30_000,
  detachResendMs: 20_000,
  agentMs: 10_000,
  consoleMs: 10_000,
  memoryMs: 600_000,
  jobMs: 86_400_000,
  migrationMs: 86_400_000,
  arrivalMs: 60_000,
  stallMs: 30_000,
  recoveryMs: 120_000,
  cancelMs: 30_000,
  progressMs: 500,
});
