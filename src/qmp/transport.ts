/** What a client needs of a connection: bytes both ways, in order, and an end. */

/** Where a transport delivers to. */
export interface QmpTransportSink {
  /** The next bytes from the peer. The buffer is only valid during the call. */
  data(chunk: Buffer): void;
  /** The connection is over, once and for all; `error` when it did not end in an orderly way. Called exactly once. */
  ended(error?: Error): void;
}

/**
 * A connection to a QMP or guest-agent peer. `QmpClient` comes with transports for UNIX sockets and for any `Duplex`; an
 * embedder may give its own, for example one over libvirt.
 */
export interface QmpTransport {
  /** What it is connected to, for error messages: `unix:/run/guest.qmp`. */
  readonly description: string;
  /** Starts delivery. Called once, before anything else. */
  start(sink: QmpTransportSink): void;
  /** Queues bytes. Never throws and never waits: a failure ends the connection. */
  send(data: string | Buffer): void;
  /**
   * Sends bytes together with file descriptors, after everything queued so far and before everything queued later. The
   * descriptors must stay open until the promise settles; the peer gets its own copies. When the signal aborts before the
   * descriptors have left, nothing is sent. Absent where the connection can't carry descriptors.
   * @throws AbortedError, or the reason the descriptors could not be sent; the connection goes on in both cases
   */
  sendWithFds?(data: string, fds: readonly number[], signal: AbortSignal): Promise<void>;
  /** Ends the connection after what was sent has left this process, or `graceMs` later. Never rejects. */
  close(graceMs: number): Promise<void>;
  /** Lets the process exit although the connection is open. */
  unref?(): void;
  /** Undoes {@link QmpTransport.unref}. */
  ref?(): void;
}
