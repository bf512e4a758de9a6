/** Waits of DHCP servers, all in milliseconds. */

export interface DhcpTimeouts {
  /** For a server to start or a helper to do its work. */
  readonly commandMs: number;
  /** For a server that was told to end. */
  readonly stopMs: number;
  /** For a server to note that a lease was given back. */
  readonly releaseMs: number;
  /** Between two looks at whether a server of an earlier process, or one that went into the background, still lives. */
  readonly watchMs: number;
}

export const defaultDhcpTimeouts: DhcpTimeouts = Object.freeze({
  commandMs: 30_000,
  stopMs: 10_000,
  releaseMs: 10_000,
  watchMs: 5_000,
});
