/** Every time limit of a connection to libvirt in one place, in milliseconds. */

/** Time limits of {@link LibvirtConnection}. */
export interface LibvirtTimeouts {
  /** All of `open()`: reaching the daemon, authentication and opening the hypervisor's driver. */
  readonly openMs: number;
  /** A call without a deadline of its own, waiting for its turn included. A daemon probes its emulators for seconds. */
  readonly callMs: number;
  /** The orderly end of a stream: until the daemon confirms it. */
  readonly streamFinishMs: number;
  /** A write to a stream of which the daemon takes nothing. */
  readonly streamStallMs: number;
  /** `close()`: asking the daemon to close, then letting what was sent leave this process. */
  readonly closeMs: number;
  /** Passing descriptors while the daemon does not read. */
  readonly sendFdsMs: number;
}

export const DEFAULT_LIBVIRT_TIMEOUTS: LibvirtTimeouts = {
  openMs: 30_000,
  callMs: 60_000,
  streamFinishMs: 60_000,
  streamStallMs: 300_000,
  closeMs: 2_000,
  sendFdsMs: 10_000,
};
