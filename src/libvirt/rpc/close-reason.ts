/** How a connection ends. */

/**
 * - `closed`: this side closed it.
 * - `eof`: the daemon hung up.
 * - `keepalive`: the daemon did not answer.
 * - `protocol`: the peer sent what libvirt's protocol does not allow.
 * - `error`: the connection broke, or could not be made again.
 */
export type LibvirtCloseReason = "closed" | "eof" | "keepalive" | "protocol" | "error";

/** Why a connection is over. */
export interface LibvirtClosure {
  readonly reason: LibvirtCloseReason;
  /** What led to it; absent where this side closed it or the daemon hung up without a word. */
  readonly error?: Error | undefined;
}
